"""Completeness: the fraction of rectangular galaxies that a screening of given images finds, by injection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.stats import binom_conf_interval
from astropy.table import Table, vstack

from emeraldcut.data import ImageSet, usable
from emeraldcut.data.columns import numbers
from emeraldcut.errors import UsageError
from emeraldcut.frame import emptied, known_psf
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.galaxies.sky import amplitude
from emeraldcut.images import NoImagesError, ReadSettings, open_images
from emeraldcut.runs import SILENT, Progress, Run, map_chunks
from emeraldcut.screening.screen import ScreenSettings, examine
from emeraldcut.settings import Settings, setting
from emeraldcut.similarity import prepare_references, read_references
from emeraldcut.tables import write_table

# What is varied, and its column in the table of injections.
TRUTH = {
    "snr": "truth_snr",
    "radius_fwhm": "radius_fwhm",
    "axis_ratio": "truth_axis_ratio",
    "exponent": "exponent",
}
CHUNK = 100  # injections that are screened together
MOST_BACKGROUNDS = 1000  # images that galaxies are injected into, at most


@dataclass(frozen=True, kw_only=True)
class CompletenessSettings(Settings):
    """Which rectangular galaxies are injected into which images, and which count as found."""

    background: str = setting(
        "", "images to inject galaxies into, instead of their own galaxy; if not given, an empty sky"
    )
    injections: int = setting(
        40,
        "injected galaxies for each combination of snr, radius_fwhm, axis_ratio and exponent",
        at_least=1,
        at_most=1_000_000,
    )
    snr: tuple[float, ...] = setting(
        (20.0, 40.0, 80.0, 160.0, 320.0), "S/N within the half-light radius", above=0, not_empty=True, at_most=1_000_000
    )
    radius_fwhm: tuple[float, ...] = setting(
        (1.5, 2.5, 4.0),
        "half-light semi-major axes in units of the FWHM of the PSF",
        above=0,
        not_empty=True,
        at_most=1_000,
    )
    axis_ratio: tuple[float, ...] = setting(
        (0.5, 0.8), "axis ratios of the outline", above=0, at_most=1, not_empty=True
    )
    exponent: tuple[float, ...] = setting(
        (3.0, 4.0, 6.0), "exponents of the superellipse; 2 is an ellipse", at_least=1, not_empty=True, at_most=1_000
    )
    sersic_min: float = setting(0.5, "smallest Sersic index; drawn uniformly", above=0, at_most=10)
    sersic_max: float = setting(2.5, "largest Sersic index", above=0, at_most=10)
    psf_pix: float = setting(2.5, "FWHM of the PSF in pixels, where the images do not state it", above=0, at_most=1_000)
    size: int = setting(64, "side of the empty sky in pixels", at_least=16, at_most=4_096)
    threshold: float = setting(
        0.5, "a galaxy counts as found if p_rectangular, at the given prevalence, is at least this", above=0, below=1
    )
    prevalence: float = setting(0.01, "expected fraction of rectangular galaxies among the images", above=0, below=1)
    network: str = setting("screener", "'screener', which ships with the package, or a network folder", reads=True)

    def check(self) -> None:
        """UsageError for a range of Sersic indices whose ends are in the wrong order."""
        if self.sersic_min > self.sersic_max:
            raise UsageError(
                f"settings need sersic_min <= sersic_max; received {self.sersic_min} and {self.sersic_max}."
            )

    @property
    def cells(self) -> list[tuple[float, float, float, float]]:
        """All combinations of (snr, radius_fwhm, axis_ratio, exponent)."""
        return list(product(self.snr, self.radius_fwhm, self.axis_ratio, self.exponent))


def inject(backgrounds: ImageSet, settings: CompletenessSettings, seed: int = 0) -> ImageSet:
    """The images with one rectangular galaxy each, drawn as the columns `number`, `snr` ... `exponent` say.

    A galaxy in the image is removed first, by subtracting its mean light on each ellipse, and the new one takes its
    position. Photon noise of the injected light is not added. Its S/N is the sum of the brightest pixels that
    together have half of the light, over sky_sigma sqrt(number of these pixels).
    """
    pixels, rows, widths = [], [], known_psf(backgrounds)
    for k, plan in enumerate(backgrounds.table):
        rng = np.random.default_rng([seed, plan["number"]])
        fwhm = widths[k] if np.isfinite(widths[k]) else settings.psf_pix
        image, sigma, place = emptied(backgrounds.pixels[k], fwhm)
        middle = (np.array(image.shape[::-1]) - 1) / 2 + np.clip(rng.normal(size=2), -2, 2)
        centre = middle if place is None else place
        light = draw_galaxy(
            shapes.superellipse(plan["axis_ratio"], plan["exponent"]),
            Sersic(rng.uniform(settings.sersic_min, settings.sersic_max)),
            size=image.shape,
            radius_pix=plan["radius_fwhm"] * fwhm,
            centre=tuple(centre),
            position_angle_deg=rng.uniform(0, 180),
            psf_fwhm_pix=fwhm,
        )
        pixels.append(image + (light * amplitude(light, plan["snr"], np.inf, sigma)).astype(np.float32))
        row = {"id": f"injected-{plan['number']:06d}", "injected_into": str(plan["id"]), "psf_fwhm_pix": fwhm}
        rows.append(row | {truth: float(plan[name]) for name, truth in TRUTH.items()})
    return ImageSet.from_rows(pixels, rows)


def _screen_injected(backgrounds: ImageSet, settings: CompletenessSettings, seed: int, references) -> Table:
    """Injects and screens one chunk."""
    options = ScreenSettings(network=settings.network, prevalence=settings.prevalence)
    table = examine(inject(backgrounds, settings, seed), options, references=references)
    table["found"] = numbers(table["p_rectangular"], 0.0) >= settings.threshold
    return table


def _empty_skies(settings: CompletenessSettings, number: int, seed: int) -> ImageSet:
    noise = np.random.default_rng([seed, 1]).normal(size=(number, settings.size, settings.size))
    return ImageSet(noise.astype(np.float32), Table({"id": [f"sky-{k}" for k in range(number)]}))


def _backgrounds(settings: CompletenessSettings, read_settings: ReadSettings, number: int, seed: int) -> ImageSet:
    """Images to inject galaxies into: the usable ones of the user, or empty sky."""
    if not settings.background:
        return _empty_skies(settings, min(number, MOST_BACKGROUNDS), seed)
    pixels, tables = [], []
    for images in open_images(settings.background, read_settings).chunks():
        good = [k for k in np.flatnonzero(usable(images.table["flag"])).tolist() if min(images.pixels[k].shape) >= 16]
        pixels += [images.pixels[k] for k in good]
        tables.append(images.table[good])
        if len(pixels) >= MOST_BACKGROUNDS:
            break
    if not pixels:
        raise NoImagesError(f"'{settings.background}' holds no usable images of 16 x 16 pixels or more.")
    return ImageSet(pixels, vstack(tables, metadata_conflicts="silent"))[:MOST_BACKGROUNDS]


class Completeness(NamedTuple):
    """The completeness of each combination of what was varied, and the injections one by one."""

    fractions: Table
    injected: Table


def completeness(
    settings: CompletenessSettings = CompletenessSettings(),
    read_settings: ReadSettings = ReadSettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> Completeness:
    """The fraction of injected rectangular galaxies that is found.

    Returns
    -------
    Completeness
        `fractions` has one row per combination of `snr`, `radius_fwhm`, `axis_ratio` and `exponent`: `injected` and
        `found`, both counts, and `completeness` with its 68 % interval, `completeness_low` to `completeness_high`
        (Jeffreys; Brown, Cai & DasGupta 2001, Statistical Science 16, 101).

        `injected` has one row per injection with the columns of `screen`, `injected_into`, the truth and `found`.

    Examples
    --------
    >>> few = CompletenessSettings(injections=2, snr=(300.0,), radius_fwhm=(4.0,), axis_ratio=(0.6,), exponent=(6.0,))
    >>> fractions, injected = completeness(few, seed=1)
    >>> len(injected), int(fractions["injected"][0])
    (2, 2)
    """
    in_order = np.array([cell for cell in settings.cells for _ in range(settings.injections)])
    backgrounds = _backgrounds(settings, read_settings, len(in_order), seed)
    cells = np.random.default_rng([seed, 2]).permutation(in_order)  # so that each background gets all kinds

    def parts() -> Iterator[ImageSet]:
        for first in range(0, len(cells), CHUNK):
            which = np.arange(first, min(first + CHUNK, len(cells)))
            part = backgrounds[which % len(backgrounds)]
            part.table["number"] = which
            for name, values in zip(TRUTH, cells[which].T, strict=True):
                part.table[name] = values
            yield part

    references = prepare_references(read_references(ScreenSettings().reference))
    stage = partial(_screen_injected, settings=settings, seed=seed, references=references)
    progress.begin(len(cells), "injections")
    tables = list(map_chunks(stage, parts(), jobs=jobs, progress=progress))
    injected = vstack(tables, metadata_conflicts="silent")
    return Completeness(_fractions(injected, settings), injected)


def _fractions(injected: Table, settings: CompletenessSettings) -> Table:
    """The table of fractions from that of the injections."""
    values = np.stack([np.array(injected[truth], float) for truth in TRUTH.values()], axis=1)
    rows = []
    for cell in settings.cells:
        here = np.array(injected["found"])[np.all(values == np.array(cell), axis=1)]
        rows.append((*cell, len(here), int(here.sum())))
    table = Table(rows=rows, names=(*TRUTH, "injected", "found"))
    table["completeness"] = table["found"] / table["injected"]
    table["completeness_low"], table["completeness_high"] = binom_conf_interval(
        table["found"], table["injected"], interval="jeffreys"
    )
    return table


def completeness_run(
    folder: str | Path,
    settings: CompletenessSettings = CompletenessSettings(),
    read_settings: ReadSettings = ReadSettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Writes a run folder of `completeness`: `completeness.ecsv`, `injected.parquet`, settings and manifest."""
    inputs = [name for name in (settings.background, read_settings.catalogue) if name]
    run = Run.start(folder, "completeness", (settings, read_settings), seed, inputs, overwrite)
    fractions, injected = completeness(settings, read_settings, seed=seed, jobs=jobs, progress=progress)
    write_table(fractions, run.path("completeness.ecsv"), provenance=run.origin, overwrite=True)
    write_table(injected, run.path("injected.parquet"), provenance=run.origin, overwrite=True)
    run.finish(injected=len(injected), found=int(np.sum(injected["found"])))
    return run
