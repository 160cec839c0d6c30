"""What Sphinx needs to know: settings as tables, pages without a place of their own, formulas as MathML."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

from emeraldcut.settings import Settings, items

OTHERS = "@pages without a place of their own@"  # a line in a table of contents that stands for them
LISTED = re.compile(r"^(?:[^<\n]*<)?([\w/.-]+)>?$", re.MULTILINE)


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
    app.connect("autodoc-process-docstring", keep_bars, priority=100)  # before numpydoc
    app.connect("autodoc-process-docstring", describe_settings)
    app.connect("autodoc-process-signature", short_signature)
    app.connect("source-read", place_other_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mathml(source: str, block: bool) -> str:
    """A formula of TeX as MathML, which browsers draw without a script."""
    try:
        return str(tex2mathml(source, as_block=block))
    except MathError as error:
        raise ValueError(f"docutils cannot read the formula '{source}': {error}") from error


def inline_formula(writer: Any, node: nodes.math) -> None:
    writer.body.append(_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def formula(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{_mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def keep_bars(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Absolute values in docstrings are no substitutions of reStructuredText."""
    for k, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[k] = "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def describe_settings(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Adds to a class of settings a table of them: name, default, what is allowed, meaning."""
    if not (inspect.isclass(value) and issubclass(value, Settings) and value is not Settings):
        return
    lines += ["", ".. list-table::", "   :header-rows: 1", "   :widths: 20 15 20 45", ""]
    rows = [("setting", "default", "allowed", "meaning")]
    rows += [
        (f"``{item.name}``", f"``{item.shown_default}``" if item.shown_default else "", item.allowed, item.help)
        for item in items(value)
    ]
    for row in rows:
        for first, cell in zip("* - ,  - ,  - ,  - ".split(","), row, strict=True):
            lines.append(f"   {first}{_as_rst(cell)}")
    lines.append("")


def _as_rst(text: str) -> str:
    """A text of help as reStructuredText takes it: stars and underscores are what they are."""
    return text if text.startswith("``") else re.sub(r"([*_|\\])", r"\\\1", text)


def short_signature(app: Any, what: str, name: str, value: Any, options: Any, signature: Any, returned: Any) -> Any:
    """Settings are keywords; the table below says which."""
    if inspect.isclass(value) and issubclass(value, Settings):
        return "(**settings)", None
    return None


def place_other_pages(app: Any, docname: str, source: list[str]) -> None:
    """Puts pages of docs/ that no table of contents names into the one that asks for them."""
    if OTHERS in source[0]:
        source[0] = source[0].replace(OTHERS, "\n".join(other_pages(Path(app.srcdir))))


def other_pages(folder: Path) -> list[str]:
    """Names of the pages directly in `folder` that no `toctree` names."""
    placed = {"index"}
    for page in folder.rglob("*.md"):
        for block in re.findall(
            r"^[`:]{3,}\{toctree\}\n(.*?)^[`:]{3,}$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
        ):
            names = LISTED.findall(block)
            placed |= {(page.parent / name).relative_to(folder).as_posix() for name in names}
    return [page.stem for page in sorted(folder.glob("*.md")) if page.stem not in placed]
