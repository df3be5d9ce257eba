# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Readers: real files have the row counts and majority answers that are known; each layout is read right."""

import json
from collections import Counter
from pathlib import Path

import benchmark_files
import pytest

from wings_hf.evaluation.documents import READERS, recognise
from wings_hf.evaluation.items import Item
from wings_hf.evaluation.readers import files_of, licence_beside, read_items, split_of, write_items

REAL = Path(__file__).parents[3] / "shared" / "data" / "text_benchmarks"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real benchmark files are not beside this checkout")
MMLU_TEST = {  # questions per subject, as published
    "abstract_algebra": 100,
    "anatomy": 135,
    "astronomy": 152,
    "college_computer_science": 100,
    "global_facts": 100,
    "high_school_geography": 198,
    "marketing": 234,
    "philosophy": 311,
    "us_foreign_policy": 100,
    "world_religions": 171,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return benchmark_files.write_all(tmp_path / "data")


@needs_real
def test_real_mmlu() -> None:
    items = list(read_items(REAL / "mmlu" / "test"))
    assert Counter(item.subject for item in items) == MMLU_TEST
    letters = Counter()
    for file in (REAL / "mmlu" / "test").glob("*.csv"):  # the last letter of each row, without a CSV reader
        letters.update(line[-1] for line in file.read_text().splitlines() if line[-2:-1] == "," and line[-1] in "ABCD")
    assert Counter("ABCD"[item.answer] for item in items) == letters == {"C": 459, "D": 401, "B": 379, "A": 362}
    assert {len(item.choices) for item in items} == {4} and items[0].licence == "MIT License"
    assert [len(list(read_items(file))) for file in sorted((REAL / "mmlu" / "dev").iterdir())] == [5] * 10


@needs_real
def test_real_hellaswag() -> None:
    items = list(read_items(REAL / "hellaswag"))
    raw = [json.loads(line) for line in (REAL / "hellaswag" / "val_sample1000.jsonl").read_text().splitlines()]
    assert len(items) == len(raw) == 1000
    assert Counter(item.answer for item in items) == {0: 267, 1: 228, 2: 266, 3: 239}  # majority 26.7%
    assert [item.answer for item in items] == [record["label"] for record in raw]
    assert not any("[" in choice for item in items for choice in (item.question, *item.choices))


@needs_real
def test_real_gsm8k() -> None:
    documents = list(READERS["gsm8k"](REAL / "gsm8k" / "test.jsonl"))
    assert len(documents) == 1319
    assert documents[0]["answer"].endswith("#### 18")


@needs_real
def test_a_whole_folder_of_sets_has_unique_ids() -> None:
    items = list(read_items(REAL))
    assert len({item.id for item in items}) == len(items) == 1601 + 50 + 1000


def test_every_layout_is_recognised_and_read(folder: Path) -> None:
    found = Counter(name for _, name in files_of(folder))
    assert set(found) == set(READERS)
    items = list(read_items(folder))
    assert Counter(item.id.split("/")[0] for item in items) == {
        "mmlu": 3,
        "cmmlu": 3,
        "arc": 3,
        "openbookqa": 1,
        "winogrande": 1,
        "race": 4,
        "wsc": 1,
        "chid": 3,
        "hellaswag": 1,
        "siqa": 2,
        "piqa": 1,
        "ocnli": 1,
    }
    assert len({item.id for item in items}) == len(items)
    assert {item.licence for item in items if item.id.startswith("mmlu")} == {"MIT"}


@pytest.mark.parametrize(
    ("file", "question", "right"),
    [
        ("mmlu/test/anatomy_test.csv", 'Where is the "heart"?', "chest"),
        ("cmmlu/test/anatomy.csv", "心脏在哪里", "胸"),
        ("arc/ARC-Easy/ARC-Easy-Test.jsonl", "Why 1?", "choice C"),
        ("arc/ARC-Challenge/ARC-Challenge-Test.jsonl", "Why 3?", "choice B"),
        ("openbookqa/Main/test.jsonl", "What is hot is the", "sun"),
        ("winogrande/dev.jsonl", "Ann paid Bo because ____ had worked.", "Bo"),
        ("race/test/middle/1.txt", "A middle story.\n\nWho?", "she"),
        ("wsc/val.jsonl", 'lies about himself.\nDoes "himself" refer to "Mark"?', "yes"),
        ("chid/dev.json", "他____了 ____", "守株待兔"),
        ("hellaswag/hellaswag_val.jsonl", "Cooking: A man cuts. Soup The man", "cooks. soup."),
        ("siqa/dev.jsonl", "Al fell. How is Al?", "hurt"),
        ("piqa/valid.jsonl", "Open a jar", "twist the lid"),
        ("ocnli/dev.json", "已知：他在跑步\n那么：他在动\n对吗？", "对"),  # noqa: RUF001
    ],
)
def test_first_item(folder: Path, file: str, question: str, right: str) -> None:
    item = next(read_items(folder / file))
    assert item.question.endswith(question) and item.choices[item.answer] == right
    assert item.source.startswith("https://")


def test_items_do_not_depend_on_where_reading_starts(folder: Path) -> None:
    file = folder / "cmmlu" / "test" / "anatomy.csv"
    assert [i.id for i in read_items(file)] == [i.id for i in read_items(folder / "cmmlu" / "test")]
    assert next(read_items(file)).id == "cmmlu/test/anatomy/0"
    assert next(read_items(folder / "cmmlu" / "dev")).id == "cmmlu/dev/anatomy/0"


def test_fewclue_chid_has_one_blank(tmp_path: Path) -> None:
    record = {"id": 1, "candidates": ["一石二鸟", "九牛一毛"], "content": "真是#idiom#啊", "answer": 1}
    (item,) = read_items(benchmark_files.lines(tmp_path / "dev_0.json", record))
    assert (item.question, item.choices[item.answer]) == ("真是____啊", "九牛一毛")


def test_labels_may_be_in_the_records(tmp_path: Path) -> None:
    record = {"goal": "Open a jar", "sol1": "twist the lid", "sol2": "eat the lid", "label": 1}
    (item,) = read_items(benchmark_files.lines(tmp_path / "valid.jsonl", record))
    assert item.answer == 1


def test_our_own_format_comes_back_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    inside = Item("a/0", "<image> Which?", ("x", "y"), 1, (str(tmp_path / "pictures" / "1.png"),), "s", "here", "MIT")
    plain = Item("a/1", "What?", ("x", "y", "z"), 0)
    write_items([inside, plain], tmp_path / "set.jsonl")
    assert '"pictures/1.png"' in (tmp_path / "set.jsonl").read_text()
    assert list(read_items(tmp_path / "set.jsonl")) == [inside, plain]


def test_science_questions_with_images(tmp_path: Path) -> None:
    problem = {"question": "What?", "hint": "Look.", "choices": ["a", "b"], "answer": 1, "split": "test"}
    problems = {"7": {**problem, "image": "image.png"}, "9": {**problem, "image": None, "hint": ""}}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    first, second = read_items(tmp_path)
    assert first.images == (str(tmp_path / "images" / "test" / "7" / "image.png"),) and first.question == "Look.\nWhat?"
    assert second.images == () and second.id == "scienceqa/test/9"


PROBLEM = '{"1": {"question": "q", "split": "SPLIT", "choices": ["a", "b"], "answer": 0, "image": "a.png"}}'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a_test.csv", "q,a,b,c,d,A\nq,a,b,c,B\n", "record 1: 5 fields"),
        ("a_test.csv", "q,a,b,c,d,A\nq,a,b,c,d,E\n", "answer 'E', expected one of"),
        ("a_test.csv", "q,a,b,c,d,A\nq,a,b,c,d,AB\n", "record 1: answer 'AB', expected one of"),
        ("x.jsonl", '{"ctx_a": "", "endings": ["a"]}\n', "no 'label'"),
        ("x.jsonl", '{"ctx_a": "", "endings": ["a"], "label": ""}\n', "record 0: label '', expected one of"),
        ("x.jsonl", '{"content": ["#idiom#"], "candidates": ["a"], "answer": "b"}\n', "another form|answer 'b'"),
        ("x.jsonl", '{"goal": "", "sol1": "", "sol2": "", "label": 0}\n{broken\n', "line 2: not valid JSON"),
        ("x.jsonl", '{"context": "", "answerA": "", "answerC": "", "label": 1}\n', "no 'question'"),
        ("x.jsonl", '{"text": "", "target": "", "label": 1, "idx": 0}\n', "another form"),
        ("x.jsonl", '{"goal": "", "sol1": "", "sol2": ""}\n', "x-labels.lst is missing"),
        ("x.jsonl", '{"sentence": "a", "option1": "", "option2": "", "answer": "1"}\n', "expected one '_'"),
        ("x.json", '{"content": ["#idiom1#"], "candidates": ["a", "b"]}\n', "x_answer.json is missing"),
        ("x.jsonl", '{"question": "1?", "answer": "#### 1"}\n', "no multiple-choice items"),
        ("x.txt", "some prose", "no multiple-choice items"),
        ("x.jsonl", '{"id": "a", "question": "q", "choices": ["a"], "answer": 0}\n', "1 choices"),
        ("x.jsonl", '{"id": "a", "question": "q", "choices": ["a", "b"], "answer": 0, "wrong": 1}\n', "'wrong'"),
        ("x.jsonl", '{"id": "a", "question": "q", "choices": ["a", "b"], "answer": 0}\n7\n', "record 1: .* found '7'"),
        ("x.jsonl", '{"id": "a", "question": "q", "choices": ["a", "b"], "answer": 0.5}\n', "answer 0.5, expected"),
        ("problems.json", '{"1": {"question": "q", "choices": ["a", "b"], "answer": 0}}', "record 0: 1: split 'None'"),
        ("problems.json", '{"1": {"question": "q", "hint": "", "split": "test", "choices": ["a"]}}', "answer 'None'"),
        ("problems.json", PROBLEM.replace("SPLIT", ".."), r"1: '\.\.', expected a plain name"),
        ("problems.json", PROBLEM.replace("SPLIT", "test").replace("a.png", "../../a.png"), "expected a plain name"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_items(benchmark_files.text(tmp_path / name, content)))


def test_files_that_are_no_text_lie_beside_without_harm(tmp_path: Path) -> None:
    for ending in (".csv", ".jsonl", ".json", ".txt"):
        (tmp_path / f"other{ending}").write_bytes(b"\xff\xfe\x00\x81")
    record = {"goal": "Open a jar", "sol1": "twist", "sol2": "eat", "label": 1}
    benchmark_files.lines(tmp_path / "valid.jsonl", record)
    assert len(list(read_items(tmp_path))) == 1


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format 'gsm8k'"):
        list(read_items(tmp_path, "gsm8k"))
    with pytest.raises(ValueError, match="not there"):
        list(read_items(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("mmlu/dev/anatomy_dev.csv", "dev"),
        ("hellaswag/val_sample1000.jsonl", "validation"),
        ("piqa/valid.jsonl", "validation"),
        ("race/test/middle/1.txt", "test"),
        ("arc/ARC-Easy-Train.jsonl", "train"),
        ("mbpp.jsonl", ""),
    ],
)
def test_splits(path: str, split: str) -> None:
    assert split_of(Path(path)) == split


def test_labels_and_licences_are_no_sets(folder: Path) -> None:
    assert recognise(folder / "chid" / "dev_answer.json") is None
    assert recognise(folder / "LICENSE.txt") is None
    assert licence_beside(folder / "gsm8k" / "test.jsonl") == "Some Licence"
