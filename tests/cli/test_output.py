# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the command line says: one document with `--json`, levels, colours, failures in a sentence, and processes."""

import argparse
import errno
import importlib.util
import io
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from tqdm import tqdm

from wings_hf.cli import main as cli
from wings_hf.cli.failures import as_paragraph
from wings_hf.cli.network import unreachable_is_said_at_once
from wings_hf.cli.output import colours, line, note, progress_bars, result, styled, warn
from wings_hf.hub.push import PushError

httpx = importlib.import_module(
    "httpx2" if importlib.util.find_spec("httpx2") else "httpx"
)  # what the Hub's client uses

# The library's home, where the launcher is; without torch where it is not needed.
LAUNCH = [sys.executable, "-m", "wings_hf_command"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def launch(*argv: str, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run([*LAUNCH, *argv], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, **options)


class Talks:
    """A command that says something of every kind."""

    HELP = "talks"

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        from wings_hf.cli.output import add_json

        add_json(parser)

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        note("a note")
        warn("a warning")
        print("a stray print")
        logging.getLogger("wings_hf.elsewhere").debug("a detail")
        result(args, {"path": Path("x"), "n": 1}, "the text")
        return 0


@pytest.fixture
def talks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "talks", Talks)  # type: ignore[arg-type]
    monkeypatch.setattr(cli, "COMMANDS", {"talks": "talks"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], ["a note", "a warning"]),
        (["--quiet"], []),
        (["-v"], ["a note", "a warning", "a detail"]),
    ],
)
def test_levels_and_streams(talks: None, capsys: pytest.CaptureFixture, options: list[str], said: list[str]) -> None:
    before = logging.getLogger("wings_hf").handlers[:]
    assert cli.main(["talks", *options]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["a stray print", "the text"] and printed.err.splitlines() == said
    assert cli.main(["talks", "--json", *options]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"path": "x", "n": 1} and "a stray print" in printed.err
    assert logging.getLogger("wings_hf").handlers == before and logging.getLogger("wings_hf").propagate


def test_quiet_and_verbose_exclude_each_other(talks: None) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["talks", "-q", "-v"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_are_for_terminals_and_quiet_hides_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)

    def shown(stream: io.StringIO, **asked: Any) -> bool:
        with tqdm(total=2, file=stream, **asked) as bar:
            bar.update()
        return bool(stream.getvalue())

    asked: list[dict] = [{}, {"disable": None}, {"disable": False}]
    for options in asked:
        with progress_bars(quiet=True):
            assert not shown(Terminal(), **options) and os.environ["TQDM_DISABLE"] == "1"
        with progress_bars(quiet=False):
            assert shown(Terminal(), **options) and not shown(io.StringIO(), **options)
            assert not shown(Terminal(), disable=True)
    assert shown(io.StringIO()) and "TQDM_DISABLE" not in os.environ


def test_lines_of_json(capsys: pytest.CaptureFixture) -> None:
    for document in ({"answer": "a\nb"}, {"path": Path("x")}):
        line(argparse.Namespace(json=True), document)
        line(argparse.Namespace(json=False), document)
    assert capsys.readouterr().out == '{"answer": "a\\nb"}\n{"path": "x"}\n'


def test_numbers_that_json_does_not_have_are_no_result(talks: None) -> None:
    args = argparse.Namespace(json=True)
    with pytest.raises(ValueError, match="JSON"):
        result(args, {"loss": float("nan")}, "nan")


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colours(Terminal()) and not colours(io.StringIO())
    assert styled("x", "1", Terminal()) == "\033[1mx\033[0m" and styled("x", "1", io.StringIO()) == "x"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as change:
            change.setenv(name, value)
            assert not colours(Terminal())


@pytest.mark.parametrize(
    ("argv", "guess"),
    [
        (["trian"], "Did you mean train?"),
        (["data", "chekc"], "Did you mean check?"),
        (["train", "--leaner-rank", "3"], "Did you mean --learner-rank?"),
        (["data", "check", "x", "--limt", "3"], "Did you mean --limit?"),
        (["chat", "x", "--zzz"], "Help: wings-hf chat --help"),
    ],
)
def test_a_slip_is_guessed(argv: list[str], guess: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main(argv)
    said = capsys.readouterr()
    assert leaving.value.code == 2 and guess in said.err and not said.out


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def answered(status: int) -> Exception:
    """What the Hub's client raises for an answer with this status."""
    error = Exception("Server Error")
    error.response = argparse.Namespace(status_code=status)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("The value is 3."), "The value is 3. (--debug"),
        (KeyError("x"), "KeyError: 'x' (--debug"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "The disk is full (/a/b)"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "The disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "/a"), "This place is read-only (/a)"),
        (caused(ValueError("no"), OSError(errno.EDQUOT, "Quota")), "The disk is full"),
        (OSError(errno.ENOTDIR, "Not a directory", "a/b"), "a/b: a file stands where a folder is expected. (--debug"),
        (OSError(errno.EACCES, "Permission denied", "/a"), "/a: permission denied. (--debug"),
        (OSError(errno.ENOENT, "No such file or directory", "x.png"), "x.png: no such file or directory. (--debug"),
        (OSError(errno.EFBIG, "File too large"), "The file is larger than this system allows. (--debug"),
        (
            caused(OSError("Can't load it"), httpx.ReadError("cut off.")),
            "The connection to the Hub broke: cut off. Try",
        ),
        (caused(OSError("We couldn't connect"), answered(503)), "The Hub failed (HTTP 503): try"),
        (caused(OSError("There is no such model"), answered(404)), "There is no such model (--debug"),
        (caused(PushError("Unset it."), OfflineModeIsEnabled("offline mode is enabled")), "Unset it. (--debug"),
    ],
)
def test_failures_are_sentences(error: Exception, said: str) -> None:
    assert " ".join(as_paragraph(error).split()).startswith(said)


