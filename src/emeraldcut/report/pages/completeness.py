"""The page of a run of `completeness`: which rectangular galaxies would be found in such images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data import read_manifest, read_table
from emeraldcut.report.figures import plots
from emeraldcut.report.html import counted, fact_list, made_by, percent, plot, shell, table_of
from emeraldcut.report.pages.common import flags_section

SHARES, INJECTED = "completeness.ecsv", "injected.parquet"


def completeness_page(folder: Path) -> str:
    """The page of a run of `completeness`; writes `completeness.png` again. See `report`."""
    manifest, table = read_manifest(folder), read_table(folder / SHARES)
    injected = read_table(folder / INJECTED)
    plots.completeness_figure(table, folder / "completeness.png")
    prevalence = manifest.get("settings.prevalence")
    facts = {
        "Asked": "emeraldcut completeness",
        "Injected": f"{len(injected):,}",
        "Found": f"{int(np.sum(injected['found'])):,}",
        "Into": manifest.get("settings.background") or "an empty sky",
        "Counts as found": f"p(rectangular) ≥ {manifest.get('settings.threshold')}",
        "Prevalence": None if prevalence is None else percent(prevalence),
        "Network": manifest.get("settings.network"),
    }
    drawn = "".join(
        plot(svg, f"Share found, half-light radius {size:g} FWHM",
             f"Half-light radius {size:g} FWHM of the PSF; axis ratios together. Lines: 68 % intervals (Jeffreys). "
             "Exponent of the superellipse: 2 is an ellipse, larger is boxier.")
        for size, svg in plots.plot_completeness(table).items()
    )  # fmt: skip
    main = fact_list(facts | made_by(manifest))
    main += f"<section id='figures'><h2>What share is found</h2><div class='plots'>{drawn}</div></section>"
    main += _all(table) + flags_section(injected)
    return shell("Which rectangular galaxies would be found?", _result(table), main, manifest, folder)


def _result(table: Table) -> str:
    """Where the share is highest, and from what S/N on half are found."""
    sums = [(snr, table["found"][own].sum() / table["injected"][own].sum())
            for snr in np.unique(table["snr"]) for own in [table["snr"] == snr]]  # fmt: skip
    found, injected = int(table["found"].sum()), int(table["injected"].sum())
    sentence = (
        f"{found:,} of {counted(injected, 'injected rectangular galaxy').replace('galaxys', 'galaxies')} are found"
    )
    half = next((snr for snr, share in sums if share >= 0.5), None)
    if half is not None:
        return f"{sentence}; of all sizes and shapes together, at least half from S/N {half:g} on."
    snr, share = sums[-1]
    return f"{sentence}; at S/N {snr:g}, all sizes and shapes together, {percent(share)}."


def _all(table: Table) -> str:
    rows = [
        [f"{row['snr']:g}", f"{row['radius_fwhm']:g}", f"{row['axis_ratio']:g}", f"{row['exponent']:g}",
         f"{row['found']} of {row['injected']}",
         f"{row['completeness']:.2f} ({row['completeness_low']:.2f} to {row['completeness_high']:.2f})"]
        for row in table
    ]  # fmt: skip
    columns = ["S/N", "radius / FWHM", "axis ratio", "exponent", "found", "share (68 %)"]
    caption = f"Also in <a href='{SHARES}'>{SHARES}</a>; every injection is in <a href='{INJECTED}'>{INJECTED}</a>."
    return f"<details><summary>Every combination</summary>{table_of(columns, rows, caption)}</details>"
