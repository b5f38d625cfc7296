"""Sphinx extension: formulas become MathML when the pages are built.

Browsers draw MathML themselves, so a page needs neither a script nor the network to show it.
"""

from __future__ import annotations

from docutils import nodes
from latex2mathml.converter import convert


def draw_inline(self, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(f'<span class="math">{convert(node.astext())}</span>')
    raise nodes.SkipNode


def draw_block(self, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    formula = convert(node.astext().strip(), display="block")
    self.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


def setup(app) -> dict[str, bool]:
    """Register the renderer under the name that ``html_math_renderer`` asks for."""
    app.add_html_math_renderer("mathml", (draw_inline, None), (draw_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
