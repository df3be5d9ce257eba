# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf data check`, as a user runs it."""

import contextlib
import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

import demo_parts
import psutil
import pytest
from data_parts import png, raw_record, tar_members, write_lines, write_tar
from PIL import Image

from wings_hf.cli import main as cli
from wings_hf.data import examine
from wings_hf.data.examine import Examination, examine_all
from wings_hf.data.report import histogram

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"


def check(*arguments: object) -> int:
    return cli.main(["data", "check", *map(str, arguments)])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(png(1, (20, 10)))
    (tmp_path / "b.jpg").write_bytes(png(2, (30, 40), "JPEG"))
    records = [raw_record(n) for n in range(4)]
    records += [raw_record(4, 1, images=["a.png"]), raw_record(5, 2, images=["a.png", "b.jpg"]), raw_record(0)]
    return write_lines(tmp_path / "good.jsonl", records)


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A small PNG file that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """One record of each kind of fault between two good ones."""
    Image.effect_noise((64, 64), 50).save(tmp_path / "noise.png")
    noise = (tmp_path / "noise.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(noise[: len(noise) // 2])
    (tmp_path / "bomb.png").write_bytes(bomb())
    (tmp_path / "text.png").write_bytes(b"not an image")
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    user, assistant = ({"role": role, "content": "Hello"} for role in ("user", "assistant"))
    records = [raw_record(0)]
    records += [
        raw_record(n, 1, images=[f"{name}"])
        for n, name in enumerate(
            ("gone.png", "cut.png", "bomb.png", "text.png", "two.gif", "http://localhost/a.png"), 1
        )
    ]
    records += [
        {"messages": [assistant, user]},
        {"messages": [user, {"role": "assistant", "content": " "}]},
        raw_record(9, 2, images=["noise.png"]),
        {"text": "no conversation"},
        raw_record(11, 1, images=["noise.png"]),
    ]
    return write_lines(tmp_path / "flawed.jsonl", records)


KINDS = ["missing image", "unusable image", "image too large", "broken image", "unusable image", "web address"]
KINDS += ["role order", "empty answer", "placeholder count", "wrong form"]


def test_good_data(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert check(good, "--workers", 0, "--report", tmp_path / "report.json") == 0
    shown = capsys.readouterr().out
    assert "7 records, 7 usable, 1 of them duplicates" in shown
    assert "images per record: 0: 5, 1: 1, 2: 1; 3 images in all" in shown
    assert "text only: 71.4% of the records" in shown and "PNG 2, JPEG 1" in shown
    assert "image width 20 to 30, median 20; height 10 to 40" in shown
    assert "█" in shown and "Nothing is wrong with it." in shown
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["records"] == report["usable"] == 7 and report["problems"] == [] and report["tokens"] is None


def test_everything_that_is_wrong_is_named(flawed: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert check(flawed, tmp_path / "gone.json", "--workers", 0, "--report", tmp_path / "report.json") == 1
    shown = capsys.readouterr().out
    assert "12 records, 2 usable" in shown and "11 problems (" in shown and "and 1 more" in shown
    problems = json.loads((tmp_path / "report.json").read_text())["problems"]
    assert [problem["kind"] for problem in problems] == ["unreadable file", *KINDS]
    assert [problem["source"] for problem in problems[1:]] == [f"{flawed}, record {n}" for n in range(1, 11)]


def test_processes_find_the_same(flawed: Path, good: Path, tmp_path: Path) -> None:
    many = write_lines(tmp_path / "many.jsonl", [raw_record(n) for n in range(200)])
    reports = []
    for workers in (0, 2):
        assert check(flawed, good, many, "--workers", workers, "--report", tmp_path / "report.json") == 1
        reports.append(json.loads((tmp_path / "report.json").read_text()))
    assert reports[0] == reports[1] and reports[0]["usable"] == 209


def test_options(flawed: Path, tmp_path: Path) -> None:
    def problems(*options: object) -> list[str]:
        check(flawed, "--workers", 0, "--report", tmp_path / "report.json", *options)
        return [problem["kind"] for problem in json.loads((tmp_path / "report.json").read_text())["problems"]]

    assert problems() == KINDS
    assert problems("--headers-only") == [kind for i, kind in enumerate(KINDS) if i != 1]
    assert problems("--allow-urls") == [kind for kind in KINDS if kind != "web address"]
    assert problems("--limit", 2) == KINDS[:1]
    assert len(problems("--max-image-pixels", 1000)) == len(KINDS) + 1
    assert "not text only" in problems("--text-only")


def test_tokens_are_counted_with_a_processor(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    demo_parts.processor().save_pretrained(tmp_path / "model")
    options = ["--processor", tmp_path / "model", "--max-length", 14, "--report", tmp_path / "report.json"]
    assert check(good, "--workers", 0, *options) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tokens"]["max"] - report["tokens"]["min"] == 8, "two images of four tokens"
    assert "tokens per record: " in capsys.readouterr().out


def test_tar_files_and_a_damaged_one_among_them(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for part in (0, 1):
        write_tar(tmp_path / f"{part}.tar", tar_members(range(3)))
    broken = tmp_path / "1.tar"
    broken.write_bytes(broken.read_bytes()[:700])
    assert check(tmp_path / "{0..1}.tar", "--workers", 0) == 1
    shown = capsys.readouterr().out
    assert "3 records, 3 usable" in shown and "1 problems (unreadable file 1)" in shown


def test_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert check(tmp_path / "empty.jsonl", "--workers", 0) == 1
    assert check() == 1
    assert "name at least one PATH" in " ".join(capsys.readouterr().err.split())


def test_a_histogram() -> None:
    lines = histogram([1] * 30 + [2] * 10 + list(range(3, 90)) + [5000])
    assert len(lines) <= 13 and "and more" in lines[-1]
    assert sum(int(line.split()[-1]) for line in lines) == 128
    assert histogram([7, 7]) == [f"  7 - 7      {'█' * 40} 2"]


class Deadly:
    """A reader one of whose records kills the process that reads it."""

    folder = None

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> dict:
        if index == 150:
            os._exit(9)
        return raw_record(index)

    def describe(self, index: int) -> str:
        return f"deadly, record {index}"


@pytest.mark.slow
def test_a_record_that_kills_its_process_is_found() -> None:
    found = [f for _, findings in examine_all([Deadly()], [Examination()], workers=2) for f in findings]
    bad = [finding for finding in found if isinstance(finding, examine.Problem)]
    assert len(found) == 200 and [(problem.source, problem.kind) for problem in bad] == [
        ("deadly, record 150", "crash")
    ]


@pytest.mark.slow
def test_interrupted_it_ends_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "many.jsonl", [raw_record(n) for n in range(400_000)])
    code = "import sys; from wings_hf_command import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", code, "data", "check", str(path), "--workers", "2"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        time.sleep(12)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "interrupted" in errors and "Traceback" not in errors
    assert not _alive(process.pid, seconds=15)


def _alive(group: int, seconds: float) -> list[str]:
    """Processes of the group that are still there after so long; those that only wait to be noticed do not count."""
    end = time.monotonic() + seconds
    while True:
        found = [p for p in psutil.process_iter(["status"]) if p.info["status"] != psutil.STATUS_ZOMBIE]
        alive = []
        for one in found:
            with contextlib.suppress(psutil.Error, OSError):
                if os.getpgid(one.pid) == group:
                    alive.append(" ".join(one.cmdline()))
        if not alive or time.monotonic() > end:
            return alive
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real photos are not at {DATA}")
def test_real_photos(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with tarfile.open(DATA / "grocery_store.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    spec = importlib.util.spec_from_file_location("example", PROJECT / "examples" / "grocery_store_to_chat.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    sys.modules["example"] = example
    spec.loader.exec_module(example)
    records = example.convert(tmp_path / "grocery_store", "train", limit=200)
    assert check(write_lines(tmp_path / "photos.jsonl", records), "--workers", 2) == 0
    assert "250 records, 250 usable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "-1"], "--workers -1: expected at least 0"),
        (["--max-image-pixels", "0"], "--max-image-pixels 0: expected at least 1"),
        (["--max-length", "9"], "--max-length 9: tokens are counted with a --processor"),
        (["--report", "nowhere/report.json"], "there is no folder nowhere"),
    ],
)
def test_options_that_would_do_nothing_are_mistakes(
    options: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["data", "check", "x.json", *options]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
