# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Local files of text benchmarks in the formats their authors publish, as the documents that harness tasks read.

A document has the fields that the set has on the Hub, so that one task file serves both. Every failure is a
`ValueError` that names the file and the record.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]
LETTERS = "ABCDEFGHIJ"
LARGEST_FIELD = 2**24  # characters of a CSV field
OCNLI_LABELS = ("neutral", "entailment", "contradiction")


def bad(path: Path, record: int, problem: str) -> ValueError:
    return ValueError(f"{path}, record {record}: {problem}.")


def json_records(path: Path) -> Iterator[Any]:
    """Records of a `.jsonl` file, or of a `.json`/`.txt` file that is one value or one record a line."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        pass
    else:
        yield from whole if isinstance(whole, list) else [whole]
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: not valid JSON ({error.msg}).") from error


def csv_rows(path: Path) -> Iterator[list[str]]:
    csv.field_size_limit(LARGEST_FIELD)
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from (row for row in csv.reader(file) if row)


def lines(path: Path) -> list[str]:
    """Lines of a file of labels.

    Raises:
        ValueError: it is not there.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: it holds the answers.")
    return path.read_text(encoding="utf-8").split()


def one_of(values: Any, value: Any, path: Path, record: int, what: str) -> int:
    """Index of `value` in `values`."""
    values = list(values)
    if value not in values:
        raise bad(path, record, f"{what} {value!r}, expected one of {values}")
    return values.index(value)


def mmlu(path: Path) -> Iterator[Document]:
    """No header; question, four choices, a letter."""
    subject = re.sub(r"_(dev|test|val)$", "", path.stem)
    for number, row in enumerate(csv_rows(path)):
        if len(row) != 6:
            raise bad(path, number, f"{len(row)} fields, expected a question, 4 choices and a letter")
        answer = one_of(LETTERS[:4], row[5].strip(), path, number, "answer")
        yield {"question": row[0], "choices": row[1:5], "answer": answer, "subject": subject}


def cmmlu(path: Path) -> Iterator[Document]:
    """A header; a number, question, four choices, a letter."""
    rows = csv_rows(path)
    names = next(rows, [])
    for number, row in enumerate(rows):
        document = dict(zip(names, row, strict=False))
        missing = {"Question", "A", "B", "C", "D", "Answer"} - set(document)
        if missing:
            raise bad(path, number, f"no {sorted(missing)[0]!r}")
        one_of(LETTERS[:4], document["Answer"], path, number, "answer")
        document.pop("", None)
        yield {**document, "subject": path.stem}


def hellaswag(path: Path) -> Iterator[Document]:
    for number, record in enumerate(json_records(path)):
        if "label" not in record:
            raise bad(path, number, "no 'label': a test set without answers")
        one_of(map(str, range(len(record["endings"]))), str(record["label"]), path, number, "label")
        yield {**record, "label": str(record["label"])}


def arc(path: Path) -> Iterator[Document]:
    """ARC and OpenBookQA as they were published: choices inside the question."""
    for number, record in enumerate(json_records(path)):
        stem, choices = record["question"]["stem"], record["question"]["choices"]
        labels = [choice["label"] for choice in choices]
        one_of(labels, record.get("answerKey"), path, number, "answerKey")
        yield {
            "id": record["id"],
            "question": stem,
            "question_stem": stem,
            "choices": {"text": [choice["text"] for choice in choices], "label": labels},
            "answerKey": record["answerKey"],
        }


def winogrande(path: Path) -> Iterator[Document]:
    for number, record in enumerate(json_records(path)):
        one_of(("1", "2"), record.get("answer"), path, number, "answer")
        if record["sentence"].count("_") != 1:
            raise bad(path, number, f"expected one '_' in {record['sentence']!r}")
        yield record


def piqa(path: Path) -> Iterator[Document]:
    for number, (record, label) in enumerate(_labelled(path)):
        yield {**record, "label": one_of(("0", "1"), str(label), path, number, "label")}


def siqa(path: Path) -> Iterator[Document]:
    for number, (record, label) in enumerate(_labelled(path)):
        one_of(("1", "2", "3"), str(label), path, number, "label")
        yield {**record, "label": str(label)}


def _labelled(path: Path) -> Iterator[tuple[Document, Any]]:
    """Records with labels of their own or of the file `NAME-labels.lst` beside."""
    records = list(json_records(path))
    own = all("label" in record for record in records)
    labels = [record["label"] for record in records] if own else lines(path.with_name(f"{path.stem}-labels.lst"))
    if len(labels) != len(records):
        raise ValueError(f"{path}: {len(records)} records, and {len(labels)} labels in {path.stem}-labels.lst.")
    yield from zip(records, labels, strict=True)


def race(path: Path) -> Iterator[Document]:
    """One article a file, with all its questions; in the layout of the harness's RACE-H."""
    for number, record in enumerate(json_records(path)):
        problems = [
            {"question": question, "answer": answer, "options": options}
            for question, answer, options in zip(record["questions"], record["answers"], record["options"], strict=True)
        ]
        for problem in problems:
            if len(problem["options"]) != 4:
                raise bad(path, number, f"{len(problem['options'])} options, expected 4")
            one_of(LETTERS[:4], problem["answer"], path, number, "answer")
        yield {"article": record["article"], "problems": repr(problems), "id": record.get("id", path.stem)}


def wsc(path: Path) -> Iterator[Document]:
    """SuperGLUE's Winograd schemas: a yes-or-no question on each."""
    for number, record in enumerate(json_records(path)):
        if "label" not in record:
            raise bad(path, number, "no 'label': a test set without answers")
        yield {"text": record["text"], **record["target"], "idx": record["idx"], "label": int(record["label"])}


