"""Makes the text of docs/results.md from the records in benchmarks/results, with the template results.md.jinja.

`python docs/generate.py` writes it, and a test checks that it is up to date. Every figure on the page comes from a
record (see benchmarks/record.py); what has no record is said to be not measured, with the command that measures it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parent / "benchmarks" / "results"
MISSED = " (goal missed)"


def results_page(records: Path = RECORDS) -> str:
    """The page as Markdown, from the records `records`/NAME.json."""
    known = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(records.glob("*.json"))}
    goals: list[bool] = []

    def goal(figure: str, met: bool) -> str:
        """A figure that has a goal, marked where it misses it."""
        goals.append(bool(met))
        return figure if met else figure + MISSED

    page = _environment().get_template("results.md.jinja")
    page.render(records=known, goal=goal, met=0, of=0)  # counts the goals, which the first lines tell
    met, of = sum(goals), len(goals)
    return re.sub(r"\n{3,}", "\n\n", page.render(records=known, goal=goal, met=met, of=of))


class _Missing(jinja2.StrictUndefined):
    """A figure that a record lacks: an error also where a filter formats it."""

    __format__ = jinja2.StrictUndefined.__str__


def _environment() -> jinja2.Environment:
    """Templates of Markdown, with filters for numbers."""
    loader = jinja2.FileSystemLoader(HERE)
    found = jinja2.Environment(
        loader=loader,
        undefined=_Missing,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {
        "fixed": fixed,
        "each": each,
        "count": count,
        "percent": percent,
        "interval": interval,
        "percent_interval": percent_interval,
    }
    return found


def fixed(value: float | None, digits: int) -> str:
    """A number with so many digits after the point."""
    return "none" if value is None else f"{value:.{digits}f}"


def each(values: Sequence[float], digits: int) -> str:
    """Several numbers with so many digits after the point."""
    return ", ".join(fixed(value, digits) for value in values)


def count(value: float) -> str:
    """A whole number with commas."""
    return f"{value:,.0f}"


def percent(value: float, digits: int = 0) -> str:
    """A fraction in per cent."""
    return f"{100 * value:.{digits}f} %"


def interval(value: Sequence[float], digits: int = 3) -> str:
    """[value, low, high] in words."""
    middle, low, high = (fixed(number, digits) for number in value)
    return f"{middle} ({low} to {high})"


def percent_interval(figures: Mapping, name: str) -> str:
    """The fraction NAME of a record with its interval NAME_low to NAME_high, in per cent."""
    middle, low, high = (100 * figures[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{middle:.0f} % ({low:.0f} to {high:.0f})"
