"""Are isophotes right, are their errors honest, and how fast are they next to photutils?

    python benchmarks/isophotes.py [--quick] [--seed N] [--real FOLDER]

Profiles of synthetic galaxies whose a4, axis ratio and angle change with radius, of images and tables of IRAF, and of
NGC 3610, by emeraldcut, by photutils in the same run and, where it is installed, by elliprof. `--real` names a folder
with the images and tables of IRAF (M51.fits, M51_table.fits, synth*.fits) and ngc3610.fits; without it what needs them
is left out.

Keys of the last line:

    ms_SIDE                CPU milliseconds of a profile of 31 isophotes with errors, of SIDE x SIDE pixels
    speed_ratio_SIDE       CPU time of photutils over ours, same images, same radii, one core
    speed_ratio_elliprof_SIDE
                           the same of elliprof, where it is installed: the process that it starts, and reads, included
    lost_photutils, lost   fraction of isophotes without harmonics
    coverage_68_*          fraction of intervals of one standard error that hold the truth, by quantity, S/N and radius
    rms_z_a4               root mean square of (measured - true) / error, all of them
    bias_a4                median of measured minus true a4 at S/N 200
    zones_right_snr_*      fraction of galaxies, disky inside and boxy outside, that are called so
    zones_false            fraction of ellipses that are called boxy or disky in any zone
    iraf_within_2_sigma, iraf_median, NAME_within_2_sigma, NAME_median, NAME_rms_z
                           radii at which a4_polar is within two combined errors of IRAF's B4, and their difference
    highsnr_rms_z          the same at 6 to 13 pixels of synth_highsnr, in our errors and IRAF's combined
    ngc3610                [radius, ours, its error, photutils, photutils with a step of 2 %] at three radii
    mosaic_galaxies, mosaic_seconds, mosaic_cpu_seconds
                           `measure --profiles` with two workers of galaxies in a mosaic, in cutouts of 512 x 512 pixels
    mosaic_memory_mb, mosaic_memory_growth
                           peak of all processes at one time; over that of a quarter of the galaxies, minus 1
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import record
from astropy.io import fits
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.frame import frame_galaxies
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import MeasureSettings, ProfileSettings, measure, radial_profiles
from emeraldcut.isophotes.galaxy_fit import measure_galaxy
from emeraldcut.isophotes.radial_profile import fit_profile

SIDE, CENTRE, RADIUS, FINE = 121, (60.3, 59.8), 12.0, 5
SLOPE = 1.7  # of the exponential profile, in 1 / half-light radius
INSIDE, OUTSIDE = 0.3, 2.5  # half-light radii between which the shape changes
ISOPHOTES = 31


def changing(a4, axis_ratio, angle_deg, ends=(INSIDE, OUTSIDE)):
    """Light (ny, nx) whose shape changes with the logarithm of the radius, and a function of radii that tells it."""
    knots = np.geomspace(0.2, 12 * RADIUS, 4000)
    fraction = np.clip(np.log(knots / (ends[0] * RADIUS)) / np.log(ends[1] / ends[0]), 0, 1)
    ends_of = {"a4": a4, "axis_ratio": axis_ratio, "position_angle_deg": angle_deg}
    course = {name: ends[0] + (ends[1] - ends[0]) * fraction for name, ends in ends_of.items()}
    place = (np.arange(SIDE * FINE) - (FINE - 1) / 2) / FINE
    x, y = np.meshgrid(place - CENTRE[0], place - CENTRE[1])
    semi = np.hypot(x, y) * 1.2
    for _ in range(60):
        c4, q, angle = (np.interp(semi, knots, values) for values in course.values())
        angle = np.radians(angle)
        u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / q
        semi = 0.5 * semi + 0.5 * np.hypot(u, v) / (1 + c4 * np.cos(4 * np.arctan2(v, u)))
    light = np.exp(-SLOPE * semi / RADIUS).reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))
    return 1000 * light, lambda radius: {name: np.interp(radius, knots, v) for name, v in course.items()}


def noise_for(light: np.ndarray, snr: float) -> float:
    """Noise per pixel at which the light inside the brightest half has this S/N."""
    ordered = np.sort(light, axis=None)[::-1]
    half = ordered[: int(np.searchsorted(np.cumsum(ordered), 0.5 * ordered.sum())) + 1]
    return float(half.sum() / np.sqrt(len(half)) / snr)


def image_set(pixels) -> ImageSet:
    return ImageSet(np.asarray(pixels, np.float32), Table({"id": [str(i) for i in range(len(pixels))]}))


def honest(seed: int, number: int) -> dict:
    """Coverage of errors, by S/N and radius."""
    rng, figures, everything, bias = np.random.default_rng(seed), {}, [], []
    cases = [
        ((0.03, -0.06), (0.55, 0.75), (20, 35)),
        ((-0.05, 0.02), (0.8, 0.6), (70, 60)),
        ((0, 0), (0.7, 0.7), (10, 10)),
    ]
    options = ProfileSettings(smallest_radius_pix=4, largest_radius_pix=36)
    pulls: dict[tuple, list] = {}
    for snr in (50, 100, 200):
        for case in cases:
            light, truth = changing(*case)
            sigma = noise_for(light, snr)
            noisy = image_set([light + sigma * rng.normal(size=light.shape) for _ in range(number)])
            table = radial_profiles(noisy, profile_settings=options)
            radius = np.asarray(table["isophote_radius_pix"])
            true = truth(radius)
            for name in ("a4", "axis_ratio"):
                error = np.ma.filled(table[name] - true[name], np.nan)
                pull = error / np.ma.filled(table[f"{name}_err"], np.nan)
                for low, high in ((4, 8), (8, 16), (16, 36)):
                    inside = (radius >= low) & (radius < high) & np.isfinite(pull)
                    pulls.setdefault((name, snr, f"{low}_{high}"), []).append(pull[inside])
                if name == "a4":
                    everything.append(pull[np.isfinite(pull)])
                    bias += list(error[np.isfinite(error)]) if snr == 200 else []
    for (name, snr, where), found in pulls.items():
        found = np.concatenate(found)
        if len(found) > 50:
            figures[f"coverage_68_{name}_snr_{snr}_pix_{where}"] = np.mean(np.abs(found) < 1)
    joined = np.concatenate(everything)
    return figures | {"rms_z_a4": np.sqrt(np.mean(joined**2)), "coverage_68": np.mean(np.abs(joined) < 1),
                      "bias_a4": np.median(bias)}  # fmt: skip


def zones(seed: int, number: int) -> dict:
    """How often zones are called rightly, and ellipses wrongly."""
    rng, figures = np.random.default_rng(seed + 1), {}
    for snr in (100, 200):
        light = changing((0.04, -0.06), (0.55, 0.7), (20, 20), (0.8, 1.3))[0]
        sigma = noise_for(light, snr)
        table = measure(image_set([light + sigma * rng.normal(size=light.shape) for _ in range(number)]))
        figures[f"zones_right_snr_{snr}"] = np.mean(
            np.ma.filled(table["boxy_zones"], "") == "boxy outside, disky inside"
        )
    wrong = []
    for snr in (30, 60, 120, 250):
        for q in (0.5, 0.7, 0.9):
            light = draw_galaxy(shapes.ellipse(q), Sersic(rng.uniform(0.7, 4)), size=SIDE, radius_pix=RADIUS,
                                position_angle_deg=rng.uniform(0, 180))  # fmt: skip
            sigma = noise_for(light, snr)
            table = measure(image_set([light + sigma * rng.normal(size=light.shape) for _ in range(number)]))
            wrong += [word not in ("", "elliptical") for word in np.ma.filled(table["boxy_zones"], "")]
    return figures | {"zones_false": np.mean(wrong)}


def _photutils(image: np.ndarray, centre, radius: float, q: float, angle: float, radii, step: float) -> list:
    """Isophotes of photutils at these radii, each from good start values."""
    from photutils.isophote import Ellipse, EllipseGeometry

    found, geometry = [], EllipseGeometry(*centre, radius, 1 - q, angle)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sma in radii:
            fitter = Ellipse(image, geometry=EllipseGeometry(geometry.x0, geometry.y0, sma, geometry.eps, geometry.pa))
            isophote = fitter.fit_isophote(sma, step=step)
            found.append(isophote)
            if isophote.stop_code == 0:
                geometry = isophote.sample.geometry
    return found


def _elliprof_cpu_s(pixels: np.ndarray, radii: np.ndarray, repeats: int) -> float:
    """CPU seconds of elliprof's own process for one image; it gives amplitudes of order 3 and 4 without errors."""
    from elliprof import run_elliprof

    ny, nx = pixels.shape
    with TemporaryDirectory() as folder:
        path = Path(folder, "image.fits")
        fits.writeto(path, pixels)
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(repeats):
            run_elliprof(
                path, x0=nx / 2, y0=ny / 2, r0=radii[0], r1=radii[-1], nr=len(radii), output_dir=folder, check=False
            )
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime) / repeats