def ocnli(path: Path) -> Iterator[Document]:
    """Pairs on whose label the annotators did not agree ("-") are left out, as by the authors."""
    for number, record in enumerate(json_records(path)):
        if "label" not in record:
            raise bad(path, number, "no 'label': a test set without answers")
        if record["label"] != "-":
            label = one_of(OCNLI_LABELS, record["label"], path, number, "label")
            yield {"sentence1": record["sentence1"], "sentence2": record["sentence2"], "label": label}


def chid(path: Path) -> Iterator[Document]:
    """CLUE's ChID (passages that share ten idioms, answers in `NAME_answer.json`) and FewCLUE's (one blank, seven)."""
    key: Mapping[str, int] | None = None
    for number, record in enumerate(json_records(path)):
        if "answer" in record:
            candidates = record["candidates"]
            one_of(range(len(candidates)), record["answer"], path, number, "answer")
            answers = {"text": [candidates[record["answer"]]], "candidate_id": [record["answer"]]}
            content = [record["content"]]
        else:
            key = _chid_key(path) if key is None else key
            content = record["content"]
            blanks = [tag for passage in content for tag in re.findall(r"#idiom\d*#", passage)]
            unknown = [tag for tag in blanks if tag not in key]
            if unknown:
                raise bad(path, number, f"no answer for {unknown[0]}")
            chosen = [key[tag] for tag in blanks]
            answers = {"text": [record["candidates"][index] for index in chosen], "candidate_id": chosen}
        yield {"candidates": record["candidates"], "content": content, "answers": answers}


def _chid_key(path: Path) -> Mapping[str, int]:
    answers = path.with_name(f"{path.stem}_answer.json")
    if not answers.is_file():
        raise ValueError(f"{answers} is missing: it holds the answers.")
    return json.loads(answers.read_text(encoding="utf-8"))


def gsm8k(path: Path) -> Iterator[Document]:
    for number, record in enumerate(json_records(path)):
        if "####" not in record.get("answer", ""):
            raise bad(path, number, "no '####' before the result in 'answer'")
        yield record


def mbpp(path: Path) -> Iterator[Document]:
    for number, record in enumerate(json_records(path)):
        if len(record.get("test_list", ())) < 3:
            raise bad(path, number, "fewer than three tests in 'test_list'")
        yield record


READERS: dict[str, Callable[[Path], Iterator[Document]]] = {
    "mmlu": mmlu,
    "cmmlu": cmmlu,
    "arc": arc,
    "winogrande": winogrande,
    "openbookqa": arc,
    "race": race,
    "wsc": wsc,
    "chid": chid,
    "hellaswag": hellaswag,
    "siqa": siqa,
    "piqa": piqa,
    "ocnli": ocnli,
    "gsm8k": gsm8k,
    "mbpp": mbpp,
}
PASSED_ON = {  # fields that a record must bring itself
    "hellaswag": ("activity_label", "ctx_a", "ctx_b", "endings"),
    "winogrande": ("option1", "option2"),
    "piqa": ("goal", "sol1", "sol2"),
    "siqa": ("context", "question", "answerA", "answerB", "answerC"),
    "gsm8k": ("question",),
    "mbpp": ("text", "code", "task_id"),
}


def read_documents(path: Path, name: str) -> Iterator[Document]:
    """Documents of a file of the set `name`.

    Raises:
        ValueError: a record that lacks a field or has another form.
    """
    try:
        for document in READERS[name](path):
            missing = [field for field in PASSED_ON.get(name, ()) if field not in document]
            if missing:
                raise KeyError(missing[0])
            yield document
    except KeyError as error:
        raise ValueError(f"{path}: a record has no {error}, which every record of {name} has.") from error
    except (TypeError, AttributeError, IndexError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: a record has another form than those of {name} ({error}).") from error


FIELDS: tuple[tuple[str, frozenset[str]], ...] = (  # a record with these fields is of this set
    ("hellaswag", frozenset({"ctx_a", "endings"})),
    ("winogrande", frozenset({"sentence", "option1", "option2"})),
    ("piqa", frozenset({"goal", "sol1", "sol2"})),
    ("siqa", frozenset({"context", "answerA", "answerC"})),
    ("race", frozenset({"article", "options", "answers"})),
    ("wsc", frozenset({"text", "target"})),
    ("chid", frozenset({"candidates", "content"})),
    ("ocnli", frozenset({"sentence1", "sentence2"})),
    ("mbpp", frozenset({"test_list", "code"})),
)


def recognise(path: Path) -> str | None:
    """The set a file is of, by what it holds; None for labels, licences and whatever else lies beside."""
    if path.suffix == ".csv":
        try:
            first = next(csv_rows(path), [])
        except (csv.Error, UnicodeDecodeError):  # some other table
            return None
        if {"Question", "A", "Answer"} <= set(first):
            return "cmmlu"
        return "mmlu" if len(first) == 6 and first[5].strip() in tuple(LETTERS[:4]) else None
    if path.suffix not in (".jsonl", ".json", ".txt"):
        return None
    try:
        record = next(json_records(path), None)
    except ValueError:  # JSON or UTF-8 that is neither: some text
        return None
    return _set_of(record) if isinstance(record, dict) else None


def _set_of(record: Mapping[str, Any]) -> str | None:
    for name, fields in FIELDS:
        if fields <= set(record):
            return name
    question, answer = record.get("question"), record.get("answer")
    if isinstance(question, Mapping) and "stem" in question:
        return "openbookqa" if re.fullmatch(r"\d+-\d+", str(record.get("id"))) else "arc"
    return "gsm8k" if isinstance(question, str) and isinstance(answer, str) and "####" in answer else None
