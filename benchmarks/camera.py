"""How fast is the camera, what does smoothing do to isophotes, and how good are the true shapes of a view?

    python benchmarks/camera.py [--quick] [--seed N] [--particles N]

The remnant is a triaxial ellipsoid with a Plummer profile (axes 3 : 2.2 : 1.5) of 1e5 stars, seen in 64 x 64 pixels
with a Moffat PSF of 2.5 pixels, photon, sky and read-out noise, and smoothing over 32 particles; `observe` turns
particles into images and their table. True harmonics are tested with particles drawn from shapes of known harmonics.

Keys of the last line:

    particles, views           stars of the remnant; views timed
    images_per_second_core     one process, CPU time, everything included, also the true shape of each view
    truth_seconds_per_view     of that for the true shape (isophote of the projected stars and its label)
    pixels_seconds_per_view    of that for pixels: counting, smoothing, PSF, noise
    smoothing_a4               largest change of a4 by smoothing at 1.5 and 2.5 half-light radii, `particles` stars
                               without noise (ellipse, box, obround, diamond; Sersic index 1 and 3)
    smoothing_a4_1e4           the same with 1e4 stars
    smoothing_noise            particle noise beyond two half-light radii, over that without smoothing
    truth_bias_a4, truth_bias_a6
                               largest mean error of a shape (ellipse, box, rectangle, obround, diamond)
    truth_bias_error           standard error of these means
    truth_scatter              scatter of a4, a6 and a8 over the stated error
    truth_coverage_68          fraction of a4, a6 and a8 within one stated error
    truth_lost                 fraction of views without a true shape
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import record
from scipy.ndimage import map_coordinates
from scipy.special import gammaincinv

from emeraldcut.camera.camera import ObserveSettings, observe
from emeraldcut.camera.particle_isophote import fit_particle_isophote
from emeraldcut.camera.projection import smooth
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic, sersic_b
from emeraldcut.nbody.snapshot import Snapshot

SHAPES = {
    "ellipse": shapes.ellipse(0.7),
    "box": shapes.superellipse(0.7, 3.0),
    "rectangle": shapes.rectangle(0.6),
    "obround": shapes.obround(0.6),
    "diamond": shapes.diamond(0.7),
}


def plummer(n: int, seed: int) -> np.ndarray:
    """Positions (n, 3) of Plummer's sphere of scale 1."""
    rng = np.random.default_rng(seed)
    radius = 1 / np.sqrt(rng.random(n) ** (-2 / 3) - 1)
    direction = rng.normal(size=(n, 3))
    return radius[:, None] * direction / np.linalg.norm(direction, axis=1)[:, None]


def remnant(n: int, seed: int, axes: tuple[float, float, float] = (3.0, 2.2, 1.5)) -> Snapshot:
    """An ellipsoid of old stars with a total mass of 6e10 Msun."""
    position = (plummer(n, seed) * axes).astype(np.float32)
    disc = np.ones(n, np.int8)
    return Snapshot(position, np.zeros_like(position), np.full(n, 6e10 / n, np.float32), disc, disc - disc)


def projected(shape: shapes.Shape, n: int, rng: np.random.Generator) -> np.ndarray:
    """Positions (2, n) of particles with these isophotes and an exponential profile."""
    s = gammaincinv(2, rng.random(n)) / sersic_b(1.0)
    area = np.concatenate([[0], np.cumsum(shape.rho**2)])
    psi = np.interp(rng.random(n), area / area[-1], 2 * np.pi * (np.arange(len(area)) - 0.5) / len(shape.rho))
    rho = s * np.interp(psi, 2 * np.pi * np.arange(len(shape.rho)) / len(shape.rho), shape.rho, period=2 * np.pi)
    return np.stack([rho * np.cos(psi), shape.axis_ratio * rho * np.sin(psi)]).astype(np.float32)


def speed(particles: int, views: int, seed: int) -> dict[str, float]:
    """Rate and CPU seconds of `observe`, as a whole and by part."""
    from emeraldcut.camera.camera import _Camera, rotation
    from emeraldcut.camera.projection import project
    from emeraldcut.camera.stars import MassToLight, gather

    stars, settings = remnant(particles, seed), ObserveSettings(views=views)
    observe(stars, replace(settings, views=2))  # loads what is compiled
    start = time.process_time()
    observe(stars, settings, seed=seed)
    whole = time.process_time() - start
    camera = _Camera.at(gather([stars], MassToLight()), settings)
    rng = np.random.default_rng(seed)
    seen = [project(camera.position, rotation(*rng.uniform(0, 180, 3))) for _ in range(views)]
    start = time.process_time()
    for positions in seen:
        camera.truth(positions)
    middle = time.process_time()
    for positions in seen:
        camera.expose(camera.take(positions)[0], rng)
    end = time.process_time()
    return {
        "images_per_second_core": views / whole,
        "truth_seconds_per_view": (middle - start) / views,
        "pixels_seconds_per_view": (end - middle) / views,
    }


