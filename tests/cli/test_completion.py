# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tab completion, by asking bash what it would offer."""

import shutil
import subprocess
from pathlib import Path

import pytest

from wings_hf.cli import main as cli

pytest.importorskip("shtab")

ASK = """
source {script}
COMP_WORDS=({words} "$LAST"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="${{COMP_WORDS[*]}}"
complete_with=$(complete -p wings-hf | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$complete_with
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "my-model").mkdir()
    (folder / "my-photo.png").touch()
    return folder


def offered(folder: Path, capsys: pytest.CaptureFixture, words: str, last: str = "") -> set[str]:
    assert cli.main(["completion", "bash"]) == 0
    script = folder / "script.bash"
    script.write_text(capsys.readouterr().out)
    asked = ASK.format(script=script, words=words)
    environment = {"LAST": last, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", asked], env=environment, cwd=folder, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "last", "wanted"),
    [
        ("wings-hf", "", set(cli.COMMANDS)),
        ("wings-hf", "tr", {"train"}),
        ("wings-hf data", "", {"check"}),
        ("wings-hf train", "--learner", {"--learner-rank"}),
        ("wings-hf analyze --rows", "", {"all", "image", "after", "answer", "last"}),
        ("wings-hf completion", "", {"bash", "zsh", "tcsh"}),
        ("wings-hf chat", "my-", {"my-model"}),
        ("wings-hf chat my-model --image", "my-p", {"my-photo.png"}),
    ],
)
def test_what_bash_offers(folder: Path, capsys: pytest.CaptureFixture, words: str, last: str, wanted: set[str]) -> None:
    assert offered(folder, capsys, words, last) == wanted


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script(shell: str, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["completion", shell]) == 0
    assert "wings-hf" in capsys.readouterr().out
