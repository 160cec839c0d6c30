"""Objects of the class `other`: discs, spirals, bars, rings, pairs, irregulars, shells, stars and artefacts.

Each kind of galaxy is a function that draws its parameters from a random generator and returns a `Confuser`: its light
in a frame whose unit is about the half-light radius. Stars and artefacts are not imaged as galaxies are and are drawn
on pixels. All light is positive, and its total is arbitrary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from emeraldcut.galaxies.profiles import Body, EdgeOnDisc, Sersic, Sum
from emeraldcut.galaxies.shapes import ellipse, superellipse
from emeraldcut.galaxies.sky import Psf, cosmic_rays, draw_star, hot_columns, satellite_trail


@dataclass(frozen=True)
class Confuser:
    """Surface brightness of an object of the class `other`, with its kind and the parameters drawn for it."""

    kind: str
    brightness: Callable
    parameters: Mapping[str, float]


def _bulge(rng: np.random.Generator, radius: float) -> Body:
    return Body(ellipse(rng.uniform(0.7, 1)), Sersic(rng.uniform(1, 3)), radius)


def _turned(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in axes turned counter-clockwise by `angle` (radians)."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def edge_on_disc(rng: np.random.Generator) -> Confuser:
    """An edge-on disc with a bulge, and with a dust lane in two of five cases."""
    length, flatness, bulge_fraction = rng.uniform(0.5, 0.8), rng.uniform(0.12, 0.28), rng.uniform(0.03, 0.45)
    disc = EdgeOnDisc(length, length * flatness)
    bulge = _bulge(rng, rng.uniform(0.15, 0.35))
    dust = rng.uniform(0.3, 0.8) if rng.random() < 0.4 else 0.0
    offset = rng.normal(0, 0.3) * length * flatness
    stars = Sum((disc, bulge), (1 - bulge_fraction, bulge_fraction))

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        lane = np.exp(-(((y - offset) / (0.4 * length * flatness)) ** 2) - (x / (2.5 * length)) ** 2)
        return stars(x, y) * (1 - dust * lane)

    parameters = {"flatness": flatness, "bulge_fraction": bulge_fraction, "dust": dust}
    return Confuser("edge_on_disc", brightness, parameters)


def spiral(rng: np.random.Generator, contrasts: tuple[float, float] = (0.6, 1)) -> Confuser:
    """An inclined disc with 2 to 4 logarithmic arms and a bulge."""
    arms, pitch, contrast = int(rng.integers(2, 5)), np.radians(rng.uniform(12, 28)), rng.uniform(*contrasts)
    inclination, bulge_fraction, turn = rng.uniform(0.4, 1), rng.uniform(0.03, 0.25), rng.uniform(0, 2 * np.pi)
    sense, bulge = rng.choice([-1, 1]), _bulge(rng, rng.uniform(0.1, 0.25))

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r, theta = np.hypot(x, y / inclination), np.arctan2(y / inclination, x)
        phase = arms * (sense * theta - np.log(np.maximum(r, 0.05)) / np.tan(pitch)) + turn
        crest = np.exp(2 * (np.cos(phase) - 1)) * 3.2  # mean about 1: narrow arms, wide gaps
        strength = contrast * r**2 / (r**2 + 0.15)
        disc = np.exp(-1.5 * r) * (1 - strength + strength * crest) * 0.36 / inclination
        return (1 - bulge_fraction) * disc + bulge_fraction * bulge(x, y)

    parameters = {"arms": arms, "pitch_deg": np.degrees(pitch), "contrast": contrast}
    return Confuser("spiral", brightness, parameters)


def faint_spiral(rng: np.random.Generator) -> Confuser:
    """A spiral whose arms have little contrast, as in most spirals."""
    return replace(spiral(rng, (0.2, 0.6)), kind="faint_spiral")


def dusty(rng: np.random.Generator) -> Confuser:
    """An elliptical galaxy with a lane of dust near its middle, at any angle."""
    flatness, turn = rng.uniform(0.5, 1), rng.uniform(0, np.pi)
    depth, width, offset, bend = rng.uniform(0.3, 0.9), rng.uniform(0.05, 0.2), rng.normal(0, 0.15), rng.normal(0, 0.3)
    body = Body(ellipse(flatness), Sersic(rng.uniform(0.8, 3)))

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along, across = _turned(x, y, turn)
        lane = np.exp(-(((across - offset - bend * along**2) / width) ** 2) - (along / 1.5) ** 2)
        return body(x, y) * (1 - depth * lane)

    return Confuser("dusty", brightness, {"depth": depth, "width": width})


def barred(rng: np.random.Generator) -> Confuser:
    """An inclined disc with a bar, which is boxy as real bars are, and a small bulge."""
    inclination, turn = rng.uniform(0.5, 1), rng.uniform(0, np.pi)
    length, bar_fraction, exponent = rng.uniform(0.7, 1.2), rng.uniform(0.2, 0.45), rng.uniform(2, 4)
    bar = superellipse(rng.uniform(0.2, 0.35), exponent)
    bulge, bulge_fraction = _bulge(rng, 0.15), rng.uniform(0.05, 0.2)
    disc = Body(ellipse(inclination), Sersic(1.0), 1.2)
    size = float(bar.enclosed_area(length)) / 2  # integral of 1 - s^2 over the bar

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        ferrers = np.maximum(1 - (bar.radius(*_turned(x, y, turn)) / length) ** 2, 0) / size
        return bar_fraction * ferrers + bulge_fraction * bulge(x, y) + (1 - bar_fraction - bulge_fraction) * disc(x, y)

    return Confuser("barred", brightness, {"bar_fraction": bar_fraction, "bar_exponent": exponent})


def ring(rng: np.random.Generator) -> Confuser:
    """An inclined ring, centred or not, around a nucleus, on a faint disc."""
    inclination, width, fraction = rng.uniform(0.4, 1), rng.uniform(0.1, 0.25), rng.uniform(0.4, 0.8)
    offset, clumps, turn = rng.normal(0, 0.12, 2), rng.uniform(0, 0.5), rng.uniform(0, 2 * np.pi)
    inner = Sum((_bulge(rng, rng.uniform(0.2, 0.35)), Body(ellipse(inclination), Sersic(1.0))), (0.6, 0.4))

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx, dy = x - offset[0], (y - offset[1]) / inclination
        band = np.exp(-0.5 * ((np.hypot(dx, dy) - 1) / width) ** 2) / (15.7 * width * inclination)
        return fraction * band * (1 + clumps * np.cos(np.arctan2(dy, dx) - turn)) + (1 - fraction) * inner(x, y)

    return Confuser("ring", brightness, {"ring_fraction": fraction, "width": width})


def close_pair(rng: np.random.Generator) -> Confuser:
    """Two elliptical galaxies of similar light whose images overlap."""
    separation, fraction, turn = rng.uniform(0.9, 2.2), rng.uniform(0.25, 0.6), rng.uniform(0, np.pi)
    shapes, profiles = rng.uniform(0.4, 1, 2), rng.uniform(0.7, 2.5, 2)
    sizes = rng.uniform(0.4, 0.8, 2)
    pair = [Body(ellipse(shapes[k]), Sersic(profiles[k]), sizes[k]) for k in range(2)]
    angles, where = rng.uniform(0, np.pi, 2), separation * np.array([-fraction, 1 - fraction])

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along, across = _turned(x, y, turn)
        first = pair[0](*_turned(along - where[0], across, angles[0]))
        return (1 - fraction) * first + fraction * pair[1](*_turned(along - where[1], across, angles[1]))

    return Confuser("close_pair", brightness, {"separation": separation, "fraction": fraction})


def irregular(rng: np.random.Generator) -> Confuser:
    """Star-forming clumps scattered over a faint, off-centre body."""
    number = int(rng.integers(4, 15))
    flatness, smooth = rng.uniform(0.4, 1), rng.uniform(0.2, 0.6)
    places = rng.normal(0, 0.6, (number, 2)) * [1, flatness]
    widths, fractions = rng.uniform(0.12, 0.4, number), rng.exponential(1, number)
    fractions *= (1 - smooth) / fractions.sum()
    body, offset = Body(ellipse(flatness), Sersic(0.8)), rng.normal(0, 0.2, 2)

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        light = smooth * body(x - offset[0], y - offset[1])
        for (x0, y0), width, fraction in zip(places, widths, fractions, strict=True):
            blob = np.exp(-0.5 * (x - x0) ** 2 / width**2) * np.exp(-0.5 * (y - y0) ** 2 / width**2)
            light = light + fraction / (2 * np.pi * width**2) * blob
        return light

    return Confuser("irregular", brightness, {"clumps": number, "smooth_fraction": smooth})


def tidal_tails(rng: np.random.Generator) -> Confuser:
    """A galaxy with one or two curved tails."""
    tails, fraction, curl = int(rng.integers(1, 3)), rng.uniform(0.25, 0.5), rng.uniform(0.3, 1.0)
    width, length, sense = rng.uniform(0.15, 0.3), rng.uniform(1.0, 1.8), rng.choice([-1, 1])
    body = Body(ellipse(rng.uniform(0.5, 1)), Sersic(rng.uniform(1, 3)), 0.6)

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        r, theta = np.hypot(x, y), np.arctan2(y, x)
        light = (1 - fraction) * body(x, y)
        for start in np.pi * np.arange(tails):
            swing = sense * theta - start - curl * r
            away = r * np.abs((swing + np.pi) % (2 * np.pi) - np.pi)
            along = np.exp(-r / length) * r / (r + 0.7)
            light = light + fraction / tails * 0.2 / width * along * np.exp(-0.5 * (away / width) ** 2)
        return light

    return Confuser("tidal_tails", brightness, {"tails": tails, "tail_fraction": fraction, "curl": curl})


def shells(rng: np.random.Generator) -> Confuser:
    """An elliptical galaxy with 2 to 4 sharp-edged shells on alternating sides of its major axis."""
    number, strength = int(rng.integers(2, 5)), rng.uniform(0.6, 1.5)
    flatness, opening = rng.uniform(0.6, 0.9), rng.uniform(0.5, 1.0)
    edges = np.sort(rng.uniform(0.9, 2.6, number))
    body = Body(ellipse(flatness), Sersic(rng.uniform(1.5, 3)), 0.8)

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        light = body(x, y)
        r, side = np.hypot(x, y), 1
        for edge in edges:
            angle = np.arctan2(y, side * x)
            inside = np.where(r < edge, np.exp((r - edge) / 0.25), 0)
            wedge = np.exp(-0.5 * (angle / opening) ** 4)
            light = light + strength * body(np.array(edge), np.array(0.0)) * inside * wedge
            side = -side
        return light

    return Confuser("shells", brightness, {"shells": number, "strength": strength})


def peanut(rng: np.random.Generator) -> Confuser:
    """An edge-on disc whose bulge is an X or a peanut: two crossed bars of light around a round core."""
    length, flatness, fraction = rng.uniform(0.6, 0.9), rng.uniform(0.1, 0.18), rng.uniform(0.35, 0.6)
    tilt, arm_fraction = np.radians(rng.uniform(22, 40)), rng.uniform(0.5, 0.8)
    disc = EdgeOnDisc(length, length * flatness)
    arm = Body(ellipse(rng.uniform(0.3, 0.45)), Sersic(rng.uniform(0.4, 0.8)), rng.uniform(0.4, 0.6))
    core = Body(ellipse(rng.uniform(0.6, 0.8)), Sersic(1.0), 0.3)

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        arms = (arm(*_turned(x, y, tilt)) + arm(*_turned(x, y, -tilt))) / 2
        return fraction * (arm_fraction * arms + (1 - arm_fraction) * core(x, y)) + (1 - fraction) * disc(x, y)

    parameters = {"bulge_fraction": fraction, "tilt_deg": np.degrees(tilt), "arm_fraction": arm_fraction}
    return Confuser("peanut", brightness, parameters)


SKY = (edge_on_disc, spiral, barred, ring, close_pair, irregular, tidal_tails, shells, peanut)


def star(size: int, centre: tuple[float, float], psf: Psf, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """An image (size, size) of a star, and its parameters; half of them are saturated, with spikes and bleeding."""
    image = draw_star(psf, size, centre)
    saturated = rng.random() < 0.5
    spikes, turn = rng.uniform(0.01, 0.05), rng.uniform(0, np.pi / 2)
    if saturated:
        dx, dy = np.arange(size) - centre[0], (np.arange(size) - centre[1])[:, None]
        for angle in (turn, turn + np.pi / 2):
            along, across = _turned(dx, dy, angle)
            fall = np.exp(-np.abs(along) / (size / 8)) * np.exp(-0.5 * (across / (0.5 * psf.fwhm_pix)) ** 2)
            image += spikes * image.max() * fall
        level = image.max() * rng.uniform(0.03, 0.3)
        image = np.minimum(image, level)
        column, reach = round(centre[0]), rng.uniform(1, 4) * psf.fwhm_pix
        image[np.abs(np.arange(size) - centre[1]) < reach, column] = level
    return image, {"saturated": float(saturated), "spikes": spikes * saturated}


def artefact(size: int, psf: Psf, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """An image (size, size) of a satellite trail, of cosmic rays or of hot columns, and its parameters."""
    form = int(rng.integers(3))
    if form == 0:
        image = satellite_trail(size, psf, rng=rng)
    elif form == 1:
        image = cosmic_rays(size, int(rng.integers(3, 12)), rng=rng)
    else:
        image = hot_columns(size, int(rng.integers(1, 4)), rng=rng)
    return image, {"form": form}


@dataclass(frozen=True)
class BrightStar:
    """How a star is imaged that saturates the detector.

    Attributes
    ----------
    radius_pix : float
        Of the saturated disc.
    spikes : int
        Number of diffraction spikes: twice the number of the vanes that hold the secondary mirror; 0 for none.
    spike_light : float
        Light of all spikes over that of the PSF.
    spike_reach : float
        Radius at which a spike ends, in radii of the saturated disc.
    turn : float
        Angle of the first spike, radians from +x.
    aureole : float
        Fraction of the light in the aureole that scattering in the air and in the telescope adds.
    slope : float
        The aureole falls as this power of the radius, about -2 (King 1971, PASP 83, 199).
    bleed_reach : float
        How far charge runs along the columns, in radii of the saturated disc; 0 for not at all.
    bleed_along_x : bool
        Whether it runs along the rows instead.
    ghost : float
        Brightness of the out-of-focus reflection over the saturation level; 0 for none.
    """

    radius_pix: float
    spikes: int = 4
    spike_light: float = 0.02
    spike_reach: float = 4.0
    turn: float = 0.0
    aureole: float = 0.03
    slope: float = -2.0
    bleed_reach: float = 0.0
    bleed_along_x: bool = False
    ghost: float = 0.0

    @classmethod
    def drawn(cls, rng: np.random.Generator, largest_pix: float) -> BrightStar:
        """A star whose saturated disc has a radius of 2 to `largest_pix` pixels."""
        return cls(
            radius_pix=_log_uniform(rng, 2.0, max(largest_pix, 2.5)),
            spikes=int(rng.choice([0, 4, 4, 4, 6, 8])),
            spike_light=_log_uniform(rng, 0.003, 0.1),
            spike_reach=rng.uniform(1.5, 8.0),
            turn=rng.choice([0.0, np.pi / 4]) if rng.random() < 0.4 else rng.uniform(0, np.pi / 2),
            aureole=_log_uniform(rng, 0.005, 0.2),
            slope=rng.uniform(-3.0, -1.8),
            bleed_reach=rng.uniform(1.1, 5.0) if rng.random() < 0.4 else 0.0,
            bleed_along_x=bool(rng.random() < 0.25),
            ghost=_log_uniform(rng, 0.005, 0.1) if rng.random() < 0.15 else 0.0,
        )


def bright_star(
    size: int, centre: tuple[float, float], psf: Psf, star: BrightStar, rng: np.random.Generator
) -> np.ndarray:
    """An image (size, size) of a saturated star whose saturation level is 1."""
    dx, dy = np.arange(size) - centre[0], (np.arange(size) - centre[1])[:, None]
    radius = np.hypot(dx, dy)
    core = draw_star(psf, size, centre)
    scale = 0.5 * psf.fwhm_pix
    halo = (1 + (radius / (2 * psf.fwhm_pix)) ** 2) ** (star.slope / 2)
    light = (1 - star.aureole) * core + star.aureole * halo / halo.sum()
    reach = max(star.spike_reach * star.radius_pix, 2 * psf.fwhm_pix)
    for k in range(star.spikes // 2):
        along, across = _turned(dx, dy, star.turn + 2 * np.pi * k / star.spikes)
        width = scale * rng.uniform(0.5, 1.0)
        # diffraction by a straight edge falls as 1/r^2 along the spike
        fall = np.exp(-np.abs(along) / reach) / (along**2 + psf.fwhm_pix**2)
        spike = fall * np.exp(-0.5 * (across / width) ** 2)
        light = light + 2 * star.spike_light / max(star.spikes, 1) * spike / spike.sum()
    level = _level_at(light, radius, star.radius_pix)
    light = light / level
    if star.ghost:
        light = light + ghost(size, centre, star.radius_pix * rng.uniform(1.5, 4.0), rng) * star.ghost
    if star.bleed_reach:
        along, across = (dx, dy) if star.bleed_along_x else (dy, dx)
        wide = max(0.5, rng.uniform(0.05, 0.3) * star.radius_pix)
        ends = star.bleed_reach * star.radius_pix * rng.uniform(0.6, 1.0, 2)
        light = np.where((np.abs(across) <= wide) & (along < ends[0]) & (along > -ends[1]), np.inf, light)
    return np.minimum(light, 1.0)


def _level_at(light: np.ndarray, radius: np.ndarray, at: float) -> float:
    """The median of `light` between two thirds of a pixel inside and outside of a radius."""
    ring = np.abs(radius - at) < 0.67
    if not ring.any():  # the star saturates the whole image
        return float(light.min())
    return float(np.median(light[ring]))


def star_blend(size: int, centre: tuple[float, float], psf: Psf, rng: np.random.Generator) -> np.ndarray:
    """An image (size, size) of two to four stars that overlap, each saturated or not; arbitrary brightness."""
    number, level = int(rng.integers(2, 5)), np.inf
    image = np.zeros((size, size))
    spread = psf.fwhm_pix * rng.uniform(0.5, 1.6)
    places = rng.normal(0, spread, (number, 2))
    places -= places.mean(axis=0)
    for place in places:
        image += _log_uniform(rng, 0.25, 1.0) * draw_star(psf, size, (centre[0] + place[0], centre[1] + place[1]))
    if rng.random() < 0.5:
        level = image.max() * _log_uniform(rng, 0.02, 0.5)
    return np.minimum(image, level)


def ghost(size: int, centre: tuple[float, float], radius_pix: float, rng: np.random.Generator) -> np.ndarray:
    """An out-of-focus reflection of a star: an evenly bright disc with a hole, off the star, brightness 1."""
    angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.8) * radius_pix
    dx = np.arange(size) - centre[0] - away * np.cos(angle)
    dy = (np.arange(size) - centre[1] - away * np.sin(angle))[:, None]
    radius, edge = np.hypot(dx, dy), rng.uniform(0.5, 1.5)
    hole = rng.uniform(0.15, 0.5) * radius_pix
    return 1 / (1 + np.exp((radius - radius_pix) / edge)) / (1 + np.exp((hole - radius) / edge))


def defect(size: int, centre: tuple[float, float], psf: Psf, rng: np.random.Generator) -> np.ndarray:
    """An image (size, size) of what reduction leaves over, brightness about 1.

    A block of wrong pixels, a step between two amplifiers with a source on it, a bright strip along an edge, crossing
    trails, or an out-of-focus ghost.
    """
    form, half = int(rng.integers(5)), _log_uniform(rng, 2.0, 0.3 * size)
    x, y = np.arange(size) - centre[0], (np.arange(size) - centre[1])[:, None]
    if form == 0:
        return ((np.abs(x) < half) & (np.abs(y) < max(half * rng.uniform(0.1, 1), 1.0))).astype(float)
    if form == 1:
        step = (x if rng.random() < 0.5 else y) > rng.normal(0, 0.1 * size)
        return step * rng.uniform(0.05, 0.5) + draw_star(psf, size, centre) / draw_star(psf, size, centre).max()
    if form == 2:
        distance = np.arange(size) if rng.random() < 0.5 else np.arange(size)[::-1]
        strip = np.exp(-distance / rng.uniform(1, 0.3 * size)) + np.zeros((size, 1))
        return strip if rng.random() < 0.5 else strip.T
    if form == 3:
        one, other = (satellite_trail(size, psf, rng=rng) * rng.uniform(0.5, 1) for _ in range(2))
        return one + other
    return ghost(size, centre, half, rng)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def cut_by_edge(
    image: np.ndarray, centre: tuple[float, float], radius_pix: float, rng: np.random.Generator
) -> tuple[np.ndarray, dict]:
    """`image` (ny, nx) set to 0 beyond a straight detector edge, which passes within a radius of `centre`."""
    turns, distance = int(rng.integers(4)), rng.uniform(-0.3, 0.8) * radius_pix
    cut = image.copy()
    limit = centre[turns % 2] + (distance if turns < 2 else -distance)
    place = np.arange(image.shape[1 - turns % 2])
    beyond = place > limit if turns < 2 else place < limit
    cut[(slice(None), beyond) if turns % 2 == 0 else (beyond, slice(None))] = 0.0
    return cut, {"edge_distance_pix": float(distance)}
