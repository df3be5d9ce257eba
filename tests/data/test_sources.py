# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Every kind of source gives the same records, by index and streamed."""

import json
from pathlib import Path

import pytest
from data_parts import answers, counted, png, raw_record, tar_members, write_lines, write_tar
from PIL import Image
from torch.utils.data import DataLoader

from wings_hf.data.conversations import open_data
from wings_hf.data.examine import Examination, facts_of
from wings_hf.data.records import DataError
from wings_hf.data.sources import Source, expand_braces

NUMBERS = range(10)


def rows() -> list[dict]:
    """Every second record has images: bytes, as the Hub has them."""
    return [{**raw_record(n, n % 2), "images": [{"bytes": png(n), "path": None}] * (n % 2)} for n in NUMBERS]


def hub_dataset():
    """The rows as TRL's data sets have them: an `images` column, and image items that take the next of them."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    made = []
    for n in NUMBERS:
        content = [{"type": "image", "text": None}] * (n % 2) + [{"type": "text", "text": f"What is {n}?"}]
        answer = [{"type": "text", "text": str(n)}]
        messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        made.append({"messages": messages, "images": [Image.new("RGB", (8, 6))] * (n % 2)})
    features = datasets.Features(
        {
            "messages": [
                {
                    "role": datasets.Value("string"),
                    "content": [dict.fromkeys(("type", "text"), datasets.Value("string"))],
                }
            ],
            "images": [datasets.Image()],
        }
    )
    return datasets.Dataset.from_list(made, features=features)


def write(kind: str, folder: Path) -> str:
    """The ten records as a source of this kind."""
    for n in NUMBERS:
        (folder / f"{n}.png").write_bytes(png(n))
    named = [raw_record(n, n % 2, images=[f"{n}.png"] * (n % 2)) for n in NUMBERS]
    if kind == "json":
        (folder / "data.json").write_text(json.dumps(named))
    elif kind == "jsonl":
        write_lines(folder / "data.jsonl", named)
    elif kind == "tars":
        for part in (0, 1):
            write_tar(
                folder / f"part-{part:02}.tar",
                [m for n in range(5 * part, 5 * part + 5) for m in tar_members([n], n % 2)],
            )
        return str(folder / "part-{00..01}.tar")
    elif kind == "parquet":
        arrow = pytest.importorskip("pyarrow", reason="the package pyarrow is not installed")
        import pyarrow.parquet

        pyarrow.parquet.write_table(arrow.Table.from_pylist(rows()), folder / "data.parquet", row_group_size=3)
    elif kind == "saved":
        hub_dataset().save_to_disk(str(folder / "data.saved"))
    elif kind == "loadable":
        (folder / "data.loadable").mkdir()
        hub_dataset().to_parquet(str(folder / "data.loadable" / "train.parquet"))
    return str(folder / f"data.{kind}")


KINDS = ("json", "jsonl", "tars", "parquet", "saved", "loadable")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import datasets
    except ImportError:
        return
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gives_its_records_in_order(kind: str, tmp_path: Path) -> None:
    data = open_data(write(kind, tmp_path), shuffle=False)
    assert answers(data) == list(NUMBERS)
    assert [len(record.images) for record in data] == [n % 2 for n in NUMBERS]
    assert "record 3" in data[3].source
    for record in data:
        assert facts_of(record, Examination(decode=True)).turns == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_each_record_comes_once_whatever_the_workers(kind: str, workers: int, tmp_path: Path) -> None:
    stream = open_data({"path": write(kind, tmp_path), "streaming": True})
    loader = DataLoader(stream, batch_size=None, num_workers=workers, collate_fn=lambda record: record)
    records = list(loader)
    assert counted(records) == dict.fromkeys(NUMBERS, 1)
    assert all(len(record.images) == int(record.answers[0]) % 2 for record in records)


def test_devices_share_a_stream_out(tmp_path: Path) -> None:
    for kind in ("jsonl", "tars", "loadable"):
        (tmp_path / kind).mkdir()
        source = {"path": write(kind, tmp_path / kind), "streaming": True}
        seen = []
        for device in range(3):
            stream = open_data(source)
            stream.shard = (device, 3)
            seen += answers(stream)
        assert sorted(seen) == list(NUMBERS), kind


def test_a_limit_and_other_names_of_fields(tmp_path: Path) -> None:
    lines = [{"talk": raw_record(n)["messages"], "id": n} for n in NUMBERS]
    path = str(write_lines(tmp_path / "data.jsonl", lines))
    source = {"path": path, "columns": {"messages": "talk"}, "limit": 4}
    assert answers(open_data(source, shuffle=False)) == [0, 1, 2, 3]
    assert sorted(answers(open_data({**source, "streaming": True}))) == [0, 1, 2, 3]


def test_patterns(tmp_path: Path) -> None:
    assert expand_braces("a-{08..10}.{tar,json}") == [f"a-{n}.{e}" for n in ("08", "09", "10") for e in ("tar", "json")]
    for name in ("b.jsonl", "a.jsonl", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in Source.of(str(tmp_path / "*")).files()] == ["a.jsonl", "b.jsonl"]
    with pytest.raises(DataError, match=r"c-\{0..1\}|c-0.tar: cannot be read"):
        open_data(str(tmp_path / "c-{0..1}.tar"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"path": "a.json", "wieght": 2}, "'wieght' of a source: did you mean 'weight'"),
        ({"weight": 2}, "needs either path or dataset"),
        ({"path": "a.json", "dataset": "b"}, "needs either path or dataset"),
        ({"path": "a.json", "limit": 0}, "limit must be a positive number, got 0"),
        ({"path": "a.json", "weight": "much"}, "weight must be a positive number, got 'much'"),
        (3, "a path or a dict"),
    ],
)
def test_sources_of_another_form_are_refused(source: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Source.of(source)  # type: ignore[arg-type]


def test_an_ending_that_nothing_reads(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"unknown ending '.csv', expected one of .json, .jsonl"):
        open_data(tmp_path / "data.csv")


def test_a_broken_line_is_one_bad_record(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", [raw_record(0), raw_record(1)])
    path.write_bytes(path.read_bytes() + b'{"messages": [\n\xff\n')
    data = open_data(path, on_error="skip")
    assert sorted(answers(data)) == [0, 1]
    assert [problem.kind for problem in data.problems] == ["invalid JSON"] * 2
    assert "record 2: not valid JSON" in str(data.problems[0])
