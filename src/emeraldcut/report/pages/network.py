"""The page of a network folder of `train`: its classes, its training and its accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.report.figures import plots
from emeraldcut.report.html import OF_SETTINGS, Cell, Listing, Plot, page
from emeraldcut.runs.reading import read_json

CARD = "card.json"


def network_page(folder: Path) -> str:
    """The page of a network. See `report`."""
    card = read_json(folder / CARD)
    metrics, classes = card.get("metrics", {}), [str(name) for name in card["classes"]]
    settings = {f"{OF_SETTINGS}{name}": value for name, value in card.get("settings", {}).items()}
    known = {name: card[name] for name in ("version", "seed", "licence") if name in card}
    drawn = card.get("drawn_from") or {}
    return page(
        "network.html",
        f"Network: {folder.resolve().name}",
        {"command": "train"} | known | settings,
        conclusion=_conclusion(metrics, classes),
        facts=_facts(card, metrics, classes),
        confusion=_confusion(metrics, classes),
        by_snr=_by_snr(metrics),
        accuracy=_accuracy(metrics),
        training=_training(card, classes),
        drawn="\n".join(f"{name} = {value}" for name, value in drawn.items()),
    )


def _conclusion(metrics: dict[str, Any], classes: list[str]) -> str:
    if not metrics:
        return f"The network classifies galaxies as {', '.join(classes)}; its accuracy was not measured."
    return (
        f"The network classifies {100 * metrics['accuracy']:.0f} % of {metrics['number']:,} held-out images correctly. "
        "These images were used neither for training nor for calibration, and all classes are about equally frequent."
    )


def _facts(card: dict[str, Any], metrics: dict[str, Any], classes: list[str]) -> dict[str, Any]:
    return {
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


def _confusion(metrics: dict[str, Any], classes: list[str]) -> Listing | None:
    """The confusion matrix as fractions of each true class."""
    if not metrics:
        return None
    rows = []
    for name, counts in zip(classes, metrics["confusion"], strict=True):
        fractions = [n / max(sum(counts), 1) for n in counts]
        rows.append([name, *(Cell(f"{x:.3f}", fraction=x) for x in fractions), f"{sum(counts):,}"])
    return Listing(["true class", *(f"classified as {name}" for name in classes), "images"], rows)


def _spans(metrics: dict[str, Any]) -> list[str]:
    """The ranges of S/N for which the accuracy is known."""
    ends = [part["snr"] for part in metrics.get("by_snr", [])]
    return [f"{low:g} to {high:g}" if high is not None else f"above {low:g}" for low, high in ends]


def _by_snr(metrics: dict[str, Any]) -> Listing | None:
    """Accuracy and calibration against S/N."""
    if not metrics.get("by_snr"):
        return None
    rows = [
        [span, f"{part['number']:,}", f"{part['accuracy']:.3f}", f"{part['calibration_error']:.4f}",
         f"{part['sets_hold']:.3f}"]
        for span, part in zip(_spans(metrics), metrics["by_snr"], strict=True)
    ]  # fmt: skip
    return Listing(["S/N", "images", "accuracy", "calibration error", "coverage of 90 % prediction sets"], rows)


def _accuracy(metrics: dict[str, Any]) -> list[Plot]:
    """Accuracy against S/N as a plot, where it is known."""
    if not metrics.get("by_snr"):
        return []
    accuracy = np.array([part["accuracy"] for part in metrics["by_snr"]])
    svg = plots.plot_bars(_spans(metrics), accuracy, "S/N", "accuracy")
    return [Plot(svg, "Accuracy against S/N", "Fraction of held-out images that are classified correctly, by S/N.")]


def _training(card: dict[str, Any], classes: list[str]) -> Listing | None:
    """The number of images of each class in training and tests."""
    parts = card.get("training")
    if not parts:
        return None
    rows = [[name, *(f"{counts.get(label, 0):,}" for label in classes)] for name, counts in parts.items()]
    return Listing(["images", *classes], rows)
