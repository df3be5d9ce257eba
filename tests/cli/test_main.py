# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf`: help that teaches, one paragraph for a failure, exit codes."""

import os
from pathlib import Path

import pytest

from wings_hf.cli import main as cli

COMMANDS = tuple(cli.COMMANDS)


def fails(argv: list[str], capsys: pytest.CaptureFixture) -> str:
    """What a command that fails with exit code 1 writes to stderr."""
    assert cli.main(argv) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.split())


@pytest.mark.parametrize("argv", [[], *([name] for name in COMMANDS)])
def test_help_names_the_commands_and_shows_how(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main([*argv, "--help"])
    assert leaving.value.code == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (argv or COMMANDS))
    assert "--debug" in printed or "ACTION" in printed


@pytest.mark.parametrize("argv", [[], ["fly"], ["demo", "--seeds", "many"], ["train", "--feather", "0"]])
def test_a_wrong_command_line_exits_with_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(argv)
    assert leaving.value.code == 2


def test_a_failure_is_one_paragraph_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    message = fails(["chat", str(tmp_path / "gone"), "--prompt", "Hi"], capsys)
    assert message.startswith("wings-hf chat: There is no folder") and "--debug" in message


def test_debug_shows_where_it_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no folder"):
        cli.main(["chat", str(tmp_path / "gone"), "--debug"])


def test_interruption_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("wings_hf.demo.run.run_demo", stop)
    assert cli.main(["demo"]) == 130


def test_a_demo_with_other_settings_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "settings.json").write_text('{"width": 8}')
    message = fails(["demo", "--out", str(tmp_path)], capsys)
    assert "other settings" in message and "--restart" in message
    assert (tmp_path / "settings.json").read_text() == '{"width": 8}'


def test_a_restart_deletes_a_demo_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from wings_hf.demo.run import delete_demo

    (tmp_path / "settings.json").write_text('{"editor.fontSize": 12}')
    (tmp_path / "model").mkdir()
    message = fails(["demo", "--out", str(tmp_path), "--restart"], capsys)
    assert "settings.json is not of a demo" in message and (tmp_path / "model").exists()
    (tmp_path / "settings.json").write_text('{"width": 8}')
    (tmp_path / "seed-0" / "wings").mkdir(parents=True)
    for mine in ("notes.txt", "results.json"):
        (tmp_path / mine).write_text("x")
    delete_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


COMMON = ["--text-model", "x", "--vision-model", "y", "--data", "z"]


@pytest.mark.parametrize("argv", [["train", *COMMON, "--output"], ["demo", "--out"]])
def test_an_output_that_cannot_be_written_is_said_before_the_work(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/below"):
        message = fails([*argv, str(tmp_path / place)], capsys)
        assert "a file stands where a folder is expected" in message and str(tmp_path / "file") in message
    assert (tmp_path / "file").read_text() == "mine"
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        pytest.skip("who runs the tests may write everywhere")
    for place in ("closed", "closed/below"):
        assert "permission denied" in fails([*argv, str(tmp_path / place)], capsys)
