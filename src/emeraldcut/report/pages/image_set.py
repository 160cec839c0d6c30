"""The page of a set of images, made by `synthesise`, `observe`, `clean` or `fetch`: examples and what is known."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet, read_manifest, read_table, usable
from emeraldcut.data.originals import Originals
from emeraldcut.data.readers import CUTOUTS
from emeraldcut.data.storage import TABLE
from emeraldcut.report.cards import NONE, cutout
from emeraldcut.report.figures import plots
from emeraldcut.report.figures.pictures import GalaxyPictures, galaxy_pictures, number, text
from emeraldcut.report.html import counted, fact_list, made_by, plot, shell, table_of
from emeraldcut.report.pages.common import flags_section

EXAMPLES = 24
MERGERS = 200  # rows of the table of mergers at most


def set_page(folder: Path) -> str:
    """The page of a set, or of what `fetch` got. See `report`."""
    manifest = read_manifest(folder)
    table = read_table(folder / (TABLE if (folder / TABLE).exists() else CUTOUTS))
    facts = {
        "Asked": f"emeraldcut {manifest.get('command', '')}",
        "Images": f"{len(table):,}",
        "Population": manifest.get("settings.population"),
        "Method": manifest.get("settings.method"),
        "Views of each": manifest.get("settings.views"),
        "Pixel": _range(table, "pixel_scale_arcsec", "″"),
        "PSF (FWHM)": _range(table, "psf_fwhm_pix", " pix"),
        "True S/N": _range(table, "truth_snr", ""),
    }
    sections = [
        (plots.plot_classes(table, "label"), "Share of each label",
         "What the images show. Lines: 95 % binomial intervals (Wilson), for images that are independent; numbers: "
         "images."),
        (plots.plot_truth(table), "True a4/a against true axis ratio", "True shapes, by class."),
        (plots.plot_histogram(table, "truth_snr", "true S/N"), "Histogram of S/N",
         "True signal-to-noise ratio inside the half-light isophote."),
        (plots.plot_histogram(table, "noise_removed", "noise removed, counts per pixel"), "Noise removed",
         "Standard deviation of what cleaning took off."),
    ]  # fmt: skip
    shown = "".join(plot(*each) for each in sections if each[0])
    main = fact_list(facts | made_by(manifest)) + _examples(folder, table)
    main += f"<section id='figures'><h2>All images</h2><div class='plots'>{shown}</div></section>" if shown else ""
    main += _mergers(table) + (flags_section(table) if "flag" in table.colnames else "")
    return shell(f"Images of {folder.resolve().name}", _result(table), main, manifest, folder)


def _range(table: Table, name: str, unit: str) -> str | None:
    """The range of a column in words, None where nothing is known."""
    values = plots.column(table, name)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _result(table: Table) -> str:
    shares = plots.class_fractions(table, "label")
    parts = [f"{row['images']:,} {row['class']}" for row in shares if row["images"]]
    words = f": {', '.join(parts)}" if parts else ""
    sentence = f"{counted(len(table), 'image')}{words}."
    if "flag" in table.colnames and not usable(table["flag"]).all():
        sentence += f" {counted(int((~usable(table['flag'])).sum()), 'image')} cannot be used."
    return sentence


def _examples(folder: Path, table: Table) -> str:
    """Some of the images, evenly from all labels and from first to last."""
    labels = plots.texts(table, "label")
    good = usable(table["flag"]) if "flag" in table.colnames else np.ones(len(table), dtype=bool)
    groups = [np.flatnonzero(good & (labels == name)) for name in dict.fromkeys(labels)]
    groups = [group for group in groups if len(group)]
    each = max(EXAMPLES // max(len(groups), 1), 1)
    chosen = [group[np.unique(np.linspace(0, len(group) - 1, each).astype(int))] for group in groups]
    rows = np.concatenate(chosen) if chosen else np.zeros(0, dtype=int)
    source_images = Originals(table, folder, roots=(folder,))
    shown = galaxy_pictures(ImageSet([source_images[int(row)] for row in rows], table[rows]))
    source_images.close()
    if not shown:
        return ""
    words = (
        "Evenly from all labels. Lines: fitted isophotes at 1 and 2 half-light radii. Point at a picture to hide them."
    )
    tiles = "".join(map(_tile, shown))
    return f"<section id='examples'><h2>Examples</h2><p>{words}</p><div class='tiles'>{tiles}</div></section>"


def _tile(galaxy: GalaxyPictures) -> str:
    facts = [text(galaxy.row, "label")]
    if number(galaxy.row, "truth_a4") is not None:
        facts.append(f"a4/a {number(galaxy.row, 'truth_a4'):+.3f}".replace("-", "−"))
    words = ", ".join(filter(None, facts)) or NONE
    name = f"<span class='id'>{escape(text(galaxy.row, 'id'))}</span>"
    return f"<figure class='tile'>{cutout(galaxy)}<figcaption>{name}<br>{escape(words)}</figcaption></figure>"


def _mergers(table: Table) -> str:
    """Of which mergers the images are, and what share of their views is rectangular."""
    names = plots.texts(table, "merger")
    if not any(names):
        return ""
    labels, rows = plots.texts(table, "label"), []
    for name in list(dict.fromkeys(names))[:MERGERS]:
        own = names == name
        first = table[np.flatnonzero(own)[0]]
        known = [number(first, key) for key in ("mass_ratio", "gas_fraction", "time_gyr")]
        rectangular = int(np.sum(labels[own] == "rectangular"))
        a4 = plots.column(table, "truth_a4")[own]
        spread = NONE
        if np.isfinite(a4).any():
            spread = " to ".join(f"{value:+.3f}".replace("-", "−") for value in np.nanpercentile(a4, [10, 90]))
        rows.append(
            [f"<span class='id'>{escape(name)}</span>", *(NONE if value is None else f"{value:.3g}" for value in known),
             f"{own.sum():,}", f"{rectangular} ({100 * rectangular / own.sum():.0f} %)", spread]
        )  # fmt: skip
    columns = ["merger", "mass ratio", "gas", "Gyr", "views", "rectangular outline", "true a4/a, 10 to 90 % of views"]
    words = "Views of one merger are not independent; <code>emeraldcut study</code> takes that into account."
    return f"<section id='mergers'><h2>Mergers</h2>{table_of(columns, rows, words)}</section>"
