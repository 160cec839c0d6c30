"""The page of an image set of `synthesise`, `observe`, `clean` or `fetch`: examples, labels and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.data import usable
from emeraldcut.images.origin import SET_ROW
from emeraldcut.images.readers import CUTOUTS
from emeraldcut.images.source_images import SourceImages
from emeraldcut.images.store import TABLE
from emeraldcut.report.cards import NONE, on_sky
from emeraldcut.report.figures import plots
from emeraldcut.report.figures.pictures import GalaxyPictures, galaxy_pictures, number, text
from emeraldcut.report.html import Cell, Listing, Plot, counted, made_by, page
from emeraldcut.report.pages.common import flag_counts
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table

EXAMPLES = 24
MERGERS = 200  # rows of the table of mergers at most


def set_page(folder: Path) -> str:
    """The page of an image set, or of the cutouts of `fetch`. See `report`."""
    manifest = read_manifest(folder)
    table = read_table(folder / (TABLE if (folder / TABLE).exists() else CUTOUTS))
    table[SET_ROW] = np.arange(len(table))
    return page(
        "image_set.html",
        f"Image set: {folder.resolve().name}",
        manifest,
        folder,
        conclusion=_conclusion(table),
        facts=_facts(table, manifest),
        examples=_examples(folder, table),
        plots=_plots(table),
        mergers=_mergers(table),
        flags=flag_counts(table) if "flag" in table.colnames else None,
    )


def _facts(table: Table, manifest: dict[str, Any]) -> dict[str, Any]:
    facts = {
        "Command": f"emeraldcut {manifest.get('command', '')}",
        "Images": f"{len(table):,}",
        "Population": manifest.get("settings.population"),
        "Method": manifest.get("settings.method"),
        "Views per snapshot": manifest.get("settings.views"),
        "Pixel scale": _range(table, "pixel_scale_arcsec", "″"),
        "PSF (FWHM)": _range(table, "psf_fwhm_pix", " pix"),
        "True S/N": _range(table, "truth_snr", ""),
    }
    return facts | made_by(manifest)


def _plots(table: Table) -> list[Plot]:
    """The plots that the columns of the set allow."""
    drawn = [
        Plot(plots.plot_classes(table, "label"), "Fraction of each label",
             "True shapes of the images. Lines: 95 % binomial intervals (Wilson), which hold for independent images. "
             "Numbers: images."),
        Plot(plots.plot_truth(table), "True a4/a against true axis ratio", "True shapes, by class."),
        Plot(plots.plot_histogram(table, "truth_snr", "true S/N"), "Histogram of S/N",
             "True signal-to-noise ratio within the half-light isophote."),
        Plot(plots.plot_histogram(table, "noise_removed", "noise removed, counts per pixel"), "Noise removed",
             "Standard deviation of the noise that cleaning removed."),
    ]  # fmt: skip
    return [one for one in drawn if one.svg]


def _range(table: Table, name: str, unit: str) -> str | None:
    """The range of a column as text; None without values."""
    values = plots.column(table, name)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _conclusion(table: Table) -> str:
    """How many images have each label, and how many cannot be used."""
    fractions = plots.class_fractions(table, "label")
    parts = [f"{row['images']:,} {row['class']}" for row in fractions if row["images"]]
    words = f": {', '.join(parts)}" if parts else ""
    sentence = f"The set contains {counted(len(table), 'image')}{words}."
    unusable = int((~usable(table["flag"])).sum()) if "flag" in table.colnames else 0
    return f"{sentence} {counted(unusable, 'image')} cannot be used." if unusable else sentence


def _examples(folder: Path, table: Table) -> list[dict[str, Any]]:
    """Example images, as many of each label, evenly spaced from first to last."""
    labels = plots.texts(table, "label")
    good = usable(table["flag"]) if "flag" in table.colnames else np.ones(len(table), dtype=bool)
    groups = [np.flatnonzero(good & (labels == name)) for name in dict.fromkeys(labels)]
    groups = [group for group in groups if len(group)]
    each = max(EXAMPLES // max(len(groups), 1), 1)
    chosen = [group[np.unique(np.linspace(0, len(group) - 1, each).astype(int))] for group in groups]
    rows = np.concatenate(chosen) if chosen else np.zeros(0, dtype=int)
    source_images = SourceImages(table, folder, roots=(folder,))
    shown = galaxy_pictures(source_images.shown(rows, table[rows]))
    source_images.close()
    return [{"id": text(galaxy.row, "id"), "sky": on_sky(galaxy), "words": _known(galaxy)} for galaxy in shown]


def _known(galaxy: GalaxyPictures) -> str:
    """The label and the true a4 of an image, if they are known."""
    facts = [text(galaxy.row, "label")]
    a4 = number(galaxy.row, "truth_a4")
    if a4 is not None:
        facts.append(f"a4/a {_signed(a4)}")
    return ", ".join(filter(None, facts)) or NONE


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _mergers(table: Table) -> Listing | None:
    """The mergers of the images, and the fraction of their views that is rectangular; None without mergers."""
    names = plots.texts(table, "merger")
    if not any(names):
        return None
    labels, a4, rows = plots.texts(table, "label"), plots.column(table, "truth_a4"), []
    for name in list(dict.fromkeys(names))[:MERGERS]:
        own = names == name
        first = table[np.flatnonzero(own)[0]]
        known = [number(first, key) for key in ("mass_ratio", "gas_fraction", "time_gyr")]
        rectangular = int(np.sum(labels[own] == "rectangular"))
        spread = NONE
        if np.isfinite(a4[own]).any():
            spread = " to ".join(map(_signed, np.nanpercentile(a4[own], [10, 90])))
        rows.append(
            [Cell(name, "id"), *(NONE if value is None else f"{value:.3g}" for value in known), f"{own.sum():,}",
             f"{rectangular} ({100 * rectangular / own.sum():.0f} %)", spread]
        )  # fmt: skip
    columns = ["merger", "mass ratio", "gas fraction", "time (Gyr)", "views", "rectangular views",
               "true a4/a, 10th to 90th percentile"]  # fmt: skip
    return Listing(columns, rows)
