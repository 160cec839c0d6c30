"""The model card of a network as a page that a person reads, beside the weights (Mitchell et al. 2019, 1810.03993)."""

from __future__ import annotations

from typing import Any

FACTS = ("snr", "radius", "axis_ratio", "sersic", "psf_fwhm")  # ranges that `drawn_from` holds as NAME_min, NAME_max
UNITS = {"radius": "image sides", "psf_fwhm": "pixels"}


def card_page(card: dict[str, Any]) -> str:
    """The card (see `Network`) in Markdown: what the network is for, what made it, and how well it does."""
    classes, metrics = card["classes"], card.get("metrics", {})
    lines = [
        f"# Model card: {', '.join(classes)}",
        "",
        f"Written by `emeraldcut train`, version {card.get('version', 'unknown')}, seed {card.get('seed', 'unknown')}. "
        f"Licence: {card.get('licence', 'unknown')}.",
        "",
        f"For classifying single galaxies by the shape of their isophotes. Input: `{card['preprocessing']}` maps, "
        f"{card['input_size']} x {card['input_size']}. Output: probabilities at equal priors, calibrated by S/N. Not "
        "for galaxies hardly larger than the PSF, nor for those of which less than two half-light radii are on the "
        "image.",
        "",
        "## Training data",
        "",
    ]
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
    parts = card.get("training", {})
    if parts:
        lines += ["| images | " + " | ".join(classes) + " |", "|---|" + "--:|" * len(classes)]
        lines += [
            f"| {name} | " + " | ".join(f"{counts.get(label, 0):,}" for label in classes) + " |"
            for name, counts in parts.items()
        ]
        lines += ["", "Images of one galaxy are all in one part.", ""]
    if metrics:
        lines += [
            "## Figures on galaxies that neither training nor calibration saw",
            "",
            f"{metrics['number']:,} images, all classes about as frequent: accuracy {metrics['accuracy']:.3f}, "
            f"cross-entropy {metrics['cross_entropy']:.3f}, expected calibration error "
            f"{metrics['calibration_error']:.4f}.",
            "",
        ]
        confusion = metrics["confusion"]
        lines += ["| truth, called | " + " | ".join(classes) + " |", "|---|" + "--:|" * len(classes)]
        lines += [
            f"| {label} | " + " | ".join(f"{n / max(sum(row), 1):.3f}" for n in row) + " |"
            for label, row in zip(classes, confusion, strict=True)
        ]
        lines.append("")
    if metrics.get("by_snr"):
        lines += ["| S/N | images | accuracy | calibration error | truth in the 90 % set |", "|---|--:|--:|--:|--:|"]
        for row in metrics["by_snr"]:
            low, high = row["snr"]
            span = f"{low:g} to {high:g}" if high is not None else f"above {low:g}"
            lines.append(
                f"| {span} | {row['number']:,} | {row['accuracy']:.3f} | {row['calibration_error']:.4f} "
                f"| {row['sets_hold']:.3f} |"
            )
        lines.append("")
    return "\n".join(lines)


def _plain(drawn: dict[str, Any], name: str, end: str) -> str:
    value = drawn.get(f"{name}_{end}", drawn.get(f"{name}_{end}_pix"))
    return "?" if value is None else f"{value:g}"
