"""Remnants judged by their particles: from how many directions each is boxy, and what the test would have found.

The verdict rests on a4 over a range of radii and on solid angle. A view is boxy if a4/a is at most -0.04 at 1.5, 2 and
2.5 half-light semi-major axes; a remnant is described by the fraction of all directions from which it is boxy. a6 is
free, since that of LEDA 074886 is not published, and no maximum over views is used, since noise alone raises it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from emeraldcut.camera.camera import PROJECTED_HALF_LIGHT, judge
from emeraldcut.camera.particle_isophote import fit_particle_isophote
from emeraldcut.camera.remnant_shape import (
    BOX_RADII,
    DIRECTIONS,
    Body,
    Views,
    body_of,
    even_directions,
    families,
    view_remnant,
)
from emeraldcut.galaxies.shapes import Shape, ellipse, superellipse
from emeraldcut.nbody import Snapshot
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.snapshot import GRAVITY, KPC_PER_KM_S_GYR

# Exponents of the generalised ellipses of axis ratio 0.7 that the test is tried on: a4/a of -0.057 and -0.086, near the
# ends of what is published for LEDA 074886, -0.05 to -0.08 (Graham et al. 2012, ApJ 750, 121).
EXPONENTS = (3.0, 4.0)
AXIS_RATIO = 0.7
TRIALS = 64  # views of each known shape for each remnant
LEAST_POWER = 0.8  # below which nothing is concluded from what was not found
LOW = 0.1  # quantile of a4 over directions: what the boxiest tenth of all views reach


def period_gyr(snapshot: Snapshot) -> float:
    """Circular orbital period at the largest radius that is judged, 2.5 half-light radii of a typical view.

    Of the mass of all particles inside, as if it were a sphere.
    """
    stars = snapshot.stars
    position, mass = np.asarray(snapshot.position, float), np.asarray(snapshot.mass, float)
    radius = np.linalg.norm(position - centre_of(position[stars], mass[stars]), axis=1)
    order = np.argsort(radius[stars])
    enclosed = np.cumsum(mass[stars][order])
    half = radius[stars][order][np.searchsorted(enclosed, enclosed[-1] / 2)]
    r = max(BOX_RADII) * PROJECTED_HALF_LIGHT * half
    speed = np.sqrt(GRAVITY * mass[radius < r].sum() / r)
    return float(2 * np.pi * r / speed / KPC_PER_KM_S_GYR)


def judge_remnant(snapshots: Sequence[Snapshot], early: Sequence[Snapshot], *, seed: int = 0) -> dict[str, Any]:
    """What a remnant shows from all sides, and what the same test says of known shapes with the same stars.

    Parameters
    ----------
    snapshots : sequence of Snapshot
        Of one run, which are judged together.
    early : sequence of Snapshot
        Earlier ones, to see whether the remnant still changes; may be empty.
    seed : int
        Of the known shapes.

    Returns
    -------
    dict
        - `stars`, their number in one snapshot; `snapshots`, how many are judged together; `independent_snapshots`, to
          how many independent ones these amount, see `independent_number`
        - `boxy_fraction`: of the directions from which it is boxy (`remnant_shape.Views.boxy`)
        - `a4_RADIUS`, `a4_low_RADIUS`, `a4_err_RADIUS`: median and 10 % quantile over directions of a4/a, and its
          median standard error, at half-light semi-major axes of 0.5 to 2.5
        - `boxy_fraction_early`, `a4_early`, `a4_late`: the fraction before, and the mean of a4 over the judged radii
          and the directions, before and at the end; NaN where there are no earlier snapshots
        - `nodes_host`, `nodes_companion`, `inclination_spread_deg`: see `remnant_shape.families`
        - what the test says of known shapes, see `powers`
    """
    bodies = [body_of(one) for one in snapshots]
    directions = even_directions(DIRECTIONS)
    views = view_remnant(bodies, directions)
    each = [view_remnant([body], directions, BOX_RADII) for body in bodies]
    row: dict[str, Any] = {"stars": len(bodies[-1].mass), "snapshots": len(bodies)}
    row["independent_snapshots"] = independent_number(each)
    row["boxy_fraction"] = float(views.boxy().mean())
    for j, radius in enumerate(views.radii):
        a4, error = views.a4[:, j], views.error[:, j]
        known = np.isfinite(a4).any()
        row[f"a4_{radius:g}"] = float(np.nanmedian(a4)) if known else np.nan
        row[f"a4_low_{radius:g}"] = float(np.nanquantile(a4, LOW)) if known else np.nan
        row[f"a4_err_{radius:g}"] = float(np.nanmedian(error)) if known else np.nan
    before = view_remnant([body_of(one) for one in early], directions, BOX_RADII) if len(early) else None
    row["boxy_fraction_early"] = float(before.boxy().mean()) if before else np.nan
    row["a4_early"] = _mean_a4(before) if before else np.nan
    row["a4_late"] = _mean_a4(views)
    with np.errstate(invalid="ignore"):  # stars at rest have no orbits, and NaN for their nodes
        found = families(bodies[-1])
    row |= {name: found[name] for name in ("nodes_host", "nodes_companion", "inclination_spread_deg")}
    return row | powers(bodies, row["independent_snapshots"], seed=seed)


def _mean_a4(views: Views) -> float:
    """Mean over directions and the judged radii."""
    a4 = views.a4[:, [views.radii.index(radius) for radius in BOX_RADII]]
    return float(np.nanmean(a4)) if np.isfinite(a4).any() else np.nan


def independent_number(each: Sequence[Views]) -> float:
    """How many independent snapshots would have the noise that these, of one remnant, have together.

    Stars move little between outputs, so that the noise of one snapshot is in the next one too. Its correlation r
    between any two is 1 minus the variance of a4 among the snapshots over that from the number of stars, and the noise
    of the mean of k is that of k / (1 + (k - 1) r) independent ones.
    """
    k = len(each)
    if k < 2:
        return float(k)
    a4, error = np.stack([one.a4 for one in each]), np.stack([one.error for one in each])
    known = np.isfinite(a4).all(axis=0)
    if not known.any():
        return 1.0
    varied = np.mean(np.var(a4, axis=0, ddof=1)[known]) / np.mean(np.mean(error**2, axis=0)[known])
    return float(k / (1 + (k - 1) * np.clip(1 - varied, 0.0, 1.0)))


def powers(bodies: Sequence[Body], independent: float, *, seed: int = 0) -> dict[str, float]:
    """How the test judges known shapes, drawn as particles with the numbers and the profile of a remnant's stars.

    The radii are those that the stars of the last body have on the sky, from a direction drawn for each; they become
    the semi-major axes of the outlines on which as many particles are drawn, as often as there are independent
    snapshots.

    Returns
    -------
    dict
        - `power_EXPONENT`: fraction of `TRIALS` views of a generalised ellipse of that exponent, and axis ratio 0.7,
          that are found boxy; `power`, that of the weakest
        - `false_boxy`: the same of an ellipse
        - `power_rectangular`, `power_sure`, `false_rectangular`: fraction of the weakest box, in one snapshot, whose
          outline at 1.5 half-light semi-major axes is closest to a rectangle, and clearly one (`camera.judge`), and of
          the ellipse that is closest to a rectangle
    """
    body, rng = bodies[-1], np.random.default_rng([seed, 7])
    number = max(round(independent * len(body.mass)), 1)
    found: dict[str, float] = {}
    for exponent in EXPONENTS:
        found[f"power_{exponent:g}"] = _found_boxy(body, superellipse(AXIS_RATIO, exponent), number, rng)
    found["power"] = found[f"power_{min(EXPONENTS):g}"]
    found["false_boxy"] = _found_boxy(body, ellipse(AXIS_RATIO), number, rng)
    box, oval = superellipse(AXIS_RATIO, min(EXPONENTS)), ellipse(AXIS_RATIO)
    labels = {shape.name: [_labelled(body, shape, rng) for _ in range(TRIALS)] for shape in (box, oval)}
    of_box, of_oval = labels[box.name], labels[oval.name]
    found["power_rectangular"] = float(np.mean([name == "rectangular" for name, _ in of_box]))
    found["power_sure"] = float(np.mean([name == "rectangular" and sure for name, sure in of_box]))
    found["false_rectangular"] = float(np.mean([name == "rectangular" for name, _ in of_oval]))
    return found


def drawn_as(body: Body, shape: Shape, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions on the sky (2, number) and light (number,) of particles whose isophotes all have an outline.

    Semi-major axes are the radii on the sky of stars of the body, drawn with replacement with their masses; an outline
    is evenly filled where it is hit with the square of its radius.
    """
    chosen = rng.integers(len(body.mass), size=number)
    up = rng.uniform(-1, 1, number)  # cosine between the line of sight and the star's position
    radius = np.linalg.norm(body.position[chosen], axis=1) * np.sqrt(1 - up**2)
    psi = 2 * np.pi * np.arange(len(shape.rho)) / len(shape.rho)
    area = np.concatenate([[0.0], np.cumsum(shape.rho**2)])
    step = 2 * np.pi / len(shape.rho)
    angle = np.interp(rng.random(number), area / area[-1], step * (np.arange(len(area)) - 0.5))
    rho = radius * np.interp(angle, psi, shape.rho, period=2 * np.pi)
    seen = np.stack([rho * np.cos(angle), shape.axis_ratio * rho * np.sin(angle)])
    return seen.astype(np.float32), (body.mass[chosen] / body.mass.mean()).astype(np.float32)


def _found_boxy(body: Body, shape: Shape, number: int, rng: np.random.Generator) -> float:
    """The fraction of views of a shape that the test finds boxy."""
    a4, a6, q, error = np.empty((4, TRIALS, len(BOX_RADII)))
    half = np.empty(TRIALS)
    for k in range(TRIALS):
        seen, light = drawn_as(body, shape, number, rng)
        for j, radius in enumerate(BOX_RADII):
            fit = fit_particle_isophote(seen, light, radius)
            a4[k, j], a6[k, j], q[k, j], error[k, j] = fit.terms["a4"], fit.terms["a6"], fit.axis_ratio, fit.error
        half[k] = fit.radius
    views = Views(np.tile([0.0, 0.0, 1.0], (TRIALS, 1)), BOX_RADII, a4, a6, q, error, half)
    return float(views.boxy().mean())


def _labelled(body: Body, shape: Shape, rng: np.random.Generator) -> tuple[str, bool]:
    """The class of the outline of a shape, with the stars of one snapshot, and whether it is clear."""
    fit = fit_particle_isophote(*drawn_as(body, shape, len(body.mass), rng))
    return judge(fit) if np.isfinite(fit.error) else ("other", False)
