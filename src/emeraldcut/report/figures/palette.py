"""Palette: the colours of all pages and figures, said once: in light, in dark, on paper and on pictures."""

from __future__ import annotations

from collections.abc import Mapping

BLACK, GREY, EMERALD = "#111111", "#555555", "#0f8a5f"  # figures on white paper
SERIES = (EMERALD, "#d9822b", "#7a3db8", "#3465a4")  # and their lines, where there are several
MINT, AMBER = "#7df0c3", "#ffb454"  # on dark pictures

# Names of the pages' style sheets.
LIGHT = {
    "paper": "#fbfcfb", "card": "#ffffff", "ink": "#17211d", "muted": "#53625b", "line": "#d5dfda", "edge": "#78897f",
    "wash": "#eef4f1", "accent": "#0b7a53", "on-accent": "#ffffff", "second": "#b5651d", "warn": "#7a4a00",
    "warn-wash": "#fdf1dc", "bad": "#a3201a", "isophote": MINT,
}  # fmt: skip
DARK = {
    "paper": "#101513", "card": "#181f1c", "ink": "#e4ece8", "muted": "#9db0a7", "line": "#36433d", "edge": "#70827a",
    "wash": "#1d2723", "accent": "#4fd3a0", "on-accent": "#06271a", "second": AMBER, "warn": "#f3c983",
    "warn-wash": "#362a14", "bad": "#ff9d94",
}  # fmt: skip
PAPER = LIGHT | {
    "paper": "#fff", "card": "#fff", "ink": "#000", "muted": "#444", "line": "#bbb", "wash": "#fff", "warn": "#5a3600",
    "warn-wash": "#fff",
}  # fmt: skip


def style() -> str:
    """The rules that give a page its colours: `var(--ink)` and so on, as the reader's system is set."""
    return (
        f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; {_variables(PAPER)} }} }}\n"
    )


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
