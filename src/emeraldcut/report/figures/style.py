"""Style: the colours and fonts of plots, empty figures, and figures as files and as SVG text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

# Colours that stand for those of the style sheet, which differ between light and dark pages.
INK, MUTED, LINE, ACCENT, SECOND = "#010203", "#010204", "#010205", "#010206", "#010207"
STYLED = {
    INK: "currentColor", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)", SECOND: "var(--second)",
}  # fmt: skip
PLOT_STYLE: Any = {  # matplotlib's types list the names of all settings
    "svg.fonttype": "none", "svg.hashsalt": "emeraldcut", "font.size": 10, "text.color": INK,
    "axes.labelcolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
}  # fmt: skip


def new_figure(width_inch: float, height_inch: float):
    """An empty figure without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch))


def save_figure(figure, path: str | Path) -> Path:
    """Writes a figure to a file, whose folder is made if needed, and returns its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _any_script():
        figure.savefig(path, dpi=130, facecolor="white")
    return path


@contextmanager
def _any_script() -> Iterator[None]:
    """Without warnings of letters that the font lacks, which names may contain."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def short(name: str, longest: int) -> str:
    """An identifier without its middle if it is long; `$`, which would start a formula, is escaped."""
    half = (longest - 1) // 2
    return (name if len(name) <= longest else f"{name[:half]}…{name[-half:]}").replace("$", r"\$")


def svg_of(name: str, draw) -> str:
    """SVG text of a plot, in the colours of the page and with ids that begin with `name`."""
    from matplotlib import rc_context

    buffer = StringIO()
    with rc_context(PLOT_STYLE), _any_script():
        figure = new_figure(5.4, 3.7)
        figure.set_layout_engine("tight")
        draw(figure.add_subplot())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    # coordinates to a hundredth of a point; text between tags is left alone
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    svg = re.sub(r' (xmlns(:xlink)?|width|height|version)="[^"]*"', "", svg, count=5)
    svg = re.sub(r'id="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)(?!rank-)', rf"\1{name}-", svg)
    for drawn, styled in STYLED.items():
        svg = svg.replace(drawn, styled)
    return svg
