# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Multiple-choice questions (`Item`) from local files.

Formats: those of the text benchmarks as their authors publish them (`documents.READERS`, but for GSM8K and MBPP, which
have no choices), "scienceqa" (`problems.json` beside `images/`), and "items": one JSON object a line with the fields
of `Item`, which `write_items` writes and anyone can make from anything.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wings_hf.evaluation.documents import LETTERS, OCNLI_LABELS, Document, bad, json_records, read_documents, recognise
from wings_hf.evaluation.items import Item

Parts = tuple[str, Sequence[str], int]  # question, choices, answer
SUFFIXES = (".csv", ".json", ".jsonl", ".txt")
BLANK = "____"
SPLITS = {"train": "train", "dev": "dev", "val": "validation", "valid": "validation", "validation": "validation"}
SPLITS["test"] = "test"

SOURCES = {  # where a set is from, and the licence its authors state
    "mmlu": ("https://github.com/hendrycks/test", "MIT"),
    "cmmlu": ("https://github.com/haonan-li/CMMLU", "CC BY-NC 4.0"),
    "arc": ("https://allenai.org/data/arc", "CC BY-SA 4.0"),
    "openbookqa": ("https://allenai.org/data/open-book-qa", ""),
    "winogrande": ("https://winogrande.allenai.org", ""),
    "race": ("https://www.cs.cmu.edu/~glai1/data/race", "non-commercial research only"),
    "wsc": ("https://super.gluebenchmark.com", ""),
    "chid": ("https://github.com/chujiezheng/ChID-Dataset", "Apache-2.0"),
    "hellaswag": ("https://github.com/rowanz/hellaswag", "MIT"),
    "siqa": ("https://allenai.org/data/socialiqa", ""),
    "piqa": ("https://github.com/ybisk/ybisk.github.io/tree/master/piqa", ""),
    "ocnli": ("https://github.com/CLUEbenchmark/OCNLI", "CC BY-NC 2.0"),
    "scienceqa": ("https://scienceqa.github.io", "CC BY-NC-SA 4.0"),
}


def read_items(path: str | Path, format: str | None = None) -> Iterator[Item]:
    """Items of a file, or of all files under a folder, in the order of their names.

    Args:
        format: name of a set (see above); None finds it out from what each file holds.

    Raises:
        ValueError: nothing to read, an unknown format, a set without choices, or a malformed record.
    """
    path = Path(path)
    if format is not None and format not in ITEMS:
        raise ValueError(f"format {format!r}: expected one of {', '.join(ITEMS)}.")
    if not path.exists():
        raise ValueError(f"{path} is not there: expected a file or a folder of items.")
    root = path if path.is_dir() else path.parent
    found = 0
    for file, name in files_of(path, format):
        for item in ITEMS[name](file, root) if name in ITEMS else ():
            found += 1
            yield item
    if not found:
        raise ValueError(f"{path} holds no multiple-choice items of a known format ({', '.join(ITEMS)}).")


def write_items(items: Iterable[Item], path: str | Path) -> None:
    """A `.jsonl` file of the format "items". Paths of images are written relative to it where they lie beside."""
    path = Path(path)
    with open(path, "w", encoding="utf-8") as file:
        for item in items:
            record = {name: value for name, value in asdict(item).items() if value not in ("", ())}
            if item.images:
                record["images"] = [_relative(image, path.parent) for image in item.images]
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _relative(image: str, folder: Path) -> str:
    full = Path(image).resolve()
    return str(full.relative_to(folder.resolve())) if full.is_relative_to(folder.resolve()) else str(full)