def speed(quick: bool) -> dict:
    """CPU time of a profile of 31 isophotes with errors, and photutils' of the same."""
    rng, figures, lost, lost_peer = np.random.default_rng(5), {}, [], []
    for side, radius, peers in ((64, 8.0, 2 if quick else 6), (256, 32.0, 1 if quick else 3)):
        shape = shapes.superellipse(0.65, 2.6)
        light = draw_galaxy(shape, Sersic(1.5), size=side, radius_pix=radius, position_angle_deg=30)
        sigma = noise_for(light, 150)
        pool = image_set([light + sigma * rng.normal(size=light.shape) for _ in range(20)])
        radii = np.geomspace(2.0, 0.45 * side, ISOPHOTES)
        options = ProfileSettings(radii_pix=tuple(float(r) for r in radii))
        galaxies = frame_galaxies(pool).galaxies
        fits = [measure_galaxy(galaxy, MeasureSettings(), np.nan) for galaxy in galaxies]
        images = [np.asarray(pixels) for pixels in pool.pixels]
        fit_profile(galaxies[0], fits[0], options, images[0])
        repeats = 5 if quick else 20
        start = time.process_time()
        for _ in range(repeats):
            profiles = [
                fit_profile(galaxy, fit, options, image)
                for galaxy, fit, image in zip(galaxies, fits, images, strict=True)
            ]
        ours = (time.process_time() - start) / repeats / len(galaxies)
        lost += [np.mean(~np.isfinite(profile.shape[:, 6])) for profile in profiles]
        start = time.process_time()
        for pixels in pool.pixels[:peers]:
            found = _photutils(pixels.astype(float), ((side - 1) / 2,) * 2, radius, 0.65, np.radians(30), radii, 0.1)
            lost_peer.append(np.mean([isophote.stop_code not in (0, 2) for isophote in found]))
        theirs = (time.process_time() - start) / peers
        figures |= {f"ms_{side}": 1e3 * ours, f"speed_ratio_{side}": theirs / ours}
        if find_spec("elliprof"):
            figures[f"speed_ratio_elliprof_{side}"] = _elliprof_cpu_s(pool.pixels[0], radii, repeats) / ours
    return figures | {"lost": np.mean(lost), "lost_photutils": np.mean(lost_peer)}


