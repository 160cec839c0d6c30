"""Pictures of a merger: its stars and gas at chosen times, its remnant from three sides, and all of it as a movie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import numbers
from emeraldcut.nbody import Snapshot, read_snapshot
from emeraldcut.nbody.centre import centre_of
from emeraldcut.nbody.snapshot import COMPONENTS
from emeraldcut.report.figures.style import new_figure, save_figure

SIDE_PIX = 160  # of a panel
BLURRED_PIX = 1.2  # standard deviation of the blur of particles
DECADES = 3.5  # of surface density from black to white, below the densest
MOST_EPOCHS = 5
HOLDS = 0.9  # of the stars within the field of the first and later epochs
REMNANT_RADII = 4.0  # half-mass radii from the middle of the remnant to the edge
FRAME_MS = 90  # of the movie
MOST_FRAMES = 120
GAS, STARS = COMPONENTS.index("gas"), "stars"
MAPS = {STARS: "magma", "gas": "viridis"}


def epochs(times: np.ndarray, apart: np.ndarray, merged_gyr: float) -> list[tuple[int, str]]:
    """Which of the snapshots at `times` (n,) Gyr are shown, and what they are: at most `MOST_EPOCHS`, in order.

    Parameters
    ----------
    times, apart : (n,) float
        Separation of the galaxies in kpc; NaN for one that is alone.
    merged_gyr : float
        NaN if they have not coalesced.
    """
    last = len(times) - 1
    found = {0: "start", last: "end"}
    known = np.flatnonzero(np.isfinite(apart))
    if len(known) > 2:
        inner = apart[known]
        turns = 1 + np.flatnonzero((inner[1:-1] < inner[:-2]) & (inner[1:-1] <= inner[2:]))
        if len(turns):
            first = int(turns[0])
            found.setdefault(int(known[first]), "first passage")
            after = inner[first:]
            far = first + int(np.argmax(after))
            if far - first > 0 and far < len(inner) - 1:
                found.setdefault(int(known[far]), "furthest apart again")
    if np.isfinite(merged_gyr):
        found.setdefault(int(np.argmin(np.abs(times - merged_gyr))), "coalescence")
    for k in np.linspace(0, last, MOST_EPOCHS).astype(int).tolist():
        if len(found) < min(MOST_EPOCHS, len(times)) and min(abs(k - other) for other in found) > last // 8:
            found.setdefault(k, "")
    return sorted(found.items())[: MOST_EPOCHS + 1]


def merger_figure(files: Sequence[Path], rows: Table, merged_gyr: float, path: str | Path) -> Path:
    """Draws the stars, and the gas if there is any, of a merger at its epochs, and its remnant from three sides.

    Epochs are seen along the angular momentum of the stars at the start, remnants along their principal axes: from the
    short one (face-on) to the long one. Densities are logarithmic, over 3.5 decades.

    Parameters
    ----------
    files : the snapshots, in the order of time
    rows : the diagnostics, one row a snapshot
    merged_gyr : NaN if the galaxies have not coalesced
    path : of the picture to write
    """
    times, apart = (numbers(rows[name])[: len(files)] for name in ("time_gyr", "separation_kpc"))
    chosen = epochs(times, apart, merged_gyr)
    read = {k: read_snapshot(files[k]) for k, _ in chosen}
    axes, half = _plane(read[0]), max(_extent(snapshot) for snapshot in read.values())
    kinds = [STARS, "gas"] if any((one.component == GAS).any() for one in read.values()) else [STARS]
    sides = _sides(read[chosen[-1][0]])
    columns = max(len(chosen), 3)
    figure = new_figure(1.75 * columns, 1.95 * (len(kinds) + 1) + 0.2)
    panels = figure.subplots(len(kinds) + 1, columns, squeeze=False)
    figure.subplots_adjust(left=0.035, right=0.995, bottom=0.01, top=0.95, wspace=0.04, hspace=0.18)
    for panel in panels.ravel():
        panel.set_axis_off()
    for row, kind in enumerate(kinds):
        for panel, (k, name) in zip(panels[row], chosen, strict=False):
            _draw(panel, _density(read[k], kind, axes, _middle(read[k]), half), kind)
            if row == 0:
                panel.set_title(f"{name}\n{times[k]:.2f} Gyr" if name else f"{times[k]:.2f} Gyr", fontsize=8)
            _bar(panel, half, first=k == chosen[0][0])
        _name(panels[row][0], kind)
    if sides is not None:
        turned, middle, radius = sides
        views = zip(panels[-1], ((0, 1), (0, 2), (1, 2)), ("short", "middle", "long"), strict=False)
        for panel, (a, b), name in views:
            _draw(panel, _density(read[chosen[-1][0]], STARS, turned[:, [a, b]], middle, radius), STARS)
            panel.set_title(f"from its {name} axis", fontsize=8)
            _bar(panel, radius, first=name == "short")
        _name(panels[-1][0], "remnant" if np.isfinite(merged_gyr) else "at the end")
    return save_figure(figure, path)


def movie(files: Sequence[Path], path: Path) -> Path:
    """Writes the stars, and the gas beside them, of all snapshots as an animated WebP, with the time in Gyr."""
    from matplotlib import colormaps
    from PIL import Image, ImageDraw

    chosen = np.unique(np.linspace(0, len(files) - 1, min(len(files), MOST_FRAMES)).astype(int))
    first, last = (read_snapshot(files[k]) for k in (0, -1))
    axes, half = _plane(first), max(_extent(first), _extent(last))
    kinds = [STARS, "gas"] if (first.component == GAS).any() else [STARS]
    frames = []
    for k in chosen:
        snapshot = read_snapshot(files[k])
        middle = _middle(snapshot)
        seen = [colormaps[MAPS[kind]](_density(snapshot, kind, axes, middle, half)[::-1], bytes=True)[..., :3]
                for kind in kinds]  # fmt: skip
        frame = Image.fromarray(np.concatenate(seen, axis=1)).resize((2 * SIDE_PIX * len(kinds), 2 * SIDE_PIX))
        ImageDraw.Draw(frame).text((8, 6), f"{snapshot.time_gyr:.2f} Gyr", fill="white")
        frames.append(frame)
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, quality=70)
    return path


# --- what is seen, and from where


def _plane(snapshot: Snapshot) -> np.ndarray:
    """Two unit vectors in columns (3, 2), at right angles to the angular momentum of the stars."""
    chosen = _visible(snapshot)
    mass = snapshot.mass[chosen].astype(float)[:, None]
    position, velocity = (np.asarray(v[chosen], float) for v in (snapshot.position, snapshot.velocity))
    about = position - (mass * position).sum(axis=0) / mass.sum()
    spin = (mass * np.cross(about, velocity - (mass * velocity).sum(axis=0) / mass.sum())).sum(axis=0)
    length = np.linalg.norm(spin)
    normal = spin / length if length > 0 else np.array([0.0, 0.0, 1.0])
    helper = np.eye(3)[int(np.argmin(np.abs(normal)))]
    first = np.cross(helper, normal)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(normal, first)], axis=1)


def _sides(snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Principal axes in columns (3, 3), the longest first, the middle, and the half side of a field in kpc."""
    chosen = _visible(snapshot)
    position, mass = np.asarray(snapshot.position[chosen], float), np.asarray(snapshot.mass[chosen], float)
    middle = centre_of(position, mass)
    about = position - middle
    distance = np.linalg.norm(about, axis=1)
    half_mass = float(np.median(distance))
    near = distance < 2 * half_mass
    if half_mass <= 0 or near.sum() < 3:
        return None
    values, vectors = np.linalg.eigh((about[near] * mass[near, None]).T @ about[near])
    return vectors[:, np.argsort(-values)], middle, REMNANT_RADII * half_mass


