# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A conversion that was interrupted goes on where it stopped, and trusts nothing that it did not read back."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from released_checkpoints import assert_identical, read_tensors, released_config, released_tensors, write_released
from transformers import Qwen2Config

from wings_hf import WingsForCausalLM
from wings_hf.conversion import tensor_files, writing
from wings_hf.conversion.causalize import causalize
from wings_hf.conversion.convert import convert_to_released, convert_to_wings

SHARD_SIZE = 30_000
TEXT_FIELDS = Qwen2Config().to_dict().keys() - {"model_type", "rope_theta"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_released(tmp_path / "released", released_tensors(stage=1), released_config(stage=1), shards=2)


def convert(source: Path, **options: Any):
    return convert_to_wings(str(source), source.parent / "wings", **{"max_shard_size": SHARD_SIZE, **options})


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Makes the writer stop in the middle of a file, as Ctrl-C would, after so many whole ones."""
    write_moves, count = tensor_files.write_moves, iter(range(1000))

    def stop(path: Path, moves, digest, advance) -> None:
        if next(count) < after:
            return write_moves(path, moves, digest, advance)
        path.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_moves", stop)


@pytest.fixture
def interrupted(source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two finished files and no more."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after=2)
        convert(source)
    folder = source.parent / "wings"
    assert len(shards(folder)) == 2 and {path.name for path in folder.iterdir() if path not in shards(folder)} == {
        "conversion.json"
    }
    return folder


def test_goes_on_where_it_stopped(source, interrupted, monkeypatch):
    finished = {path: path.stat().st_mtime_ns for path in shards(interrupted)}
    written = []
    write_file = writing.write_file
    monkeypatch.setattr(writing, "write_file", lambda path, *rest: written.append(path.name) or write_file(path, *rest))
    report = convert(source)
    assert report.intact == [path.name for path in finished]
    assert sorted([*written, *report.intact]) == sorted(report.files)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())
    assert "2 files were there" in report.summary()
    fresh = source.parent / "fresh"
    convert_to_wings(str(source), fresh, max_shard_size=SHARD_SIZE)
    assert all(path.read_bytes() == (fresh / path.name).read_bytes() for path in shards(interrupted))
    WingsForCausalLM.from_pretrained(interrupted)


def test_an_unfinished_conversion_does_not_go_back(interrupted):
    with pytest.raises(ValueError, match="not finished"):
        convert_to_released(str(interrupted), interrupted.parent / "back")


@pytest.mark.parametrize("harm", ["flip", "cut", "delete", "swap"])
def test_a_damaged_file_is_found_and_written_again(harm, source, interrupted):
    first, second = shards(interrupted)
    content = bytearray(first.read_bytes())
    if harm == "flip":
        content[-7] ^= 1
        first.write_bytes(content)
    elif harm == "cut":
        first.write_bytes(content[:-4])
    elif harm == "delete":
        first.unlink()
    else:
        shutil.copyfile(second, first)
    report = convert(source)
    assert report.intact == [second.name]
    convert_to_released(str(interrupted), interrupted.parent / "back")
    assert_identical(read_tensors(source), read_tensors(interrupted.parent / "back"))


def test_a_finished_conversion_is_verified_and_left(source):
    report = convert(source)
    before = {path: path.stat().st_mtime_ns for path in shards(report.folder)}
    again = convert(source)
    assert again.intact == again.files == report.files
    assert before == {path: path.stat().st_mtime_ns for path in shards(report.folder)}


def test_other_settings_are_an_error_until_restarted(source, interrupted):
    for options, message in (
        ({"max_shard_size": 25_000}, "max_shard_size: 30000 before, 25000 now"),
        ({"system_prompt_length": 3}, "system_prompt_length: 5 before, 3 now"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(source, **options)
    unfinished = json.loads((interrupted / "conversion.json").read_text())["settings"]["files"][2]
    (interrupted / f"{unfinished}.partial").write_text("of a process that was killed")
    convert(source, max_shard_size=10**9, restart=True)
    assert not list(interrupted.glob("*.partial"))
    assert [path.name for path in shards(interrupted)] == ["model.safetensors", "unused.safetensors"]
    assert not (interrupted / "model.safetensors.index.json").exists()
    WingsForCausalLM.from_pretrained(interrupted)


def test_a_restart_keeps_nothing_of_another_source(source):
    """A released configuration that an earlier conversion kept would describe the wrong model on the way back."""
    convert(source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").unlink()
    base = Qwen2Config(**{name: value for name, value in config.items() if name in TEXT_FIELDS}, rope_theta=777.0)
    base.save_pretrained(source.parent / "base")
    convert(source, text_config=str(source.parent / "base"), restart=True)
    convert_to_released(str(source.parent / "wings"), source.parent / "back")
    assert json.loads((source.parent / "back/config.json").read_text())["rope_theta"] == 777.0


@pytest.mark.parametrize("restart", [False, True])
def test_the_source_is_never_written_to(restart, source):
    """Restarting there would delete the only copy."""
    folder = convert(source).folder
    link = folder.with_name("link")
    link.symlink_to(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for target in (folder, link):
        with pytest.raises(ValueError, match="is the source itself"):
            convert_to_released(str(folder), target, restart=restart)
        with pytest.raises(ValueError, match="is the source itself"):
            causalize(str(folder), target, restart=restart)
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_a_changed_source_is_an_error(source, interrupted):
    path = shards(source)[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"other settings.*{path.name}"):
        convert(source)


def test_what_else_is_in_the_folder_is_left_alone(source):
    folder = source.parent / "wings"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(ValueError, match="not empty"):
            convert(source, restart=restart)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}, "files": {}, "version": 1}'])
@pytest.mark.parametrize("restart", [False, True])
def test_a_record_that_cannot_be_read_is_no_reason_to_delete(content, restart, source):
    folder = source.parent / "wings"
    folder.mkdir()
    (folder / "conversion.json").write_text(content)
    with pytest.raises(ValueError, match="is no record"):
        convert(source, restart=restart)
    assert (folder / "conversion.json").read_text() == content


def test_what_the_disk_changes_is_found_at_once(source, monkeypatch):
    write_moves = tensor_files.write_moves

    def bad_disk(path: Path, *rest) -> None:
        write_moves(path, *rest)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    monkeypatch.setattr(writing, "write_moves", bad_disk)
    with pytest.raises(OSError, match="differs from the source"):
        convert(source)
    assert shards(source.parent / "wings") == []


def test_a_full_disk_is_noticed_before(source, monkeypatch):
    usage = shutil.disk_usage(source)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(OSError, match=r"needs .* more"):
        convert(source)


def test_the_index_names_every_tensor_once(source):
    report = convert(source)
    index = json.loads((report.folder / "model.safetensors.index.json").read_text())
    tensors = read_tensors(report.folder)
    assert index["metadata"]["format"] == "pt"
    assert index["weight_map"].keys() == {name for name in tensors if "attn_t_pool" not in name}
    assert index["metadata"]["total_size"] == sum(tensors[name].nbytes for name in index["weight_map"])
    largest = max(path.stat().st_size for path in report.folder.glob("model-*.safetensors"))
    assert largest < max(SHARD_SIZE, max(t.nbytes for t in tensors.values())) + 20_000  # and its header
