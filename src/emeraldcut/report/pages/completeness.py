"""The page of a run of `completeness`: which rectangular galaxies a screening finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.report.figures import plots
from emeraldcut.report.html import Listing, Plot, counted, made_by, page, percent
from emeraldcut.report.pages.common import flag_counts
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table

FRACTIONS, INJECTED = "completeness.ecsv", "injected.parquet"


def completeness_page(folder: Path) -> str:
    """The page of a run of `completeness`; also draws `completeness.png`. See `report`."""
    manifest, table = read_manifest(folder), read_table(folder / FRACTIONS)
    injected = read_table(folder / INJECTED)
    plots.completeness_figure(table, folder / "completeness.png")
    return page(
        "completeness.html",
        "Which rectangular galaxies would be found?",
        manifest,
        folder,
        conclusion=_conclusion(table),
        facts=_facts(manifest, injected),
        plots=_plots(table),
        cells=_cells(table),
        fractions_file=FRACTIONS,
        injected_file=INJECTED,
        flags=flag_counts(injected),
    )


def _facts(manifest: dict[str, Any], injected: Table) -> dict[str, Any]:
    prevalence = manifest.get("settings.prevalence")
    facts = {
        "Command": "emeraldcut completeness",
        "Injected": f"{len(injected):,}",
        "Found": f"{int(np.sum(injected['found'])):,}",
        "Background": manifest.get("settings.background") or "empty sky",
        "Found means": f"p(rectangular) ≥ {manifest.get('settings.threshold')}",
        "Prevalence": None if prevalence is None else percent(prevalence),
        "Network": manifest.get("settings.network"),
    }
    return facts | made_by(manifest)


def _plots(table: Table) -> list[Plot]:
    return [
        Plot(svg, f"Completeness, half-light radius {size:g} FWHM",
             f"Galaxies whose half-light radius is {size:g} times the FWHM of the PSF, all axis ratios together. Bars: "
             "68 % intervals (Jeffreys). Exponent of the superellipse: 2 is an ellipse, larger is boxier.")
        for size, svg in plots.plot_completeness(table).items()
    ]  # fmt: skip


def _conclusion(table: Table) -> str:
    """How many are found, and the S/N at which the completeness reaches 50 %."""
    sums = [(snr, table["found"][own].sum() / table["injected"][own].sum())
            for snr in np.unique(table["snr"]) for own in [table["snr"] == snr]]  # fmt: skip
    found, injected = int(table["found"].sum()), int(table["injected"].sum())
    sentence = f"{found:,} of {counted(injected, 'injected rectangular galaxy')} are found"
    half = next((snr for snr, fraction in sums if fraction >= 0.5), None)
    if half is not None:
        return f"{sentence}; the completeness of all sizes and shapes together first reaches 50 % at S/N {half:g}."
    snr, fraction = sums[-1]
    return (
        f"{sentence}; the completeness of all sizes and shapes together stays below 50 %, and is {percent(fraction)} "
        f"at the highest S/N, {snr:g}."
    )


def _cells(table: Table) -> Listing:
    """Every combination of what was varied."""
    rows = [
        [f"{row['snr']:g}", f"{row['radius_fwhm']:g}", f"{row['axis_ratio']:g}", f"{row['exponent']:g}",
         f"{row['found']} of {row['injected']}",
         f"{row['completeness']:.2f} ({row['completeness_low']:.2f} to {row['completeness_high']:.2f})"]
        for row in table
    ]  # fmt: skip
    return Listing(["S/N", "radius / FWHM", "axis ratio", "exponent", "found", "completeness (68 %)"], rows)