def files_of(path: Path, format: str | None = None) -> Iterator[tuple[Path, str]]:
    """Files of benchmarks at or under `path`, and the set each is of."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES)
    for file in files:
        name = _recognise(file)
        if format is not None and path.is_file():
            name = format
        if name is not None and (format is None or name == format):
            yield file, name


def _recognise(file: Path) -> str | None:
    if file.name == "problems.json":
        return "scienceqa"
    if file.suffix == ".jsonl":
        with open(file, encoding="utf-8-sig", errors="replace") as opened:
            first = opened.readline()
        if re.search(r'"choices"\s*:\s*\[', first) and re.search(r'"answer"\s*:\s*\d', first):
            return "items"
    return recognise(file)


def split_of(path: Path) -> str:
    """ "train", "dev", "validation" or "test", by the names of the file and its folders; "" where none says."""
    for name in (path.stem, *(folder.name for folder in path.parents)):
        for word in reversed(re.split(r"[-_. ]", name.lower())):
            if word in SPLITS:
                return SPLITS[word]
    return ""


def licence_beside(path: Path) -> str:
    """First line of the licence file next to `path` or in the folder above; "" where there is none."""
    for folder in list(path.parents)[:2]:
        for file in sorted(folder.glob("LICENSE*")):
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            if text:
                return text.splitlines()[0].strip()
    return ""


# -- one document, one or more items ------------------------------------------------------------------------


def _letters(document: Document) -> Iterator[Parts]:
    yield document["question"], document["choices"], document["answer"]


def _cmmlu(document: Document) -> Iterator[Parts]:
    yield document["Question"], [document[letter] for letter in "ABCD"], LETTERS.index(document["Answer"])


def _arc(document: Document) -> Iterator[Parts]:
    choices = document["choices"]
    yield document["question"], choices["text"], choices["label"].index(document["answerKey"])


def _winogrande(document: Document) -> Iterator[Parts]:
    sentence = document["sentence"].replace("_", BLANK)
    yield sentence, [document["option1"], document["option2"]], int(document["answer"]) - 1


def _race(document: Document) -> Iterator[Parts]:
    for problem in ast.literal_eval(document["problems"]):
        question = f"{document['article']}\n\n{problem['question']}"
        yield question, problem["options"], LETTERS.index(problem["answer"])


def _wsc(document: Document) -> Iterator[Parts]:
    question = f'{document["text"]}\nDoes "{document["span2_text"]}" refer to "{document["span1_text"]}"?'
    yield question, ("no", "yes"), document["label"]


def passages(document: Document) -> Iterator[tuple[str, str, int]]:
    """Each blank of a ChID document: the text before it, the text after it, and the index of its idiom."""
    answers = iter(document["answers"]["candidate_id"])
    for passage in document["content"]:
        pieces = re.split(r"#idiom\d*#", passage)
        for place in range(1, len(pieces)):
            yield BLANK.join(pieces[:place]), BLANK.join(pieces[place:]), next(answers)


def _chid(document: Document) -> Iterator[Parts]:
    for before, after, answer in passages(document):
        yield f"{before}{BLANK}{after}", document["candidates"], answer


def clean_wikihow(text: str) -> str:
    """HellaSwag's text without the marks that WikiHow's headings left in it."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _hellaswag(document: Document) -> Iterator[Parts]:
    context = f"{document['activity_label']}: {document['ctx_a']} {document['ctx_b'].capitalize()}"
    yield clean_wikihow(context), [clean_wikihow(text) for text in document["endings"]], int(document["label"])


def _siqa(document: Document) -> Iterator[Parts]:
    choices = [document[f"answer{letter}"] for letter in "ABC"]
    yield f"{document['context']} {document['question']}", choices, int(document["label"]) - 1


def _piqa(document: Document) -> Iterator[Parts]:
    yield document["goal"], [document["sol1"], document["sol2"]], document["label"]


def _ocnli(document: Document) -> Iterator[Parts]:
    choices = {"neutral": "不一定", "entailment": "对", "contradiction": "错"}
    question = f"已知：{document['sentence1']}\n那么：{document['sentence2']}\n对吗？"  # noqa: RUF001
    yield question, [choices[label] for label in OCNLI_LABELS], document["label"]


PARTS: dict[str, Callable[[Document], Iterator[Parts]]] = {
    "mmlu": _letters,
    "cmmlu": _cmmlu,
    "arc": _arc,
    "winogrande": _winogrande,
    "openbookqa": _arc,
    "race": _race,
    "wsc": _wsc,
    "chid": _chid,
    "hellaswag": _hellaswag,
    "siqa": _siqa,
    "piqa": _piqa,
    "ocnli": _ocnli,
}


