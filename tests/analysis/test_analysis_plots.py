# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Plots are written in both forms with their data beside them, show what they should, and change no global state."""

import json
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from wings_hf.analysis.curves import draw_heads, draw_laws, draw_shift_against_score
from wings_hf.analysis.laws import AttentionLaws
from wings_hf.analysis.maps import AttentionMap
from wings_hf.analysis.pictures import draw_maps, draw_router
from wings_hf.analysis.router import RouterWeights
from wings_hf.analysis.style import COLORS


@pytest.fixture
def laws() -> AttentionLaws:
    heads = np.random.default_rng(0).dirichlet([1, 1, 1, 1], size=(5, 4))
    return AttentionLaws(heads.mean(1), 3, 40, 0.4, 3, {}, heads, None, {"rows": "all", "per_token": False})


@pytest.fixture
def router() -> RouterWeights:
    visual = np.array([[0, 0, 1.5, 1.5, 0.2], [0, 0, 1.0, 1.0, 1.9]])
    textual = np.where(visual > 0, 2 - visual, 1)
    weights = np.stack([visual, textual], axis=-1)
    kinds = ["before", "before", "image", "image", "after"]
    return RouterWeights(weights, [0, 1], ["visual", "textual"], kinds, ["a", "\n", "", "", "<b> & $\\frac$"])


def written(stem) -> dict:
    """The data, once the picture is known to have something on it and the SVG to be well-formed."""
    with Image.open(f"{stem}.png") as picture:
        assert min(picture.size) > 200 and len(picture.convert("RGB").getcolors(2**20)) > 20
    ElementTree.parse(f"{stem}.svg")
    with open(f"{stem}.json", encoding="utf-8") as file:
        return json.load(file)


def test_curves_and_heads(tmp_path, laws):
    before = dict(matplotlib.rcParams)
    assert [path.name for path in draw_laws(tmp_path / "new" / "laws", laws, "a model")] == [
        "laws.png",
        "laws.svg",
        "laws.json",
    ]
    data = written(tmp_path / "new" / "laws")
    assert data["name"] == "a model" and AttentionLaws.from_dict(data).shift == laws.shift
    draw_heads(tmp_path / "heads", laws)
    np.testing.assert_allclose(written(tmp_path / "heads")["head_masses"], laws.head_masses)
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(ValueError, match="per_head=True"):
        draw_heads(tmp_path / "none", AttentionLaws(laws.masses, 1, 1))


def test_each_curve_is_drawn_in_its_place(tmp_path, laws):
    from matplotlib.figure import Figure

    from wings_hf.analysis.curves import _draw_laws

    axes = Figure().subplots()
    _draw_laws(axes, laws, "")
    lines = {line.get_color(): line.get_ydata() for line in axes.lines}
    for name, curve in (("before", laws.before), ("image", laws.image), ("after", laws.after)):
        np.testing.assert_array_equal(lines[COLORS[name]], curve)


@pytest.mark.parametrize("layers", [1, 2, 40])
def test_any_number_of_layers_and_no_sample_at_all(tmp_path, layers):
    draw_laws(tmp_path / "laws", AttentionLaws(np.zeros((layers, 4)), 0, 0))
    assert written(tmp_path / "laws")["shift_is_defined"] is False


def test_shift_against_score(tmp_path):
    models = [("a", 0.1, 0.9), ("b", 0.2, 0.7), ("c", 0.3, 0.8), ("d", 0.4, 0.5)]
    found = draw_shift_against_score(tmp_path / "scatter", models, "accuracy", ["x", "x", "y", "y"])
    data = written(tmp_path / "scatter")
    r = np.corrcoef([0.1, 0.2, 0.3, 0.4], [0.9, 0.7, 0.8, 0.5])[0, 1]
    assert found.r == pytest.approx(r) and data["pearson"]["r"] == pytest.approx(r)
    half = 1.959964 / np.sqrt(1)  # Fisher's z has deviation 1 / sqrt(n - 3)
    assert data["pearson"]["low"] == pytest.approx(np.tanh(np.arctanh(r) - half), abs=1e-6)
    assert [each["name"] for each in data["models"]] == ["a", "b", "c", "d"]
    draw_shift_against_score(tmp_path / "one", models[:1])
    with pytest.raises(ValueError, match="no models"):
        draw_shift_against_score(tmp_path / "none", [])


def test_router(tmp_path, router):
    draw_router(tmp_path / "router", router, "a model")
    assert written(tmp_path / "router")["weights"] == router.weights.tolist()
    alone = RouterWeights(router.weights[..., :1], [0, 1], ["visual"], router.kinds, router.tokens)
    draw_router(tmp_path / "alone", alone)
    long = RouterWeights(np.ones((2, 500, 2)), [0, 1], ["visual", "textual"], ["after"] * 500, ["x"] * 500)
    draw_router(tmp_path / "long", long)
    with pytest.raises(ValueError, match="without tokens"):
        draw_router(tmp_path / "none", RouterWeights(np.ones((2, 0, 2)), [0, 1], ["visual", "textual"], [], []))


def test_an_image_is_one_column_of_the_router(router):
    from wings_hf.analysis.pictures import _columns

    labels = [(label, is_image) for label, _, is_image in _columns(router)]
    assert labels == [("a", False), ("↵", False), ("image (2)", True), ("<b> & $\\frac$", False)]
    np.testing.assert_allclose(_columns(router)[2][1], [[1.5, 0.5], [1, 1]])


def test_maps(tmp_path):
    weights = np.random.default_rng(0).random((9, 3, 4))
    maps = [AttentionMap(weights, 0, 0), AttentionMap(weights[:, ::-1], 0, 1)]
    picture = Image.new("RGB", (40, 30), "red")
    draw_maps(tmp_path / "maps", maps, [picture, None], "what is $\\this$", "a $\\model$")
    data = written(tmp_path / "maps")
    assert data["question"] == "what is $\\this$"
    np.testing.assert_allclose(data["maps"][0]["weights"], weights)
    with pytest.raises(ValueError, match="1 maps and 0 pictures"):
        draw_maps(tmp_path / "none", maps[:1], [])
