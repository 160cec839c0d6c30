"""The model card of a network in Markdown, stored with its weights (Mitchell et al. 2019, arXiv 1810.03993)."""

from __future__ import annotations

from typing import Any

FACTS = ("snr", "radius", "axis_ratio", "sersic", "psf_fwhm")  # ranges that `drawn_from` holds as NAME_min, NAME_max
UNITS = {"radius": "image sides", "psf_fwhm": "pixels"}


def card_page(card: dict[str, Any]) -> str:
    """The card (see `Network`) in Markdown: purpose, training data and accuracy of the network."""
    classes, metrics = card["classes"], card.get("metrics", {})
    lines = _purpose(card) + _training_data(card)
    if metrics:
        lines += _figures(metrics, classes)
    if metrics.get("by_snr"):
        lines += _by_snr(metrics["by_snr"])
    if card.get("thresholds"):
        lines += _thresholds(card["thresholds"])
    return "\n".join(lines)


def _thresholds(thresholds: dict[str, dict[str, float]]) -> list[str]:
    """The scores of `screen` from which on a list has a given precision."""
    columns = list(dict.fromkeys(name for limits in thresholds.values() for name in limits))
    rows = {at: [f"{limits[name]:.3f}" if name in limits else "–" for name in columns]
            for at, limits in thresholds.items()}  # fmt: skip
    heads = [f"precision {name}" for name in columns]
    return ["## Thresholds of the score of `screen`", "", *_table("prevalence", heads, rows), ""]


def _purpose(card: dict[str, Any]) -> list[str]:
    """What the network is for."""
    return [
        f"# Model card: {', '.join(card['classes'])}",
        "",
        f"Written by `emeraldcut train`, version {card.get('version', 'unknown')}, seed {card.get('seed', 'unknown')}. "
        f"Licence: {card.get('licence', 'unknown')}.",
        "",
        f"For classifying single galaxies by the shape of their isophotes. Input: `{card['preprocessing']}` maps, "
        f"{card['input_size']} x {card['input_size']}. Output: probabilities at equal priors, calibrated by S/N. Not "
        "for galaxies hardly larger than the PSF, nor for those of which less than two half-light radii are on the "
        "image.",
        "",
    ]


def _training_data(card: dict[str, Any]) -> list[str]:
    """The training data: their ranges, and the number of images of each class."""
    lines = ["## Training data", ""]
    drawn = card.get("drawn_from")
    if drawn:
        ranges = [
            f"{name} {_plain(drawn, name, 'min')} to {_plain(drawn, name, 'max')}"
            + (f" {UNITS[name]}" if name in UNITS else "")
            for name in FACTS
        ]
        lines += [
            f"Synthetic galaxies, population `{drawn['population']}`, {drawn['exposures']} images of each: "
            f"{'; '.join(ranges)}; {drawn['neighbours']:g} neighbours an image on average; correlated noise in "
            f"{100 * drawn['correlated']:g} %, 8-bit JPEG pictures in {100 * drawn['pictures']:g} %.",
            "",
        ]
    real = card.get("settings", {}).get("real")
    lines += [f"Real galaxies: {'from ' + repr(real) if real else 'none'}.", ""]
    parts, classes = card.get("training", {}), card["classes"]
    if parts:
        rows = {name: [f"{counts.get(label, 0):,}" for label in classes] for name, counts in parts.items()}
        lines += [*_table("images", classes, rows), "", "Images of one galaxy are all in one part.", ""]
    return lines


def _figures(metrics: dict[str, Any], classes: list[str]) -> list[str]:
    """The accuracy for held-out galaxies, and the confusion matrix in fractions of each true class."""
    fractions = {
        label: [f"{n / max(sum(row), 1):.3f}" for n in row]
        for label, row in zip(classes, metrics["confusion"], strict=True)
    }
    return [
        "## Figures on galaxies that neither training nor calibration saw",
        "",
        f"{metrics['number']:,} images, all classes about as frequent: accuracy {metrics['accuracy']:.3f}, "
        f"cross-entropy {metrics['cross_entropy']:.3f}, expected calibration error "
        f"{metrics['calibration_error']:.4f}.",
        "",
        *_table("truth, called", classes, fractions),
        "",
    ]


def _by_snr(bins: list[dict[str, Any]]) -> list[str]:
    """The accuracy in bins of S/N."""
    rows = {}
    for about in bins:
        low, high = about["snr"]
        span = f"{low:g} to {high:g}" if high is not None else f"above {low:g}"
        rows[span] = [
            f"{about['number']:,}",
            f"{about['accuracy']:.3f}",
            f"{about['calibration_error']:.4f}",
            f"{about['sets_hold']:.3f}",
        ]
    return [*_table("S/N", ["images", "accuracy", "calibration error", "truth in the 90 % set"], rows), ""]


def _table(corner: str, columns: list[str], rows: dict[str, list[str]]) -> list[str]:
    """A table in Markdown, each row under its name."""
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    return lines + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def _plain(drawn: dict[str, Any], name: str, end: str) -> str:
    value = drawn.get(f"{name}_{end}", drawn.get(f"{name}_{end}_pix"))
    return "?" if value is None else f"{value:g}"
