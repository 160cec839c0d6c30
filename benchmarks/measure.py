"""Are measured shapes right, are their errors honest, and how fast is `measure` next to photutils?

    python benchmarks/measure.py [--quick] [--seed N] [--figure FILE] [--neighbours MEAN]

Galaxies of known shape: superellipses of exponent 1.5 to 6 (four in five) and obrounds, with axis ratio 0.4 to 1,
Sersic index 0.5 to 4, half-light radius 4 to 13 pixels and S/N 20 to 300. The Moffat PSF has a FWHM of 1.2 to 4 pixels,
at most half the half-light radius; its beta (2.5 to 5) is not told to `measure`. Images have 64 x 64 pixels with
photon, sky and read-out noise. A nearly round galaxy (axis ratio above 0.9) may be framed along its corners as well as
along its sides, so there both a4 and -|a4| count as true. photutils' `Ellipse` fits the same stamps in the same run.

Keys of the last line:

    speed_ratio              CPU time of photutils over ours, from pixels to rows, same stamps, one core
    ms_per_stamp             CPU milliseconds per galaxy, ours
    ms_per_stamp_zones       the same with a4 inside and outside, its slope and its extreme (the default)
    galaxies                 number of galaxies measured
    bias_a4, bias_a4_*       median of measured minus true a4/a at S/N >= 50, and the same by exponent
    coverage_68, coverage_68_snr_*
                             fraction of a4 intervals of one standard error that contain the truth
    lost_fraction            fraction of galaxies without a measurement
    photutils_b4_difference  median of our a4, without PSF correction, minus photutils' b4 at the same radii
    photutils_isophotes      number of isophotes in that comparison
    bias_fwhm_*, uncorrected_fwhm_*
                             bias of a4/a with and without PSF correction, by half-light radius over PSF FWHM (exponent
                             3.5, S/N >= 50)
    axis_ratio_within_003, angle_within_3deg
                             fractions at S/N >= 100 (angle: axis ratio below 0.8)
    kind_*                   of galaxies with a4 < -0.04, by true kind and S/N: the fractions called rectangular,
                             obround, boxy (undecided) and none of these
"""

from __future__ import annotations

import itertools
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import record
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.frame import frame_galaxies
from emeraldcut.frame.ellipse_fit import C4
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.galaxies.sky import Psf, expose, neighbours
from emeraldcut.isophotes import MeasureSettings, measure, measure_galaxy
from emeraldcut.isophotes.radial_profile import ProfileSettings, fit_profile

SIZE = 64
READ_NOISE = 5.0
SNR_BINS = ((20, 50), (50, 100), (100, 300))


