"""The page of a network folder, as `train` writes it: what it is for, what made it, how well it does."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.report.figures import plots
from emeraldcut.report.html import OF_SETTINGS, fact_list, plot, shell, table_of

CARD = "card.json"


def network_page(folder: Path) -> str:
    """The page of a network's card. See `report`."""
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    metrics, classes = card.get("metrics", {}), [str(name) for name in card["classes"]]
    facts = {
        "Classes": ", ".join(classes),
        "Input": f"{card['preprocessing']} maps, {card['input_size']} x {card['input_size']}",
        "Version": card.get("version"),
        "Seed": card.get("seed"),
        "Licence": card.get("licence"),
        "Held-out images": f"{metrics['number']:,}" if metrics else None,
        "Accuracy": f"{metrics['accuracy']:.3f}" if metrics else None,
        "Cross-entropy": f"{metrics['cross_entropy']:.3f}" if metrics else None,
        "Calibration error": f"{metrics['calibration_error']:.4f}" if metrics else None,
    }
    sentence = "A network that classifies single galaxies by the shape of their isophotes."
    if metrics:
        sentence += (
            f" Of {metrics['number']:,} images that neither training nor calibration saw, all classes about as "
            f"frequent, it names the class of {100 * metrics['accuracy']:.0f} %."
        )
    main = fact_list(facts) + _confusion(metrics, classes) + _by_snr(metrics) + _data(card, classes)
    settings = {f"{OF_SETTINGS}{name}": value for name, value in card.get("settings", {}).items()}
    known = {name: card[name] for name in ("version", "seed", "licence") if name in card}
    return shell(f"Network {folder.resolve().name}", sentence, main, {"command": "train"} | known | settings)


def _confusion(metrics: dict[str, Any], classes: list[str]) -> str:
    if not metrics:
        return ""
    rows = []
    for name, counts in zip(classes, metrics["confusion"], strict=True):
        total = max(sum(counts), 1)
        cells = [f"<span class='share' style='--share:{n / total:.3f}'>{n / total:.3f}</span>" for n in counts]
        rows.append([escape(name), *cells, f"{sum(counts):,}"])
    columns = ["truth", *(f"called {escape(name)}" for name in classes), "images"]
    words = "Each row adds up to 1. The most probable class at equal priors is the answer."
    return f"<section id='confusion'><h2>What it calls what</h2>{table_of(columns, rows, words)}</section>"


def _by_snr(metrics: dict[str, Any]) -> str:
    """Accuracy and calibration against S/N."""
    parts = metrics.get("by_snr")
    if not parts:
        return ""
    spans = [
        f"{low:g} to {high:g}" if high is not None else f"above {low:g}" for low, high in (p["snr"] for p in parts)
    ]
    rows = [
        [span, f"{part['number']:,}", f"{part['accuracy']:.3f}", f"{part['calibration_error']:.4f}",
         f"{part['sets_hold']:.3f}"]
        for span, part in zip(spans, parts, strict=True)
    ]  # fmt: skip
    figure = plot(
        plots.plot_bars(spans, np.array([part["accuracy"] for part in parts]), "S/N", "accuracy"),
        "Accuracy against S/N", "Share of held-out images whose class is named, by S/N.",
    )  # fmt: skip
    listed = table_of(["S/N", "images", "accuracy", "calibration error", "truth in the 90 % set"], rows)
    return f"<section id='snr'><h2>By signal-to-noise ratio</h2><div class='plots'>{figure}</div>{listed}</section>"


def _data(card: dict[str, Any], classes: list[str]) -> str:
    """What it was trained on."""
    parts, drawn = card.get("training", {}), card.get("drawn_from")
    body = ""
    if parts:
        rows = [[escape(name), *(f"{counts.get(label, 0):,}" for label in classes)] for name, counts in parts.items()]
        body += table_of(["images", *map(escape, classes)], rows, "Images of one galaxy are all in one part.")
    if drawn:
        facts = "\n".join(f"{name} = {value}" for name, value in drawn.items())
        body += f"<details><summary>Galaxies that were drawn</summary><pre>{escape(facts)}</pre></details>"
    return f"<section id='data'><h2>Training data</h2>{body}</section>" if body else ""
