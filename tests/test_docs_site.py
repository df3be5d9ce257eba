# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The documentation site builds without a warning, and what is built needs no other host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "video": "src"}

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page loads, the alternative texts of its pictures, its headings of first rank, and its formulas."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.pictures: list[str] = []
        self.titles = self.formulas = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in LOADING and values.get("rel") not in ("next", "prev", "index", "search", "canonical"):
            self.loads.append(values.get(LOADING[tag]) or "")
        if tag == "img" and "sidebar-logo" not in (values.get("class") or ""):
            self.pictures.append(values.get("alt") or "")
        self.titles += tag == "h1"
        self.formulas += tag == "math"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("sphinx", "myst_parser", "furo", "sphinx_copybutton"):
        pytest.importorskip(module, reason="the documentation needs pip install 'wings_hf[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(ROOT / "docs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {str(path.relative_to(site)): Page(path.read_text()) for path in site.rglob("*.html")}


def test_every_page_is_there(site: Path, pages: dict[str, Page]) -> None:
    sources = {str(path.relative_to(ROOT / "docs").with_suffix(".html")) for path in (ROOT / "docs").rglob("*.md")}
    assert sources <= set(pages)
    assert all(page.titles == 1 for name, page in pages.items() if name in sources)


def test_nothing_comes_from_another_host(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert page.loads, name
        assert not [target for target in page.loads if re.match(r"(https?:)?//", target)], name
    for sheet in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text())
        assert not [target for target in found if "w3.org" not in target], sheet.name


def test_pictures_and_formulas_can_be_read(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        assert all(len(text) > 10 for text in page.pictures), name
    assert pages["concepts/learners.html"].formulas > 2 and pages["analysis.html"].formulas > 5


def test_reference_names_what_users_import(site: Path) -> None:
    import wings_hf

    found = set(re.findall(r'<dt class="sig[^"]*" id="([\w.]+)"', "".join(p.read_text() for p in site.rglob("*.html"))))
    public = {f"wings_hf.{name}" for name in wings_hf.__all__ if name != "__version__"}
    assert public <= found, public - found
    assert "wings_hf.WingsForCausalLM.from_backbones" in found and "wings_hf.analysis.measure_attention" in found


def test_search_knows_the_words(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    assert all(word in index for word in ("lorra", "retent", "router", "troubleshoot"))


def test_figures_of_the_concepts_are_drawn_by_the_script(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command = [sys.executable, str(ROOT / "scripts" / "draw_concepts.py"), str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    drawn, there = (sorted(folder.glob("concept-*.svg")) for folder in (tmp_path, ROOT / "docs" / "images"))
    assert [path.name for path in drawn] == [path.name for path in there]
    assert all("<svg" in path.read_text()[:1000] for path in drawn)
