# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the documentation names exists: commands with their options, make targets, files, anchors, recipes, errors.

Its Python code is run by `tests/test_docs.py`.
"""

import argparse
import ast
import configparser
import re
import shlex
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from wings_hf.cli.main import COMMANDS, build_parser
from wings_hf.training.recipes import Retention, load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(configs|examples|experiments|benchmarks|scripts)/[\w/.]+")
LAUNCHED = re.compile(r"^(?:torchrun|accelerate launch)\b.* -m wings_hf\.cli\.main ")

pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def blocks(page: Path, kind: str) -> Iterator[str]:
    return (block["text"] for block in FENCE.finditer(page.read_text()) if block["kind"].strip() == kind)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def lines(block: str) -> Iterator[str]:
    """The command lines of a bash block; one may go over several lines."""
    line = ""
    for each in block.replace("\\\n", " ").splitlines():
        line = f"{line}\n{each}" if line else each
        if re.sub(r"'[^']*'", "", line).count("'") == 0:
            yield line
            line = ""
    assert not line, f"a quote has no end: {line}"


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command line in the page's bash blocks, without comments."""
    for block in blocks(page, "bash"):
        for line in lines(block):
            for command in re.split(r"\s(?:&&|\|)\s", LAUNCHED.sub("wings-hf ", line)):
                words = shlex.split(command, comments=True)
                words = words[: words.index(">")] if ">" in words else words  # where its output goes
                if words:
                    yield words


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return build_parser()


@pages
def test_command_lines_are_understood(page: Path, parser, capsys: pytest.CaptureFixture) -> None:
    for words in commands(page):
        if words[0] == "wings-hf" and not {"--list", "--fields", "--help", "COMMAND"} & set(words):
            try:
                parser.parse_args(words[1:])
            except SystemExit as stop:
                raise AssertionError(f"{shlex.join(words)}: {capsys.readouterr().err}") from stop
    for name in re.findall(r"`wings-hf ([a-z]+)", prose(page)):
        assert name in COMMANDS, name


@pages
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {words[1] for words in commands(page) if words[0] == "make"}
    named |= set(re.findall(r"`make ([a-z-]+)", prose(page)))
    assert named <= targets, named - targets


@pages
def test_scripts_exist_and_know_their_options(page: Path) -> None:
    for words in commands(page):
        paths = [word for word in words if OURS.fullmatch(word)]
        for path in paths:
            assert (ROOT / path).exists(), path
        if words[0].startswith("python") and paths and paths[0].endswith(".py"):
            source = "".join(file.read_text() for file in (ROOT / paths[0]).parent.rglob("*.py"))
            for option in (word for word in words if word.startswith("--")):
                assert f'"{option}"' in source, f"{shlex.join(words)}: {option}"


@pages
def test_extras_exist(page: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    for found in re.findall(r"wings[_-]hf\[([\w,-]+)\]", page.read_text()):
        assert set(found.split(",")) <= extras, found


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub and the site give to the page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        kept = (each for each in text if each in " -_" or unicodedata.category(each)[0] in "LN")
        found.add("".join(kept).replace(" ", "-"))
    return found


@pages
def test_anchors_exist(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        place = (page.parent / target).resolve() if target else page
        if place.suffix == ".md":
            assert anchor in slugs(place), f"{target}#{anchor}: expected one of {sorted(slugs(place))}"


@pages
def test_pictures_say_what_they_show(page: Path) -> None:
    for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
        assert len(text) > 10 and (page.parent / target).exists(), target


@pages
def test_recipes_are_recipes(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(block)
        if {"extends", "stage1"} & set(values):
            (tmp_path / "recipe.yaml").write_text(block)
            assert load_recipe(str(tmp_path / "recipe.yaml")).stages
        elif "retention" in values:
            Retention(**values["retention"])


# ---- errors -------------------------------------------------------------------------------------------------
def texts_of(source: str) -> Iterator[str]:
    """String constants of Python code, with `…` where an f-string puts a value."""
    inner = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in ast.walk(node) if part is not node}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


def test_each_message_of_troubleshooting_is_one_of_ours() -> None:
    page = ROOT / "docs" / "guides" / "troubleshooting.md"
    ours = "\n".join(text for file in (ROOT / "src").rglob("*.py") for text in texts_of(file.read_text()))
    cells = re.findall(r"^\| (`.+?) \|", page.read_text(), re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 25
    missing = []
    for message in messages:
        pieces = [re.escape(piece) for piece in message.split("…")]
        if not re.search(r"[^\n]*?".join(pieces), ours):
            missing.append(message)
    assert not missing


def test_messages_are_found_in_code() -> None:
    code = 'raise ValueError(f"{name}: expected {low} or more" " of them, got 0.")\nprint("plain")'
    assert list(texts_of(code)) == ["…: expected … or more of them, got 0.", "plain"]
