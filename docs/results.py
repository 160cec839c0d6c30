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


def results_page(records: Path = RECORDS) -> str:
    """The page as Markdown, from the records `records`/NAME.json."""
    known = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(records.glob("*.json"))}
    template, goals = _environment().get_template("results.md.jinja"), Goals()
    words = {"records": known, "goal": goals.goal, "at_least": goals.at_least, "at_most": goals.at_most}
    template.render(words, met=0, of=0)  # counts the goals, which the first lines tell
    page = template.render(words, met=sum(goals.met), of=len(goals.met))
    return re.sub(r"\n{3,}", "\n\n", page)


class Goals:
    """Figures that have a goal: marked where they miss it, and counted."""

    def __init__(self) -> None:
        self.met: list[bool] = []

    def goal(self, shown: str, met: bool) -> str:
        """A figure with a goal of any kind."""
        self.met.append(bool(met))
        return shown if met else f"{shown} (goal missed)"

    def at_least(self, bar: float, value: float, digits: int = 0, *, shown: str = "", percent: bool = False) -> str:
        """Two cells of a table: the goal and the figure, with so many digits or as `shown`."""
        return self._cells(">=", bar, shown or _number(value, digits, percent), value >= bar, percent)

    def at_most(self, bar: float, value: float, digits: int = 0, *, shown: str = "", percent: bool = False) -> str:
        """The same for a goal that is an upper limit."""
        return self._cells("<=", bar, shown or _number(value, digits, percent), value <= bar, percent)

    def _cells(self, sign: str, bar: float, shown: str, met: bool, percent: bool) -> str:
        limit = f"{100 * bar:g} %" if percent else f"{bar:,g}"
        return f"{sign} {limit} | {self.goal(shown, met)}"


def _number(value: float, digits: int, in_percent: bool) -> str:
    return percent(value, digits) if in_percent else fixed(value, digits)


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
    """A number with so many digits after the point, and commas."""
    return "n/a" if value is None else f"{value:,.{digits}f}"


def each(values: Sequence[float], digits: int) -> str:
    """Several numbers with so many digits after the point."""
    return ", ".join(fixed(value, digits) for value in values)


def count(value: float | None) -> str:
    """A whole number with commas."""
    return fixed(value, 0)


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