def a4_of(image: np.ndarray, radius: float, axis_ratio: float) -> float:
    """a4 of the isophote of an upright, centred image through this semi-major axis."""
    magnitudes, middle = np.log(image), (len(image) - 1) / 2

    def brightness(x, y):
        return np.exp(map_coordinates(magnitudes, [y + middle, x + middle], order=3))

    return shapes.harmonics(shapes.trace_isophote(brightness, radius, axis_ratio))["a4"]


def smoothing_bias(particles: float) -> float:
    """Largest change of a4 by smoothing."""
    changes = []
    for name in ("ellipse", "box", "obround", "diamond"):
        for index in (1.0, 3.0):
            shape = SHAPES[name]
            light = draw_galaxy(shape, Sersic(index), size=129, radius_pix=9.0)
            smoothed = smooth(np.stack([particles * light, light]).astype(np.float32), 32.0, 4.0)
            for radius in (13.5, 22.5):
                pair = [a4_of(image, radius, shape.axis_ratio) for image in (light, smoothed)]
                changes.append(abs(pair[1] - pair[0]))
    return max(changes)


def smoothing_noise(particles: int, seed: int) -> float:
    """Particle noise beyond two half-light radii of a sphere, over that without smoothing."""
    sphere = remnant(particles, seed, (1.0, 1.0, 1.0))
    settings = ObserveSettings(views=8, psf_fwhm_pix=0.0, noise=False, pixel_values="mass")
    noise = []
    for neighbours in (0.0, 32.0):
        images = observe(sphere, replace(settings, smoothing=neighbours), seed=seed)
        scale = images.table["kpc_per_pix"][0]
        square = np.sum((np.indices((64, 64)) - 31.5) ** 2, axis=0) * scale**2
        expected = 6e10 * scale**2 / np.pi / (1 + square) ** 2
        noise.append(np.sqrt(np.mean(((images.pixels - expected) ** 2 / expected)[:, square > 4])))
    return noise[1] / noise[0]


def truth(particles: int, galaxies: int, seed: int) -> dict[str, float]:
    """How well harmonics of particles agree with those of the shape they were drawn from."""
    names, light = ("a4", "a6", "a8"), np.ones(particles, np.float32)
    bias, pulls, lost, errors = [], [], 0, []
    for number, shape in enumerate(SHAPES.values()):
        known, rng = shapes.harmonics(shape), np.random.default_rng([seed, number])
        found = [fit_particle_isophote(projected(shape, particles, rng), light) for _ in range(galaxies)]
        lost += sum(not np.isfinite(one.error) for one in found)
        found = [one for one in found if np.isfinite(one.error)]
        away = np.array([[one.terms[name] - known[name] for name in names] for one in found])
        stated = np.array([one.error for one in found])
        bias.append(away.mean(axis=0))
        errors.append(stated.mean() / np.sqrt(len(found)))
        pulls.append(away / stated[:, None])
    pulls = np.concatenate(pulls)
    return {
        "truth_bias_a4": np.abs(bias).max(axis=0)[0],
        "truth_bias_a6": np.abs(bias).max(axis=0)[1],
        "truth_bias_error": np.mean(errors),
        "truth_scatter": np.sqrt(np.mean(pulls**2)),
        "truth_coverage_68": np.mean(np.abs(pulls) < 1),
        "truth_lost": lost / (len(SHAPES) * galaxies),
    }


def main() -> None:
    parser = record.parser(__doc__, "300 views instead of 3,000", seed=1)
    parser.add_argument("--particles", type=int, default=100_000, help="stars of the remnant")
    arguments = parser.parse_args()
    views, galaxies = (300, 40) if arguments.quick else (3000, 500)
    figures = {"particles": arguments.particles, "views": views} | speed(arguments.particles, views, arguments.seed)
    print(f"{figures['images_per_second_core']:.0f} images per second from {arguments.particles} stars", flush=True)
    figures["smoothing_a4"] = smoothing_bias(arguments.particles)
    figures["smoothing_a4_1e4"] = smoothing_bias(1e4)
    figures["smoothing_noise"] = smoothing_noise(arguments.particles, arguments.seed)
    figures |= truth(arguments.particles, galaxies, arguments.seed)
    record.finish("camera", figures, arguments)


if __name__ == "__main__":
    main()