@dataclass(frozen=True)
class Ranges:
    """Ranges of the galaxies that are drawn."""

    exponent: tuple[float, float] = (1.5, 6.0)
    obrounds: float = 0.2
    snr: tuple[float, float] = (20.0, 300.0)
    radius: tuple[float, float] = (4.0, 13.0)
    radius_over_fwhm: tuple[float, float] = (2.0, 8.0)
    neighbours: float = 0.0


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def galaxy(ranges: Ranges, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """One image and its truth."""
    axis_ratio, radius = rng.uniform(0.4, 1), _log_uniform(rng, ranges.radius)
    obround = rng.random() < ranges.obrounds
    exponent = np.nan if obround else _log_uniform(rng, ranges.exponent)
    shape = shapes.obround(axis_ratio) if obround else shapes.superellipse(axis_ratio, exponent)
    low, high = ranges.radius_over_fwhm
    ratio = rng.uniform(low, max(min(high, radius / 1.2), low))
    fwhm = min(radius / ratio, 4.0) if low >= 2 else radius / ratio
    placed = {
        "centre": tuple((SIZE - 1) / 2 + rng.normal(0, 1, 2)),
        "position_angle_deg": rng.uniform(0, 180),
        "radius_pix": radius,
        "psf_fwhm_pix": fwhm,
        "psf_beta": rng.uniform(2.5, 5),
    }
    light = draw_galaxy(shape, Sersic(rng.uniform(0.5, 4)), size=SIZE, **placed)
    sky_electrons, snr = _log_uniform(rng, (100, 5000)), _log_uniform(rng, ranges.snr)
    gain = np.sqrt(sky_electrons + READ_NOISE**2)  # the sky's noise is one count
    ordered = np.sort(light, axis=None)[::-1]
    number = int(np.searchsorted(np.cumsum(ordered), 0.5 * ordered.sum())) + 1
    photons = snr**2 / gain
    light *= (photons + np.sqrt(photons**2 + 4 * snr**2 * number)) / 2 / ordered[:number].sum()
    if ranges.neighbours:
        psf, clear = Psf(fwhm, placed["psf_beta"]), 1.2 * radius
        amount = rng.poisson(ranges.neighbours)
        light = light + neighbours(amount, SIZE, psf, flux=light.sum(), keep_clear_pix=clear, rng=rng)
    image = expose(light, sky_electrons=sky_electrons, read_noise_electrons=READ_NOISE, gain=gain, rng=rng)
    image += 0.2 * rng.normal()
    terms = shapes.harmonics(shape)
    truth = {"exponent": exponent, "obround": obround, "snr": snr, "radius": radius, "fwhm": fwhm}
    truth |= {"angle": placed["position_angle_deg"], "x": placed["centre"][0], "y": placed["centre"][1]}
    return image.astype(np.float32), truth | {"q": terms["axis_ratio"], "a4": terms["a4"], "a6": terms["a6"]}


def galaxies(number: int, seed: int, ranges: Ranges = Ranges()) -> tuple[ImageSet, Table]:
    """Images, with the PSF's width, and the truth."""
    made = [galaxy(ranges, np.random.default_rng([seed, i])) for i in range(number)]
    truth = Table([row for _, row in made])
    rows = Table({"id": [str(i) for i in range(number)], "psf_fwhm_pix": truth["fwhm"]})
    return ImageSet(np.stack([image for image, _ in made]), rows), truth


def a4_errors(table: Table, truth: Table) -> np.ndarray:
    """Measured minus true a4 (n,), 9 where there is none; of a nearly round galaxy also as seen along its corners."""
    error = np.ma.filled(table["a4"] - truth["a4"], 9.0)
    turned = np.ma.filled(table["a4"] + np.abs(truth["a4"]), 9.0)
    return np.where((truth["q"] > 0.9) & (np.abs(turned) < np.abs(error)), turned, error)


def photutils_isophotes(images: ImageSet, truth: Table) -> tuple[float, list]:
    """CPU seconds of photutils' isophote fit with good start values, and the isophotes of each galaxy."""
    from photutils.isophote import Ellipse, EllipseGeometry

    lists, start = [], time.process_time()
    for image, row in zip(images.pixels, truth, strict=True):
        geometry = EllipseGeometry(row["x"], row["y"], row["radius"], min(1 - row["q"], 0.9), np.radians(row["angle"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lists.append(Ellipse(np.asarray(image, float), geometry=geometry).fit_image())
    return time.process_time() - start, lists


def b4_differences(images: ImageSet, isophotes: list) -> np.ndarray:
    """Our a4 minus photutils' b4 on isophotes between .7 and 2.5 half-light radii that both fitted, as seen."""
    frames, settings, found = frame_galaxies(images), MeasureSettings(psf_correction=False), []
    for framed, fitted in zip(frames.galaxies, isophotes, strict=True):
        fit = None if framed is None else measure_galaxy(framed, settings, np.nan)
        theirs = [
            isophote
            for isophote in fitted
            if fit is not None
            and isophote.stop_code == 0
            and 0.7 < isophote.sma / framed.radius < 2.5
            and np.isfinite(isophote.b4)
        ]
        if theirs:
            radii = tuple(sorted({isophote.sma for isophote in theirs}))
            ours = fit_profile(framed, fit, ProfileSettings(radii_pix=radii))
            a4 = dict(zip(radii, ours.shape[:, C4], strict=True))
            found += [a4[isophote.sma] - isophote.b4 for isophote in theirs if np.isfinite(a4[isophote.sma])]
    return np.array(found)


def figure(table: Table, truth: Table, path: Path) -> None:
    """Errors of a4 against S/N, and how well a4 tells boxes from ellipses."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9.5, 4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    error, snr = a4_errors(table, truth), np.asarray(truth["snr"])
    edges = np.geomspace(20, 300, 9)
    bins = [(snr >= a) & (snr < b) for a, b in itertools.pairwise(edges)]
    middle = np.sqrt(edges[1:] * edges[:-1])
    left.plot(middle, [np.quantile(np.abs(error[b]), 0.683) for b in bins], "o-", color="#0f8a5f", label="true (68 %)")
    stated = np.ma.filled(table["a4_err"], np.nan)
    left.plot(middle, [np.nanmedian(stated[b]) for b in bins], "--", color="#555555", label="stated (median)")
    left.set(xscale="log", yscale="log", xlabel="signal-to-noise ratio", ylabel="error of a4/a")
    left.axhspan(0.05, 0.08, color="#0f8a5f", alpha=0.12, lw=0)
    left.text(95, 0.053, "size of a4/a in LEDA 074886", fontsize=8)
    left.set_xticks([20, 50, 100, 200, 300], ["20", "50", "100", "200", "300"])
    left.minorticks_off()
    left.legend(frameon=False, loc="lower left")
    significance = np.ma.filled(-table["a4"] / table["a4_err"], -99)
    boxy, oval = np.asarray(truth["a4"] < -0.04), np.abs(np.asarray(truth["a4"])) < 0.01
    for (low, high), colour in zip(SNR_BINS, ("#c2571a", "#3465a4", "#0f8a5f"), strict=True):
        within = (snr >= low) & (snr < high)
        limits = np.sort(significance[within & oval])[::-1]
        found = [np.mean(significance[within & boxy] > limit) for limit in limits]
        right.plot(np.arange(1, len(limits) + 1) / len(limits), found, color=colour, label=f"S/N {low} to {high}")
    right.set(
        xscale="log",
        xlabel="fraction of ellipses (|a4/a| < .01) called boxy",
        ylabel="fraction of boxes (a4/a < -.04) found",
    )
    right.set_title("sorted by a4 over its error", fontsize=10)
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, dpi=130)


def main() -> None:
    parser = record.parser(__doc__, "500 galaxies instead of 6,000", seed=40_000, figure="a4_errors.png")
    parser.add_argument("--neighbours", type=float, default=0.0, help="mean number of neighbours per image")
    arguments = parser.parse_args()
    number, peers = (500, 15) if arguments.quick else (6000, 100)
    images, truth = galaxies(number, arguments.seed, Ranges(neighbours=arguments.neighbours))
    whole = MeasureSettings(zones=False)  # one number for all isophotes, as in the records before there were zones
    measure(images[:200])  # compilation and caches are not what is timed
    start = time.process_time()
    table = measure(images, whole)
    ours = (time.process_time() - start) / number
    start = time.process_time()
    measure(images[:500])
    with_zones = (time.process_time() - start) / min(number, 500)
    theirs, isophotes = photutils_isophotes(images[:peers], truth[:peers])
    print(f"emeraldcut {ours * 1e3:.2f} ms, photutils {theirs / peers * 1e3:.0f} ms a galaxy")
    difference = b4_differences(images[:peers], isophotes)

    lost = np.ma.getmaskarray(table["a4"])
    error, stated = a4_errors(table, truth), np.ma.filled(table["a4_err"], 1.0)
    snr, exponent = np.asarray(truth["snr"]), np.asarray(truth["exponent"])
    bright = (snr >= 50) & ~lost
    figures = {
        "speed_ratio": theirs / peers / ours,
        "ms_per_stamp": ours * 1e3,
        "ms_per_stamp_zones": with_zones * 1e3,
        "galaxies": number,
        "bias_a4": np.median(error[bright]),
        "coverage_68": np.mean(np.abs(error[~lost]) < stated[~lost]),
        "lost_fraction": lost.mean(),
        "photutils_b4_difference": np.median(difference),
        "photutils_isophotes": len(difference),
    }
    for low, high in ((1.5, 1.9), (1.9, 2.1), (2.1, 3), (3, 4), (4, 6)):
        figures[f"bias_a4_exponent_{low}_{high}"] = np.median(error[bright & (exponent >= low) & (exponent < high)])
    figures["bias_a4_obround"] = np.median(error[bright & np.asarray(truth["obround"])])
    for low, high in SNR_BINS:
        within = (snr >= low) & (snr < high) & ~lost
        figures[f"coverage_68_snr_{low}_{high}"] = np.mean(np.abs(error[within]) < stated[within])
    for low, high in ((1.0, 1.4), (1.4, 2.0), (2.0, 3.0), (3.0, 6.0)):
        ranges = Ranges(exponent=(3.49, 3.51), obrounds=0, snr=(50, 300), radius_over_fwhm=(low, high))
        others, of_others = galaxies(number // 10, arguments.seed + 1, ranges)
        for name, settings in (("bias", whole), ("uncorrected", MeasureSettings(psf_correction=False, zones=False))):
            figures[f"{name}_fwhm_{low:g}_{high:g}"] = np.median(a4_errors(measure(others, settings), of_others))
    best = snr >= 100
    flat = best & np.asarray(truth["q"] < 0.8)
    turn = np.ma.filled((table["position_angle_deg"] - truth["angle"] + 90) % 180 - 90, 90)
    q_error = np.ma.filled(table["axis_ratio"] - truth["q"], 9.0)
    figures["axis_ratio_within_003"] = np.mean(np.abs(q_error[best]) < 0.03)
    figures["angle_within_3deg"] = np.mean(np.abs(turn[flat]) < 3)
    kinds, boxy = np.ma.filled(table["boxy_kind"], ""), np.asarray(truth["a4"] < -0.04)
    for low, high in ((20, 50), (50, 100), (100, 200), (200, 300)):
        for true, name in ((~np.asarray(truth["obround"]), "rectangular"), (np.asarray(truth["obround"]), "obround")):
            chosen = kinds[boxy & true & (snr >= low) & (snr < high)]
            fractions = [np.mean(chosen == kind) for kind in ("rectangular", "obround", "boxy")]
            figures[f"kind_{name}_snr_{low}_{high}"] = [*fractions, 1 - sum(fractions)]
    if path := record.figure_of(arguments):
        figure(table, truth, path)
    name = "measure-neighbours" if arguments.neighbours else "measure"
    record.finish(name, figures, arguments, peers=("photutils",))


if __name__ == "__main__":
    main()
