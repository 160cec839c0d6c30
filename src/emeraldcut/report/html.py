"""The pieces that all report pages are made of: the shell with its style, lists of facts, tables, plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from emeraldcut.data.run import SETTINGS
from emeraldcut.report.cite import cite_section
from emeraldcut.report.figures import palette

OF_SETTINGS = "settings."  # before the names of settings in a manifest


def shell(title: str, result: str, main: str, manifest: Mapping[str, Any], folder: Path | None = None) -> str:
    """The whole page: a title (text), what was found in a sentence, the main part (both HTML), and how it was made."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    known = {"title": escape(title), "version": escape(str(manifest.get("version", ""))), "result": result}
    return template.substitute(known, colours=palette.style(), main=main + _ending(manifest, folder))


def made_by(manifest: Mapping[str, Any], per_image: str = "") -> dict[str, Any]:
    """The facts of every run: when and with what it was made, and how long that took."""
    wall = manifest.get("wall_seconds")
    return {
        "Date": str(manifest.get("date_utc", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Version": manifest.get("version"),
        "Seed": manifest.get("seed"),
        "Wall time": None if wall is None else seconds(wall) + per_image,
    }


def fact_list(facts: Mapping[str, Any]) -> str:
    """Names and values, without those that are not known."""
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    rows = (f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in known.items())
    return f"<dl class='facts'>{''.join(rows)}</dl>"


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value < 90:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.1f} h"


def percent(share: float) -> str:
    return f"{100 * round(share, 9):.3g} %"  # what is left of a sum by rounding is no share


def plot(svg: str, name: str, caption: str) -> str:
    """A plot with its caption."""
    named = svg.replace("<svg", f"<svg role='group' aria-label='{name}'", 1)
    return f"<figure>{named}<figcaption>{caption}</figcaption></figure>"


def _ending(manifest: Mapping[str, Any], folder: Path | None) -> str:
    """What to cite; settings, inputs with their checksums, and versions."""
    path = None if folder is None else folder / SETTINGS
    if path is not None and path.exists():
        settings = path.read_text(encoding="utf-8", errors="replace")
    else:
        known = {
            name.removeprefix(OF_SETTINGS): value for name, value in manifest.items() if name.startswith(OF_SETTINGS)
        }
        settings = "\n".join(f"{name} = {value}" for name, value in known.items())
    rows = [
        [f"<code>{escape(name)}</code>", f"<span class='id'>{escape(str(value))}</span>"]
        for name, value in manifest.items()
        if not name.startswith(OF_SETTINGS)
    ]
    listed = table_of(["fact", "value"], rows)
    parts = [f"<details><summary>Settings</summary><pre>{escape(settings)}</pre></details>"] if settings else []
    parts.append(f"<details><summary>Inputs with checksums, versions, timings</summary>{listed}</details>")
    made = f"<section id='settings'><h2>How it was made</h2>{''.join(parts)}</section>"
    return cite_section(manifest) + made


def table_of(
    columns: Iterable[str], rows: Iterable[Iterable[str]], caption: str = "", ids: list[str] | None = None
) -> str:
    """A table of cells that are HTML already, in a box that scrolls where the page is narrow."""
    head = "".join(f"<th scope='col'>{name}</th>" for name in columns)
    body = ""
    for k, row in enumerate(rows):
        name = f" id='{ids[k]}'" if ids and ids[k] else ""
        body += f"<tr{name}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    words = f"<caption>{caption}</caption>" if caption else ""
    table = f"<table>{words}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='scroll' tabindex='0'>{table}</div>"


def words_of(meanings: Mapping[str, str]) -> str:
    """The section that says what words mean; both words and meanings are HTML."""
    body = "".join(f"<div><dt>{word}</dt><dd>{meaning}</dd></div>" for word, meaning in meanings.items())
    return f"<section id='words'><h2>What the words mean</h2><dl class='words'>{body}</dl></section>"