def iraf(folder: Path) -> dict:
    """Our a4_polar against IRAF's B4 at every radius of its tables."""
    figures, pulls, differences = {}, [], []
    for name in ("M51", "synth", "synth_highsnr", "synth_lowsnr"):
        pixels = fits.getdata(folder / f"{name}.fits").astype(np.float32)
        table = Table.read(folder / f"{name}_table.fits")
        radius, b4, error = (np.ma.filled(np.ma.asarray(table[c], float), np.nan) for c in ("SMA", "B4", "B4_ERR"))
        good = np.isfinite(b4) & np.isfinite(error) & (radius >= 2)
        options = ProfileSettings(radii_pix=tuple(float(r) for r in radius[good]))
        ours = radial_profiles(image_set([pixels]), profile_settings=options)
        a4, own = (np.ma.filled(ours[c], np.nan) for c in ("a4_polar", "a4_polar_err"))
        difference = a4 - b4[good]
        pull = difference / np.hypot(own, error[good])
        known = np.isfinite(pull)
        figures |= {
            f"{name}_within_2_sigma": np.mean(np.abs(pull[known]) < 2),
            f"{name}_median": np.median(difference[known]),
            f"{name}_rms_z": np.sqrt(np.mean(pull[known] ** 2)),
            f"{name}_radii": [int(known.sum()), len(known)],
        }
        if name == "synth_highsnr":
            near = known & (radius[good] > 6) & (radius[good] < 13)
            figures["highsnr_rms_z"] = np.sqrt(np.mean(pull[near] ** 2))
        pulls, differences = pulls + list(pull[known]), differences + list(difference[known])
    return figures | {"iraf_within_2_sigma": np.mean(np.abs(pulls) < 2), "iraf_median": np.median(differences)}