def _visible(snapshot: Snapshot) -> np.ndarray:
    """The stars, or all particles where there are none."""
    return snapshot.stars if snapshot.stars.any() else np.ones(len(snapshot), dtype=bool)


def _middle(snapshot: Snapshot) -> np.ndarray:
    """Centre of mass (3,) of the stars."""
    chosen = _visible(snapshot)
    return np.average(np.asarray(snapshot.position[chosen], float), axis=0, weights=snapshot.mass[chosen])


def _extent(snapshot: Snapshot) -> float:
    """Distance from the middle in kpc within which most stars are."""
    distance = np.linalg.norm(snapshot.position[_visible(snapshot)] - _middle(snapshot), axis=1)
    return max(1.3 * float(np.quantile(distance, HOLDS)), 1e-3)


def _density(snapshot: Snapshot, kind: str, axes: np.ndarray, middle: np.ndarray, half: float) -> np.ndarray:
    """The surface density of stars or gas (n, n) between 0 and 1, logarithmic, in a field of `half` kpc a side."""
    from scipy.ndimage import gaussian_filter

    chosen = snapshot.component == GAS if kind == "gas" else _visible(snapshot)
    seen = (np.asarray(snapshot.position[chosen], float) - middle) @ axes
    light = np.histogram2d(seen[:, 1], seen[:, 0], bins=SIDE_PIX, range=[[-half, half]] * 2,
                           weights=np.asarray(snapshot.mass[chosen], float))[0]  # fmt: skip
    light = gaussian_filter(light, BLURRED_PIX)
    if not light.max() > 0:
        return np.zeros_like(light)
    return np.clip(1 + np.log10(np.maximum(light / light.max(), 1e-30)) / DECADES, 0, 1)


# --- drawing


def _draw(panel, values: np.ndarray, kind: str) -> None:
    panel.imshow(values, cmap=MAPS[kind], origin="lower", vmin=0, vmax=1, interpolation="nearest")


def _name(panel, text: str) -> None:
    panel.text(-0.03, 0.5, text, transform=panel.transAxes, rotation=90, ha="right", va="center", fontsize=9)


def _bar(panel, half: float, first: bool) -> None:
    """A scale bar in the first panel of a row."""
    if not first:
        return
    decade = 10.0 ** np.floor(np.log10(half / 2))
    length = float(max(step for step in (1, 2, 5) if step * decade <= half / 2) * decade)
    pixels = length / (2 * half) * SIDE_PIX
    panel.plot([8, 8 + pixels], [10, 10], color="white", linewidth=1.6)
    panel.text(8, 15, f"{length:g} kpc", color="white", fontsize=7)
