# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Formulas as MathML, which browsers show without a script; docutils' own converter makes it.

A command that it does not know is a warning with the formula, so that a strict build fails.
"""

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _to_mathml(translator, node: nodes.Element, as_block: bool) -> None:
    formula = " ".join(node.astext().split())
    try:
        markup = latex2mathml.tex2mathml(formula, as_block=as_block)
    except MathError as error:
        logger.warning("%s in the formula %s", error, formula, location=node, type="mathml")
        markup = f"<code>{translator.encode(formula)}</code>"
    markup = f'<div class="formula" tabindex="0">{markup}</div>' if as_block else markup
    translator.body.append(markup)
    raise nodes.SkipNode


def inline(translator, node: nodes.math) -> None:
    _to_mathml(translator, node, as_block=False)


def block(translator, node: nodes.math_block) -> None:
    _to_mathml(translator, node, as_block=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
