"""Labelled synthetic images of galaxies of known shape and profile, with their true harmonics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.galaxies import confusers, shapes
from emeraldcut.galaxies.population import ON_PIXELS, POPULATIONS, Galaxy, draw_kind, draw_object
from emeraldcut.galaxies.profiles import Body, Sersic
from emeraldcut.galaxies.sky import (
    Psf,
    amplitude,
    as_picture,
    correlate,
    cosmic_rays,
    draw,
    expose,
    gradient,
    hot_columns,
    neighbours,
)
from emeraldcut.galaxies.survey_effects import Resampling, colour_picture, cropped, halo
from emeraldcut.galaxies.thesis_grid import thesis_grid, thesis_maps
from emeraldcut.runs.workers import map_chunks
from emeraldcut.settings import Settings, setting

_READ_NOISE_ELECTRONS = 5.0
_SKY_ELECTRONS = (100.0, 5000.0)  # from noise of the galaxy's own photons to noise of the sky alone
_SMALLEST_RADIUS_FWHM = 1.2
_LARGEST_STAR = 0.35  # radius of a star's saturated disc, in sides of the image
_BRIGHTER = 10.0  # a saturated star's S/N is up to so many times that of the galaxies
_LARGEST_ENLARGED = 0.3  # half-light radius after resampling, in sides of the image
_MOST_ENLARGED = 5.0  # pixels into which one is divided along a side, as in cutouts of a small field
_HALO_SIGMA = (1.0, 15.0)  # light of a star's halo at the galaxy, in units of the sky noise
_RED = 0.5  # the light of a galaxy in two bands of a colour picture differs by a factor of up to e^this
_TRUTH = (
    "truth_axis_ratio",
    "truth_a3",
    "truth_a4",
    "truth_b4_sin",
    "truth_a6",
    "truth_a8",
    "exponent",
    "sersic_index",
)


@dataclass(frozen=True, kw_only=True)
class SynthesiseSettings(Settings):
    """How many galaxies of which classes are drawn, and how they are imaged."""

    number: int = setting(1000, "number of images", at_least=1, at_most=100_000_000)
    exposures: int = setting(
        1, "images of each galaxy, each with its own S/N, noise and neighbours", at_least=1, at_most=1_000
    )
    size: int = setting(64, "side of an image in pixels", at_least=16, at_most=4_096)
    classes: tuple[str, ...] = setting(shapes.LABELS, "classes to draw", choices=shapes.LABELS, not_empty=True)
    weights: tuple[float, ...] = setting(
        (), "relative frequencies of the classes; equal if not given", at_least=0, at_most=1_000_000
    )
    snr_min: float = setting(
        15.0, "smallest S/N within the half-light radius; drawn log-uniformly", above=0, at_most=1_000_000
    )
    snr_max: float = setting(300.0, "largest S/N within the half-light radius", above=0, at_most=1_000_000)
    radius_min: float = setting(
        0.08,
        "smallest half-light semi-major axis as a fraction of the image side; drawn log-uniformly",
        above=0,
        at_most=0.5,
    )
    radius_max: float = setting(
        0.2, "largest half-light semi-major axis as a fraction of the image side", above=0, at_most=0.5
    )
    axis_ratio_min: float = setting(0.35, "smallest axis ratio of the outline; drawn uniformly", above=0, at_most=1)
    axis_ratio_max: float = setting(1.0, "largest axis ratio of the outline", above=0, at_most=1)
    sersic_min: float = setting(
        0.5, "smallest Sersic index; 6 of 7 are drawn from the lower 57 % of the range", above=0, at_most=10
    )
    sersic_max: float = setting(4.0, "largest Sersic index", above=0, at_most=10)
    psf_fwhm_min_pix: float = setting(
        1.5, "smallest FWHM of the PSF in pixels; drawn uniformly", above=0, at_most=1_000
    )
    psf_fwhm_max_pix: float = setting(
        4.0, "largest FWHM of the PSF in pixels; never above the half-light radius / 1.2", above=0, at_most=1_000
    )
    offset_pix: float = setting(
        1.0, "scatter of the centre along each axis in pixels, truncated at 3 sigma", at_least=0, at_most=10_000
    )
    neighbours: float = setting(1.5, "mean number of neighbouring stars and galaxies", at_least=0, at_most=1_000)
    blemishes: float = setting(0.05, "fraction of images with a cosmic ray or a hot column", at_least=0, at_most=1)
    sky_sigma: float = setting(1.0, "noise of the sky per pixel, in counts", at_least=0, at_most=1e9)
    sky_residual: float = setting(
        0.2, "scatter of the residual sky level, in units of the sky noise", at_least=0, at_most=1_000
    )
    gradient: float = setting(
        0.3, "largest sky gradient from centre to corner, in units of the sky noise", at_least=0, at_most=1_000
    )
    pixel_scale_arcsec: float = setting(0.2, "pixel scale written to the table", above=0, at_most=3_600)
    population: str = setting(
        "standard",
        "variety within each class; 'wide' adds twists, cores, inner discs, shapes that change with radius, dust and "
        "faint arms; 'survey' also saturated and blended stars, defects, and more boxes that change with radius; "
        "'ordinary' has only regular discs in the class other",
        choices=tuple(POPULATIONS),
    )
    correlated: float = setting(
        0.0, "fraction of images whose noise is correlated, as after resampling", at_least=0, at_most=1
    )
    pictures: float = setting(
        0.0, "fraction of images that are 8-bit JPEG pictures with an arcsinh stretch", at_least=0, at_most=1
    )
    colour: float = setting(
        0.0, "fraction of these pictures that are in colour, of which the luminance is seen", at_least=0, at_most=1
    )
    resampled: float = setting(
        0.0, "fraction of images that are enlarged, turned and resampled once or twice", at_least=0, at_most=1
    )
    haloes: float = setting(0.0, "fraction of images in the halo of a bright star", at_least=0, at_most=1)
    cropped: float = setting(
        0.0, "fraction of images that end close to the galaxy, 1.2 to 4 half-light radii away", at_least=0, at_most=1
    )
    grid: str = setting(
        "none",
        "use the training grid of the thesis instead, 108 density maps of 50 x 50 pixels: 'thesis' as it was, or "
        "'repaired'",
        choices=("none", "thesis", "repaired"),
    )

    def check(self) -> None:
        """UsageError for weights that are not one per class, and for ranges whose ends are in the wrong order."""
        if self.weights and (len(self.weights) != len(self.classes) or sum(self.weights) == 0):
            raise UsageError(
                f"setting 'weights' expects one number for each of the classes {', '.join(self.classes)}, not all 0; "
                f"received {self.weights}."
            )
        for name in ("snr_{}", "radius_{}", "axis_ratio_{}", "sersic_{}", "psf_fwhm_{}_pix"):
            low, high = name.format("min"), name.format("max")
            if getattr(self, low) > getattr(self, high):
                raise UsageError(
                    f"settings need {low} <= {high}; received {getattr(self, low)} and {getattr(self, high)}."
                )
        if self.psf_fwhm_min_pix > self.radius_min * self.size:
            raise UsageError(
                "settings need psf_fwhm_min_pix <= radius_min * size, or the smallest galaxies are not resolved; "
                f"received {self.psf_fwhm_min_pix} and {self.radius_min * self.size:g}."
            )


def synthesise(settings: SynthesiseSettings, *, seed: int = 0, start: int = 0) -> ImageSet:
    """Labelled images `start` .. `start` + `settings.number` - 1 of the endless series that `seed` defines.

    Image i depends only on `seed`, on i and on the settings, and shows galaxy i // `settings.exposures`. With `grid`
    these are the first of the 108 maps of `thesis_maps`.

    Returns
    -------
    ImageSet
        `pixels` (n, size, size) are float32 counts with the sky subtracted. The table has `label`, `scored` (False in
        the grey zone of `shapes.label_of`), `kind` and `galaxy` (which images show the same galaxy).

        It also has the truth, NaN where a kind has none: `exponent` (of a superellipse), `sersic_index`,
        `truth_axis_ratio` (of the best-fitting ellipse), `truth_position_angle_deg` (counter-clockwise from +x,
        [0, 180)), `truth_x_pix`, `truth_y_pix`, `truth_radius_pix` (semi-major axis of the half-light isophote) and
        `truth_a3, truth_a4, truth_b4_sin, truth_a6, truth_a8` (see `shapes.harmonics`; where the shape changes with
        radius, of the isophote at 1.5 half-light radii).

        `truth_snr` is the galaxy's noise-free light over the noise of the galaxy's photons, the sky and the read-out,
        both over the brightest pixels that together have half of its light after the PSF.
    """
    if settings.grid != "none":
        grid = thesis_grid(repaired=settings.grid == "repaired", seed=seed)
        return thesis_maps(grid, seed=seed)[start : start + settings.number]
    pixels = np.zeros((settings.number, settings.size, settings.size), np.float32)
    rows = []
    view = None
    for k in range(settings.number):
        number, exposure = divmod(start + k, settings.exposures)
        if exposure == 0 or view is None:
            rng = np.random.default_rng([seed, number])
            view = _view(settings, rng)
        if exposure > 0:
            rng = np.random.default_rng([seed, number, exposure])
        pixels[k], seen = _expose(view, settings, rng)
        names = {"id": f"{view.galaxy.label}-{start + k:06d}", "galaxy": f"{view.galaxy.label}-{number:06d}"}
        rows.append(names | {"seed": seed} | seen)
    return ImageSet.from_rows(pixels, rows)


def _part(numbers: range, settings: SynthesiseSettings, seed: int) -> ImageSet:
    """The images of the series with these numbers."""
    return synthesise(replace(settings, number=len(numbers)), seed=seed, start=numbers.start)


def iterate_synthesise(
    settings: SynthesiseSettings, *, seed: int = 0, chunk: int = 256, jobs: int = 1
) -> Iterator[ImageSet]:
    """The images of `synthesise` in sets of at most `chunk`; neither `chunk` nor the number of processes matters."""
    if settings.grid != "none":
        return iter([synthesise(settings, seed=seed)])
    numbers = (range(i, min(i + chunk, settings.number)) for i in range(0, settings.number, chunk))
    return map_chunks(partial(_part, settings=settings, seed=seed), numbers, jobs=jobs)


def draw_galaxy(
    shape: shapes.Shape | shapes.GradualBox,
    profile: Sersic,
    *,
    size: int | tuple[int, int] = 64,
    radius_pix: float = 8.0,
    flux: float = 1.0,
    centre: tuple[float, float] | None = None,
    position_angle_deg: float = 0.0,
    psf_fwhm_pix: float = 0.0,
    psf_beta: float = np.inf,
) -> np.ndarray:
    """One noise-free galaxy, (ny, nx) float64.

    Parameters
    ----------
    shape, profile
        Its isophotes and its light profile.
    size : int or (ny, nx)
    radius_pix : float
        Semi-major axis of the half-light isophote.
    flux : float
        Total light in counts, including what falls outside the image.
    centre : (x, y), optional
        In pixels; the middle of the image if not given.
    position_angle_deg : float
        Of the major axis, counter-clockwise from +x.
    psf_fwhm_pix, psf_beta : float
        Width of the Moffat PSF, 0 for none, and its beta, infinite for a Gaussian.
    """
    psf = Psf(psf_fwhm_pix, psf_beta) if psf_fwhm_pix > 0 else None
    body = Body(shape, profile)
    return flux * draw(body, size, centre=centre, position_angle_deg=position_angle_deg, radius_pix=radius_pix, psf=psf)


@dataclass(frozen=True)
class _View:
    """A galaxy and its noise-free image."""

    galaxy: Galaxy
    light: np.ndarray
    psf: Psf
    centre: tuple[float, float]
    angle: float
    radius: float

    def resampled(self, how: Resampling, size: int) -> _View:
        """The same view as it is after a resampling, but for its light."""
        psf = Psf(self.psf.fwhm_pix * how.factor, self.psf.beta)
        angle = (self.angle + how.turn_deg) % 180
        return replace(self, psf=psf, centre=how.place(self.centre, size), angle=angle, radius=self.radius * how.factor)


def paint(
    background: np.ndarray,
    settings: SynthesiseSettings,
    *,
    psf_fwhm_pix: float,
    sky_sigma: float,
    centre: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[np.ndarray, dict]:
    """A real image (n, n) with a galaxy of `settings` added, and its row of the table.

    The PSF, the noise per pixel and the position (x, y) of the galaxy are given and not drawn. Photon noise of the
    galaxy is not added, so `truth_snr` is over the noise of the sky alone.
    """
    settings = replace(settings, size=len(background), psf_fwhm_min_pix=psf_fwhm_pix, psf_fwhm_max_pix=psf_fwhm_pix)
    view = _view(settings, rng, centre)
    snr = _log_uniform(rng, settings.snr_min, settings.snr_max)
    image = background + view.light * amplitude(view.light, snr, np.inf, sky_sigma)
    return _cut(image, view, rng), _row(view, settings, snr) | {"sky_sigma": sky_sigma}


def _view(settings: SynthesiseSettings, rng: np.random.Generator, centre: tuple[float, float] | None = None) -> _View:
    """A galaxy of the series without noise, at `centre` if that is given."""
    weights = np.array(settings.weights or np.ones(len(settings.classes)))
    label = str(rng.choice(settings.classes, p=weights / weights.sum()))
    radius = settings.size * _log_uniform(rng, settings.radius_min, settings.radius_max)
    widest = max(min(settings.psf_fwhm_max_pix, radius / _SMALLEST_RADIUS_FWHM), settings.psf_fwhm_min_pix)
    psf = Psf(rng.uniform(settings.psf_fwhm_min_pix, widest), rng.uniform(2.5, 5))
    offset = np.clip(rng.normal(0, 1, 2), -3, 3) * settings.offset_pix
    centre = centre or tuple((settings.size - 1) / 2 + offset)
    angle = rng.uniform(0, 180)
    galaxy, light = _light(label, settings, radius, centre, angle, psf, rng)
    return _View(galaxy, light, psf, centre, angle, radius)


def _expose(view: _View, settings: SynthesiseSettings, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """A noisy image of the galaxy, and its row of the table."""
    psf, radius, size, sigma = view.psf, view.radius, settings.size, settings.sky_sigma
    sky_electrons = _log_uniform(rng, *_SKY_ELECTRONS)
    gain = np.sqrt(sky_electrons + _READ_NOISE_ELECTRONS**2) / sigma
    snr = _log_uniform(rng, settings.snr_min, settings.snr_max)
    if view.galaxy.kind in ("bright_star", "star_blend"):
        snr *= _log_uniform(rng, 1, _BRIGHTER)
    factor = amplitude(view.light, snr, gain, sigma)
    light = view.light * factor
    number, clear = rng.poisson(settings.neighbours), 1.2 * radius
    scene = light + neighbours(number, size, psf, flux=light.sum(), keep_clear_pix=clear, rng=rng)
    if rng.random() < settings.blemishes:
        blemish = cosmic_rays if rng.random() < 0.7 else hot_columns
        scene += scene.max() * blemish(size, 1, rng=rng)
    if _happens(settings.haloes, rng):
        scene += _halo(view, settings, rng)
    image = expose(scene, sky_electrons=sky_electrons, read_noise_electrons=_READ_NOISE_ELECTRONS, gain=gain, rng=rng)
    if view.galaxy.kind == "bright_star" and rng.random() < 0.6:  # the detector, not the sky, sets its level
        full = view.light >= view.light.max()
        image = np.where(full, factor * view.light.max(), np.minimum(image, factor * view.light.max()))
    slope = settings.gradient * rng.uniform() * gradient(size, rng=rng)
    image += sigma * (settings.sky_residual * rng.normal() + slope)
    if settings.correlated and rng.random() < settings.correlated:
        image = correlate(image, rng.uniform(0.3, 0.8))
    if _happens(settings.resampled, rng):
        of_star = view.galaxy.kind in ON_PIXELS
        largest = _LARGEST_ENLARGED * size / (1.5 * psf.fwhm_pix if of_star else radius)
        how = Resampling.drawn(rng, min(largest, _MOST_ENLARGED))
        image, view = how(image, rng), view.resampled(how, size)
    if settings.pictures and rng.random() < settings.pictures:
        image = _picture(image, settings, rng)
    if _happens(settings.cropped, rng):
        image = cropped(image, view.centre, view.radius, rng)
    return _cut(image, view, rng).astype(np.float32), _row(view, settings, snr)


def _happens(fraction: float, rng: np.random.Generator) -> bool:
    """True in this fraction of cases; nothing is drawn for a fraction of 0, so that older series stay as they were."""
    return fraction > 0 and bool(rng.random() < fraction)


def _halo(view: _View, settings: SynthesiseSettings, rng: np.random.Generator) -> np.ndarray:
    """The light of a bright star near the galaxy, in counts."""
    wings = halo(settings.size, view.centre, view.radius, rng)
    return settings.sky_sigma * _log_uniform(rng, *_HALO_SIGMA) * wings


def _picture(image: np.ndarray, settings: SynthesiseSettings, rng: np.random.Generator) -> np.ndarray:
    """`image` as a picture for the eye, in one band or, a fraction `colour` of them, in three."""
    if not _happens(settings.colour, rng):
        return as_picture(image, settings.sky_sigma, rng=rng)
    # three bands of different light, whose independent noise adds as much again to their mean
    more = settings.sky_sigma * rng.normal(size=(3, *image.shape))
    more -= more.mean(axis=0)
    ratios = np.exp(rng.uniform(-_RED, _RED, 3))
    return colour_picture([ratio * image + noise for ratio, noise in zip(ratios, more, strict=True)],
                          settings.sky_sigma, rng)  # fmt: skip


def _cut(image: np.ndarray, view: _View, rng: np.random.Generator) -> np.ndarray:
    """`image`, cut at a detector edge if its galaxy is of the kind `cut_by_edge`."""
    if view.galaxy.kind == "cut_by_edge":
        return confusers.cut_by_edge(image, view.centre, view.radius, rng)[0]
    return image


def _row(view: _View, settings: SynthesiseSettings, snr: float) -> dict:
    """The row of the table for an image."""
    galaxy = view.galaxy
    shaped = bool(galaxy.truth)
    row = {
        "label": galaxy.label,
        "scored": galaxy.scored,
        "kind": galaxy.kind,
        "pixel_scale_arcsec": settings.pixel_scale_arcsec,
        "psf_fwhm_pix": view.psf.fwhm_pix,
        "sky_sigma": settings.sky_sigma,
        "truth_snr": snr,
        "truth_x_pix": view.centre[0],
        "truth_y_pix": view.centre[1],
        "truth_position_angle_deg": view.angle if shaped else np.nan,
        "truth_radius_pix": view.radius if shaped else np.nan,
    }
    return row | {name: float(galaxy.truth.get(name, np.nan)) for name in _TRUTH}


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _light(
    label: str,
    settings: SynthesiseSettings,
    radius: float,
    centre: tuple[float, float],
    angle: float,
    psf: Psf,
    rng: np.random.Generator,
) -> tuple[Galaxy, np.ndarray]:
    """An object of the class `label` and its noise-free image, of arbitrary brightness."""
    kind = draw_kind(label, rng, settings.population)
    if kind in ON_PIXELS:
        return Galaxy(kind, label, np.zeros_like), _on_pixels(kind, settings.size, centre, psf, rng)
    galaxy = draw_object(
        label,
        kind,
        axis_ratios=(settings.axis_ratio_min, settings.axis_ratio_max),
        sersic_indices=(settings.sersic_min, settings.sersic_max),
        rng=rng,
    )
    light = draw(
        galaxy.brightness,
        settings.size,
        centre=centre,
        position_angle_deg=angle,
        radius_pix=radius / galaxy.unit,
        psf=psf,
    )
    return galaxy, light


def _on_pixels(kind: str, size: int, centre: tuple[float, float], psf: Psf, rng: np.random.Generator) -> np.ndarray:
    """The image (size, size) of a star or an artefact, see `population.ON_PIXELS`."""
    if kind == "star":
        return confusers.star(size, centre, psf, rng)[0]
    if kind == "bright_star":
        return confusers.bright_star(size, centre, psf, confusers.BrightStar.drawn(rng, _LARGEST_STAR * size), rng)
    if kind == "star_blend":
        return confusers.star_blend(size, centre, psf, rng)
    if kind == "defect":
        return confusers.defect(size, centre, psf, rng)
    return confusers.artefact(size, psf, rng)[0]
