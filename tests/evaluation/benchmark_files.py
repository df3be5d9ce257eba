# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny files in the layouts in which the authors of text benchmarks publish them."""

import json
from pathlib import Path


def lines(path: Path, *records) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def mmlu(folder: Path) -> None:
    text(folder / "mmlu/dev/anatomy_dev.csv", 'Bones?,"One, two",206,300,none,B\n')
    text(
        folder / "mmlu/test/anatomy_test.csv",
        '"Where is the ""heart""?",foot,chest,hand,head,B\n"Two\nlines",a,b,c,d,D\n',
    )


def cmmlu(folder: Path) -> None:
    head = ",Question,A,B,C,D,Answer\n"
    text(folder / "cmmlu/dev/anatomy.csv", head + "0,骨头有几块,1,2,206,4,C\n")
    text(folder / "cmmlu/test/anatomy.csv", head + "0,心脏在哪里,脚,胸,手,头,B\n1,眼睛有几只,1,2,3,4,B\n")


def arc(folder: Path) -> None:
    def question(number: int, key: str, labels: str = "ABCD") -> dict:
        choices = [{"text": f"choice {label}", "label": label} for label in labels]
        return {"id": f"Mercury_{number}", "question": {"stem": f"Why {number}?", "choices": choices}, "answerKey": key}

    lines(folder / "arc/ARC-Easy/ARC-Easy-Test.jsonl", question(1, "C"), question(2, "2", "1234"))
    lines(folder / "arc/ARC-Challenge/ARC-Challenge-Test.jsonl", question(3, "B", "ABC"))


def openbookqa(folder: Path) -> None:
    choices = [{"text": word, "label": label} for word, label in zip(("sun", "moon"), "AB", strict=True)]
    question = {"stem": "What is hot is the", "choices": choices}
    lines(folder / "openbookqa/Main/test.jsonl", {"id": "8-376", "question": question, "answerKey": "A"})


def winogrande(folder: Path) -> None:
    pair = {"option1": "Ann", "option2": "Bo"}
    sentence = "Ann paid Bo because _ had worked."
    lines(folder / "winogrande/dev.jsonl", {"qID": "1-1", "sentence": sentence, **pair, "answer": "2"})


def race(folder: Path) -> None:
    for level, answer in (("middle", "A"), ("high", "D")):
        record = {
            "article": f"A {level} story.",
            "questions": ["Who?", "It is   _  ."],
            "options": [["he", "she", "it", "they"], ["red", "blue", "hot", "cold"]],
            "answers": ["B", answer],
            "id": f"{level}1.txt",
        }
        text(folder / f"race/test/{level}/1.txt", json.dumps(record))


def wsc(folder: Path) -> None:
    passage = "Mark told Pete many lies about himself."
    target = {"span1_text": "Mark", "span1_index": 0, "span2_text": "himself", "span2_index": 6}
    lines(folder / "wsc/val.jsonl", {"text": passage, "target": target, "idx": 0, "label": True})


def chid(folder: Path) -> None:
    candidates = ["画蛇添足", "守株待兔", "亡羊补牢"]
    lines(
        folder / "chid/dev.json",
        {"content": ["他#idiom000001#了 #idiom000002#", "为时未晚#idiom000003#"], "candidates": candidates},
    )
    text(folder / "chid/dev_answer.json", json.dumps({"#idiom000001#": 1, "#idiom000002#": 0, "#idiom000003#": 2}))


def hellaswag(folder: Path) -> None:
    record = {
        "ind": 3,
        "activity_label": "Cooking",
        "ctx_a": "A man cuts. [header] Soup",
        "ctx_b": "the man",
        "ctx": "A man cuts. the man",
        "endings": ["flies.", "cooks [title] soup.", "sings.", "sleeps."],
        "label": 1,
    }
    lines(folder / "hellaswag/hellaswag_val.jsonl", record)


def siqa(folder: Path) -> None:
    record = {"context": "Al fell.", "question": "How is Al?", "answerA": "glad", "answerB": "hurt", "answerC": "tall"}
    lines(folder / "siqa/dev.jsonl", record, record)
    text(folder / "siqa/dev-labels.lst", "2\n3\n")


def piqa(folder: Path) -> None:
    lines(folder / "piqa/valid.jsonl", {"goal": "Open a jar", "sol1": "twist the lid", "sol2": "eat the lid"})
    text(folder / "piqa/valid-labels.lst", "0\n")


def ocnli(folder: Path) -> None:
    pair = {"level": "easy", "sentence1": "他在跑步", "sentence2": "他在动", "genre": "news", "prem_id": "1", "id": 0}
    lines(folder / "ocnli/dev.json", {**pair, "label": "entailment"}, {**pair, "label": "-"})


def gsm8k(folder: Path) -> None:
    lines(folder / "gsm8k/test.jsonl", {"question": "1 and 2?", "answer": "1 + 2 = <<1+2=3>>3\n#### 3"})


def mbpp(folder: Path) -> None:
    tests = ["assert f(1) == 2", "assert f(2) == 3", "assert f(0) == 1"]
    records = [
        {
            "text": "Write a function f that adds one.",
            "code": "def f(x):\n    return x + 1",
            "task_id": number,
            "test_setup_code": "",
            "test_list": tests,
            "challenge_test_list": [],
        }
        for number in (2, 11)
    ]
    lines(folder / "mbpp/mbpp.jsonl", *records)


MAKERS = (
    mmlu,
    cmmlu,
    arc,
    openbookqa,
    winogrande,
    race,
    wsc,
    chid,
    hellaswag,
    siqa,
    piqa,
    ocnli,
    gsm8k,
    mbpp,
)


def write_all(folder: Path) -> Path:
    """One folder with every set."""
    for make in MAKERS:
        make(folder)
    text(folder / "LICENSE.txt", "Some Licence\n\nmore\n")
    return folder
