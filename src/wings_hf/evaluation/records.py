# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The folder of a run, and what stands in it.

    run.json                     model, settings, seeds, versions; `continued_with`: versions of later calls that differ
    tasks/SET/TASK.json          one finished task: score, prompts, data, versions
    samples/SET/TASK.jsonl       every question of it: prompt, output, score
    summary.json                 scores with intervals, retention, paired tests

A task is finished when its `.json` is there, which is written last.
"""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "lm_eval", "lmms_eval", "evaluate", "numpy")
UNCOMPARED = ("name",)  # of a model: where it lies may change between two calls


class Run:
    """One run's folder. `Run(path)` reads, `Run.open(...)` makes or continues it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, model: Mapping[str, Any], settings: Mapping[str, Any]) -> "Run":
        """A new run, or the one that is there, if it is of the same model with the same settings. Versions of packages
        that have changed since are noted in it: `Run.changed_versions` says them.

        Raises:
            ValueError: it is another run.
        """
        run = cls(folder)
        about = json.loads(json.dumps({"model": model, "settings": settings}, default=str))
        if run.exists():
            there = run.about()
            for part in ("model", "settings"):
                changed = [
                    name
                    for name in {**there[part], **about[part]}
                    if name not in UNCOMPARED and there[part].get(name) != about[part].get(name)
                ]
                if changed:
                    old, new = there[part].get(changed[0]), about[part].get(changed[0])
                    raise ValueError(
                        f"{folder} holds a run with other {part} ({changed[0]}: {_short(old)}, now {_short(new)}): "
                        "choose another --output, or delete it."
                    )
            run.note_versions()
        else:
            run.write("run.json", {"format": 1, **about, "versions": versions()})
        return run

    def note_versions(self) -> None:
        """Keeps the versions of this call beside those that the run has, where they are others."""
        about, now = self.about(), versions()
        if now not in (known := [about["versions"], *about.get("continued_with", [])]):
            self.write("run.json", {**about, "continued_with": [*known[1:], now]})

    def changed_versions(self) -> dict[str, tuple[str | None, str | None]]:
        """Packages whose versions are others now than when the run began: name -> then, now."""
        then, now = self.about()["versions"], versions()
        return {name: (then.get(name), now[name]) for name in now if then.get(name) != now[name]}

    def exists(self) -> bool:
        return (self.folder / "run.json").is_file()

    def about(self) -> dict[str, Any]:
        """`run.json`.

        Raises:
            ValueError: the folder holds no run.
        """
        return self.read("run.json")

    def read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing: expected the folder of a run of `wings-hf evaluate`.")
        return json.loads(path.read_text(encoding="utf-8"))

    def write(self, name: str, content: Any) -> None:
        """A JSON file, there as a whole or not at all."""
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        _write_whole(self.folder / name, [text])

    def finished(self, set_name: str, task: str) -> dict[str, Any] | None:
        name = f"tasks/{set_name}/{task}.json"
        return self.read(name) if (self.folder / name).is_file() else None

    def finish(self, set_name: str, task: str, record: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> None:
        lines = (json.dumps(sample, ensure_ascii=False, default=str) + "\n" for sample in samples)
        _write_whole(self.folder / "samples" / set_name / f"{task}.jsonl", lines)
        self.write(f"tasks/{set_name}/{task}.json", {**record, "versions": versions()})

    def tasks(self, set_name: str) -> list[dict[str, Any]]:
        """Records of the finished tasks of a set, by name."""
        return [
            json.loads(path.read_text("utf-8")) for path in sorted((self.folder / "tasks" / set_name).glob("*.json"))
        ]

    def samples(self, set_name: str) -> Iterator[dict[str, Any]]:
        for path in sorted((self.folder / "samples" / set_name).glob("*.jsonl")):
            with open(path, encoding="utf-8") as file:
                yield from (json.loads(line) for line in file)


def versions() -> dict[str, str | None]:
    from wings_hf.version import __version__

    found: dict[str, str | None] = {"wings_hf": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _write_whole(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with open(part, "w", encoding="utf-8") as file:
        file.writelines(lines)
    os.replace(part, path)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