def test_paths_and_options_are_never_broken() -> None:
    words = [f"some-folder-{number}/my-model" for number in range(40)]
    assert set(words) <= set(as_paragraph(ValueError(" ".join(words))).split())


def test_what_was_asked_of_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from transformers import AutoConfig

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OSError) as failed:
        AutoConfig.from_pretrained("ann/not-here")
    said = " ".join(as_paragraph(failed.value).split())
    assert said.startswith("There is no folder ann/not-here. It is not in the cache, and HF_HUB_OFFLINE forbids")


def test_a_hub_that_cannot_be_reached_is_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants, hf_hub_download

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits to try again"))
    with unreachable_is_said_at_once(), pytest.raises(OSError) as failed:
        hf_hub_download("a/b", "config.json", endpoint=endpoint, cache_dir=tmp_path)
    said = " ".join(as_paragraph(failed.value).split())
    assert f"{endpoint} cannot be reached (Connection refused)" in said and "It is not in the cache" in said
    assert "asked for a/b/resolve/main/config.json" in said  # a mistaken name of a folder is seen


def test_help_needs_no_torch() -> None:
    code = "import sys, wings_hf_command as c; sys.argv[1:] = ['--help']\ntry: c.main()\nexcept SystemExit: pass\n"
    code += "sys.exit(bool({'torch', 'transformers', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.slow
def test_the_launcher_runs_what_import_does(tmp_path: Path) -> None:
    """Put off, not left out: a command finds the classes registered."""
    code = "import sys, wings_hf_command as c; sys.argv[1:] = ['train', '--list', '-q']; assert c.main() == 0\n"
    code += "from wings_hf import WingsConfig; from transformers import AutoConfig; AutoConfig.for_model('wings')"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_failure() -> None:
    command = f"{' '.join(LAUNCH)} completion bash | head -1; exit ${{PIPESTATUS[0]}}"
    pytest.importorskip("shtab")
    done = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (141, "") or (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said() -> None:
    with open("/dev/full", "w") as full:
        command = [*LAUNCH, "completion", "bash"]
        pytest.importorskip("shtab")
        done = subprocess.run(command, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "The disk is full" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_python_m(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wings_hf", "chat", str(tmp_path / "gone"), "--prompt", "x"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1 and "wings-hf chat: There is no folder" in done.stderr


@pytest.mark.slow
def test_env_is_one_document() -> None:
    done = launch("env", "--json")
    facts = json.loads(done.stdout)
    assert done.returncode == 0 and facts["wings_hf"] and facts["torch"] and facts["transformers"]