def ngc3610(folder: Path) -> dict:
    """Three radii of NGC 3610, ours and photutils' with its usual step of 10 % and with one of 2 %."""
    image = fits.getdata(folder / "ngc3610.fits")[1].astype(float)
    pool, radii = image_set([image]), (5.6, 19.6, 23.7)
    table = radial_profiles(pool, profile_settings=ProfileSettings(radii_pix=radii))
    galaxy = frame_galaxies(pool).galaxies[0]
    start = (tuple(galaxy.shape[:2]), galaxy.radius, galaxy.shape[2], galaxy.shape[3])
    peers = [_photutils(image, *start, radii, step) for step in (0.1, 0.02)]
    rows = zip(radii, table["a4_polar"], table["a4_polar_err"], *peers, strict=True)
    return {"ngc3610": [[r, float(a), float(e), float(p.b4), float(n.b4)] for r, a, e, p, n in rows]}


def in_mosaic(seed: int, number: int) -> dict:
    """Galaxies of a mosaic that need large cutouts, with profiles, from the command line with two workers."""
    rng, cell = np.random.default_rng(seed + 2), 256
    side = cell * int(np.ceil(np.sqrt(number)))
    sky = rng.normal(size=(side, side)).astype(np.float32)
    cells = rng.permutation((side // cell) ** 2)[:number]
    x, y = (cell * (k + 0.5) + rng.uniform(-20, 20, number) for k in (cells % (side // cell), cells // (side // cell)))
    half = cell // 2
    for a, b in zip(x.astype(int), y.astype(int), strict=True):
        shape = shapes.superellipse(rng.uniform(0.3, 1), rng.choice([1.8, 2, 2, 2.6, 3.5]))
        light = draw_galaxy(shape, Sersic(rng.uniform(0.7, 3)), size=2 * half, radius_pix=rng.uniform(8, 35),
                            position_angle_deg=rng.uniform(0, 180))  # fmt: skip
        light = light / noise_for(light, 10 ** rng.uniform(1.5, 2.5))
        y0, x0, y1, x1 = max(b - half, 0), max(a - half, 0), min(b + half, side), min(a + half, side)
        sky[y0:y1, x0:x1] += light[y0 - b + half : y1 - b + half, x0 - a + half : x1 - a + half]
    found = {}
    with TemporaryDirectory() as folder:
        fits.writeto(Path(folder, "mosaic.fits"), sky)
        for name, n in (("few", number // 4), ("all", number)):
            Table({"id": np.arange(n), "x": x[:n], "y": y[:n]}).write(Path(folder, f"{name}.csv"))
            words = ["measure", "mosaic.fits", "--catalogue", f"{name}.csv", "--cutout-size", "512", "-j", "2"]
            words += ["-o", f"{name}.parquet", "--profiles", f"{name}_profiles.parquet", "--quiet"]
            process = subprocess.Popen([sys.executable, "-m", "emeraldcut", *words], cwd=folder)
            found[name] = record.watch(process)
            assert found[name].returncode == 0
        profiles = Table.read(Path(folder, "all_profiles.parquet"))
    growth = found["all"].together_mb / found["few"].together_mb - 1
    return {
        "mosaic_galaxies": [number, len(set(profiles["id"]))],
        "mosaic_seconds": found["all"].wall_s,
        "mosaic_cpu_seconds": found["all"].cpu_s,
        "mosaic_memory_mb": found["all"].together_mb,
        "mosaic_memory_growth": growth,
    }


def main() -> None:
    parser = record.parser(__doc__, "fewer galaxies", seed=0)
    parser.add_argument("--real", type=Path, help="folder with IRAF's images and tables, and ngc3610.fits")
    arguments = parser.parse_args()
    number = 20 if arguments.quick else 100
    figures = speed(arguments.quick) | honest(arguments.seed, number) | zones(arguments.seed, 5 * number)
    figures |= in_mosaic(arguments.seed, 40 if arguments.quick else 1000)
    folder = arguments.real or record.ROOT.parent / "shared" / "real" / "fits" / "isophote"
    if folder.exists():
        figures |= iraf(folder) | ngc3610(folder)
    peers = ("photutils", *(name for name in ("elliprof",) if find_spec(name)))
    record.finish("isophotes", figures, arguments, peers=peers)


if __name__ == "__main__":
    main()
