"""The training grid of the thesis, 108 density maps, as it was and repaired.

It has 36 ovals, 36 rectangles and 36 obrounds on maps of 50 x 50 pixels, all upright and centred, with no noise other
than that of the particles (github.com/Waldorfio/galaxy-classification, new_task.py). The loop over rectangles changed
only one of the two sides, so they have six shapes, each of which occurs six times.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from emeraldcut.data.imageset import ImageSet
from emeraldcut.galaxies import shapes
from emeraldcut.galaxies.sky import draw

THESIS_LABELS = ("oval", "rectangular", "obround")  # thesis integers 1, 2, 3

_PER_CLASS = 36
_OBROUND_CAP = 0.8
_FINE = 8


@dataclass(frozen=True, eq=False)
class GridGalaxy:
    """One galaxy of the grid; lengths in units of half the map.

    Attributes
    ----------
    label : str
    shape : Shape
    semi_major : float
    position_angle_deg : float
        Counter-clockwise from +x.
    galaxy : str
        The same for maps of the same shape, so that copies stay together when a set is split by it.
    """

    label: str
    shape: shapes.Shape
    semi_major: float
    position_angle_deg: float
    galaxy: str


def thesis_grid(*, repaired: bool = False, seed: int = 0) -> list[GridGalaxy]:
    """The 108 galaxies of the training grid of the thesis, 36 of each of `THESIS_LABELS` in turn.

    Ovals have axis ratios of 0.4 to 1 and a semi-major axis of 0.8. Rectangles have half sides of 0.4, 0.44 .. 0.6
    along one axis and always 0.6 along the other. Obrounds have a half length of 0.8, a half height of 0.4 to 0.8, and
    caps that are half ellipses, 0.8 times as deep as high. If `repaired`, all classes have 6 x 6 different sizes and
    axis ratios, and each galaxy has a random position angle drawn with `seed`.

    The repository gives the numbers but not what the Fortran program did with them. That sides are half lengths in
    units of half the map, the semi-major axis of ovals, and the shape of the caps are assumptions.
    """
    if repaired:
        return _repaired_grid(np.random.default_rng(seed))
    steps = np.linspace(0, 1, _PER_CLASS)
    ovals = [shapes.ellipse(0.4 + 0.6 * step) for step in steps]
    sides = np.tile(np.linspace(0.4, 0.6, 6), 6)  # the loop over the other side had no effect
    obrounds = [_thesis_obround(0.8, 0.4 + 0.4 * step) for step in steps]
    grid = [GridGalaxy("oval", shape, 0.8, 0.0, f"oval-{k}") for k, shape in enumerate(ovals)]
    for k, side in enumerate(sides):
        shape = shapes.rectangle(side / 0.6)
        grid.append(GridGalaxy("rectangular", shape, 0.6, 90.0, f"rectangular-{k % 6}"))
    return grid + [GridGalaxy("obround", shape, 0.8, 0.0, f"obround-{k}") for k, shape in enumerate(obrounds)]


def _thesis_obround(half_length: float, half_height: float) -> shapes.Shape:
    """A rectangle with elliptical caps: a stadium of the caps' depth, stretched in height."""
    stadium = shapes.obround(_OBROUND_CAP * half_height / half_length)
    return replace(stadium, axis_ratio=half_height / half_length)


def _repaired_grid(rng: np.random.Generator) -> list[GridGalaxy]:
    makers = {"oval": shapes.ellipse, "rectangular": shapes.rectangle, "obround": shapes.obround}
    grid = []
    for label in THESIS_LABELS:
        axis_ratios = np.linspace(0.4, 0.75 if label == "obround" else 1.0, 6)  # a rounder obround is an oval
        sizes = np.linspace(0.4, 0.7, 6)  # a rotated square of half side 0.7 still fits
        for k, (axis_ratio, size) in enumerate(product(axis_ratios, sizes)):
            angle = rng.uniform(0, 180)
            grid.append(GridGalaxy(label, makers[label](axis_ratio), size, angle, f"{label}-{k}"))
    return grid


def thesis_maps(grid: list[GridGalaxy], *, particles: int | None = 100_000, size: int = 50, seed: int = 0) -> ImageSet:
    """Density maps of a grid: counts per pixel of particles that are spread evenly inside each outline.

    The uniform surface density is an assumption, as the repository does not give the profile.

    Parameters
    ----------
    grid : list of GridGalaxy
    particles : int, optional
        Number per galaxy; None gives the noise-free expectation for one particle.
    size : int
        Side of a map in pixels; the thesis has 50.
    seed : int
        Of the random numbers, which differ from map to map.

    Returns
    -------
    ImageSet
        `pixels` (n, size, size) float32; the table holds `label`, `thesis_label` (1, 2, 3), `galaxy`, `seed`,
        `truth_axis_ratio`, `truth_position_angle_deg` and `truth_radius_pix` (semi-major axis of the
        outline).
    """
    pixels = np.zeros((len(grid), size, size), np.float32)
    rows = []
    for k, galaxy in enumerate(grid):
        semi_major_pix = galaxy.semi_major * size / 2
        if particles is None:
            pixels[k] = _expected_map(galaxy, size, semi_major_pix)
        else:
            rng = np.random.default_rng([seed, k])
            pixels[k] = _particle_map(galaxy, size, semi_major_pix, particles, rng)
        rows.append(
            {
                "id": f"thesis-{k:03d}",
                "label": galaxy.label,
                "thesis_label": THESIS_LABELS.index(galaxy.label) + 1,
                "galaxy": galaxy.galaxy,
                "seed": seed,
                "truth_axis_ratio": galaxy.shape.axis_ratio,
                "truth_position_angle_deg": galaxy.position_angle_deg,
                "truth_radius_pix": semi_major_pix,
            }
        )
    return ImageSet.from_rows(pixels, rows)


def _expected_map(galaxy: GridGalaxy, size: int, semi_major_pix: float) -> np.ndarray:
    """The fraction of the outline's area in each pixel, from finer pixels because the edge is sharp."""
    density = 1 / float(galaxy.shape.enclosed_area(1.0))
    fine = draw(
        lambda x, y: np.where(galaxy.shape.radius(x, y) < 1, density, 0.0),
        size * _FINE,
        position_angle_deg=galaxy.position_angle_deg,
        radius_pix=semi_major_pix * _FINE,
    )
    return fine.reshape(size, _FINE, size, _FINE).sum(axis=(1, 3))


def _particle_map(
    galaxy: GridGalaxy, size: int, semi_major_pix: float, particles: int, rng: np.random.Generator
) -> np.ndarray:
    """Counts of `particles` points; points of a box around the outline are drawn until enough fall inside."""
    corner = np.abs(galaxy.shape.outline()).max(axis=0)
    inside = np.empty((0, 2))
    while len(inside) < particles:
        trial = rng.uniform(-corner, corner, (2 * particles, 2))
        inside = np.concatenate([inside, trial[galaxy.shape.radius(trial[:, 0], trial[:, 1]) < 1]])
    x, y = inside[:particles].T * semi_major_pix
    angle = np.radians(galaxy.position_angle_deg)
    column, row = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    edges = np.arange(size + 1) - size / 2
    return np.histogram2d(row, column, bins=(edges, edges))[0]