def _text_items(name: str) -> Callable[[Path, Path], Iterator[Item]]:
    def read(path: Path, root: Path) -> Iterator[Item]:
        source, licence = SOURCES[name]
        licence = licence_beside(path) or licence
        where = _place(name, path, root)
        number = 0
        for document in read_documents(path, name):
            for question, choices, answer in PARTS[name](document):
                item_id = f"{where}/{number}"
                subject = str(document.get("subject", ""))
                yield Item(item_id, question, tuple(choices), int(answer), (), subject, source, licence)
                number += 1

    return read


def _place(name: str, path: Path, root: Path) -> str:
    """Unique over the files of a set: its name, the folders below `root` or named after splits, the file's name."""
    folders: list[str] = []
    for folder in path.parents:
        if folder.name == name or (not _is_below(folder, root) and folder.name not in (*SPLITS, "middle", "high")):
            break
        folders.insert(0, folder.name)
    return "/".join((name, *folders, path.stem))


def _is_below(folder: Path, root: Path) -> bool:
    return folder != root and folder.is_relative_to(root)


# -- formats that may have images ---------------------------------------------------------------------------


def _own_items(path: Path, root: Path) -> Iterator[Item]:
    names = set(Item.__dataclass_fields__)
    for number, record in enumerate(json_records(path)):
        if not isinstance(record, dict):
            raise bad(path, number, f"expected an object, found {str(record)[:60]!r}")
        unknown = set(record) - names
        missing = {"id", "question", "choices", "answer"} - set(record)
        if unknown or missing:
            raise bad(path, number, f"unknown or missing field {sorted(unknown | missing)[0]!r}")
        if not isinstance(record["choices"], list) or type(record["answer"]) is not int:
            answer, choices = record["answer"], str(record["choices"])[:60]
            raise bad(path, number, f"choices {choices!r} and answer {answer!r}, expected a list and an index")
        images = tuple(str(path.parent / image) for image in record.get("images", ()))
        yield Item(**{**record, "choices": tuple(record["choices"]), "images": images})


def _scienceqa(path: Path, root: Path) -> Iterator[Item]:
    """`problems.json`: images lie in `images/SPLIT/NUMBER/` beside it."""
    problems: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    source, licence = SOURCES["scienceqa"]
    for place, (number, problem) in enumerate(problems.items()):
        _check_problem(path, place, number, problem)
        split, image = problem["split"], problem.get("image")
        images = (str(path.parent / "images" / split / number / image),) if image else ()
        question = f"{problem['hint']}\n{problem['question']}" if problem.get("hint") else problem["question"]
        question = question.replace("<image>", "")
        item_id, choices = f"scienceqa/{split}/{number}", tuple(problem["choices"])
        subject = problem.get("subject", "")
        yield Item(
            item_id, question, choices, problem["answer"], images, subject, source, licence_beside(path) or licence
        )


def _check_problem(path: Path, place: int, number: str, problem: Any) -> None:
    """
    Raises:
        ValueError: a field is missing or of another kind, or names of folders and files lead elsewhere.
    """
    if not isinstance(problem, dict):
        raise bad(path, place, f"{number}: expected an object, found {str(problem)[:60]!r}")
    kinds = {"split": str, "question": str, "choices": list, "answer": int}
    for name, kind in kinds.items():
        if not isinstance(problem.get(name), kind):
            raise bad(path, place, f"{number}: {name} {str(problem.get(name))[:60]!r}, expected {kind.__name__}")
    for part in (number, problem["split"], problem.get("image") or "image.png"):
        if not isinstance(part, str) or part in ("", ".", "..") or set(part) & {"/", "\\", "\0"}:
            raise bad(path, place, f"{number}: {str(part)[:60]!r}, expected a plain name of a folder or file")


ITEMS: dict[str, Callable[[Path, Path], Iterator[Item]]] = {
    **{name: _text_items(name) for name in PARTS},
    "items": _own_items,
    "scienceqa": _scienceqa,
}
