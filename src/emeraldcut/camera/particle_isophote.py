"""The isophote of projected particles: centre, axes and harmonics, measured from the particles, not from pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from emeraldcut.numerics.jit import compile_ahead, compiled, kernel, part
from emeraldcut.numerics.median import select

# Numbers for which neither a source nor a measurement is named were chosen by eye.
ISOPHOTE = 1.5  # semi-major axis of the isophote in half-light semi-major axes
_HALF_WIDTH = 0.4  # of the annulus around it, in its semi-major axis
_SHELL = 0.1  # relative width of the half-light ellipse's edge, so that the light inside changes smoothly
_ORDERS = 12  # harmonics of the isophote that are found; those that are told are free of the ones left out
_BLOCK = 512
_COARSE = 8  # the first of so many parts of the particles gives the start
_FEWEST = 2000
_STEPS = 60
_SETTLED = 0.1  # standard errors that may be left when steps end
_MOST = 0.3  # that any term changes in one step
_MOST_GROWTH = 0.2  # that the radius changes in one step
_FEWEST_WEIGHTS = 50  # particles, counted by their weights, without which there is no isophote
_LEAST_SLOPE = 0.3  # so that a step stays finite where light hardly falls
_LEAST_GROWN = 0.3  # of 1 + eps, so that a bad step leaves a curve


@dataclass(frozen=True)
class ParticleIsophote:
    """An isophote of particles on the sky; NaN if there is none.

    Attributes
    ----------
    x, y : float
        Centre, in the unit of the particles' positions.
    radius : float
        Semi-major axis of the ellipse, similar to the isophote's, that holds half of the light.
    axis_ratio : float
        Of the ellipse that the harmonics are relative to.
    position_angle_deg : float
        Of its major axis, counter-clockwise from +x, in [0, 180).
    terms : mapping of str to float
        `a3, b3 ... a12, b12`: cosine and sine terms in elliptical-radius units, as `galaxies.shapes.harmonics` gives
        them; boxy is a4 < 0.
    error : float
        Standard error of each of the terms, from the number of particles.
    slope : float
        -d ln(light) / d ln(radius) at the isophote.
    """

    x: float
    y: float
    radius: float
    axis_ratio: float
    position_angle_deg: float
    terms: dict[str, float]
    error: float
    slope: float

    @property
    def axis_ratio_error(self) -> float:
        """Standard error of the axis ratio: q changes by 2 q times the second cosine term."""
        return 2 * self.axis_ratio * self.error


class _Fit(NamedTuple):
    """What the compiled fit returns; `frame` (2, 2), of determinant 1, makes a circle of the ellipse."""

    found: bool
    centre: np.ndarray
    frame: np.ndarray
    radius: float
    terms: np.ndarray
    slope: float
    number: float


class _Particles(NamedTuple):
    """Places on the sky and light (n,) float32; arrays apart, so that the first of them lie as closely as all do."""

    x: np.ndarray
    y: np.ndarray
    light: np.ndarray


class _Where(NamedTuple):
    """Which particles are used, see `fit_particle_isophote`: those within `half_width` of an `isophote`."""

    isophote: float
    half_width: float


class _Sums(NamedTuple):
    """Sums over particles for one isophote.

    Attributes
    ----------
    waves : (13,) complex
        Weights times cos(m psi) + i sin(m psi).
    inside, shell : float
        Light inside the half-light ellipse, and that in a shell around it per relative change of its size.
    weight, square, fall : float
        Of weights, of their squares, and of s g'(s).
    """

    waves: np.ndarray
    inside: float
    shell: float
    weight: float
    square: float
    fall: float


def fit_particle_isophote(
    seen: np.ndarray, light: np.ndarray, isophote: float = ISOPHOTE, half_width: float = _HALF_WIDTH
) -> ParticleIsophote:
    """The isophote of projected particles, at 1.5 half-light semi-major axes unless another is asked for.

    It is rho = s (1 + eps(psi)), with psi the elliptical angle and eps a Fourier series. Where light depends on s
    alone, particles with any weight g(s) / (1 + eps)^2 are spread evenly in psi, since the area element is
    (1 + eps)^2 s ds dpsi: whatever the profile, their sums of cos(m psi) and sin(m psi) vanish. That is solved for the
    centre (m = 1), axis ratio and position angle (m = 2) and eps (m = 3 to 12), by steps of 2 <cos(m psi)> / gamma.
    Here g = (1 - t^2)^2 falls from 1 on the isophote to 0 at 1 - w and 1 + w times its size; gamma = 2 + <s g'> / <g>
    is the mean of -dlnI/dlns, by partial integration. The standard error of a term is sqrt(2 / n) / gamma with n =
    (sum of weights)^2 / (sum of their squares). All derived for this program. The error is that of counting particles;
    on strong boxes that of b4 is half as large again, since the position angle is uncertain too.

    Parameters
    ----------
    seen : (2, n) float32
        x and y from near the centre, in random order: the first eighth gives the start, if it can.
    light : (n,) float32
        Not negative.
    isophote : float
        Semi-major axis of the isophote in half-light semi-major axes.
    half_width : float
        w, half the width of the annulus around the isophote that is used, in its semi-major axis; below 1.

    Returns
    -------
    ParticleIsophote
        Of NaN where no ellipse settles: for less than about 200 particles, and for most pairs of galaxies.
    """
    compile_ahead("observe", particle_isophote_example)
    x, y = np.ascontiguousarray(seen, np.float32)
    fit = _Fit(*_fit(x, y, np.ascontiguousarray(light, np.float32), float(isophote), float(half_width)))
    if not fit.found:
        nothing = {f"{kind}{m}": np.nan for m in range(3, _ORDERS + 1) for kind in "ab"}
        return ParticleIsophote(np.nan, np.nan, np.nan, np.nan, np.nan, nothing, np.nan, np.nan)
    stretch, axes = np.linalg.eigh(fit.frame.T @ fit.frame)  # the smaller eigenvalue belongs to the major axis
    major = axes[:, 0] if axes[1, 0] >= 0 else -axes[:, 0]
    turned = np.arctan2(*(fit.frame @ major)[::-1])  # psi of the major axis
    terms = {}
    for m in range(3, _ORDERS + 1):
        term = fit.terms[m] * np.exp(-1j * m * turned)
        terms[f"a{m}"], terms[f"b{m}"] = float(term.real), float(term.imag)
    return ParticleIsophote(
        x=float(fit.centre[0]),
        y=float(fit.centre[1]),
        radius=float(fit.radius / np.sqrt(stretch[0])),
        axis_ratio=float(np.sqrt(stretch[0] / stretch[1])),
        position_angle_deg=float(np.degrees(np.arctan2(major[1], major[0])) % 180),
        terms=terms,
        error=float(np.sqrt(2 / fit.number) / fit.slope),
        slope=float(fit.slope),
    )


@compiled
def _fit(x, y, light, isophote, half_width):
    """See `fit_particle_isophote`.

    A start from few particles and the usual isophote, which is easily found, then all of them.

    Where few are too few to settle, all of them begin anew. A plain tuple of `_Fit`.
    """
    n = len(light)
    few = min(n, 4096)
    distance = np.empty(few, np.float32)
    for i in range(few):
        distance[i] = x[i] ** 2 + y[i] ** 2
    start = np.sqrt(select(distance, few, few // 2)) if few else 0.0
    fit = _circle(start)
    some = n // _COARSE
    if start > 0 and some >= _FEWEST:
        fit = _settle(_Particles(x[:some], y[:some], light[:some]), _Where(ISOPHOTE, _HALF_WIDTH), fit)
        if not fit.found:
            fit = _circle(start)
    if start > 0:
        fit = _settle(_Particles(x, y, light), _Where(isophote, half_width), fit)
    return fit[:]


@part
def _circle(radius):
    """A fit that has not begun."""
    return _Fit(False, np.zeros(2), np.eye(2), radius, np.zeros(_ORDERS + 1, np.complex128), 0.0, 0.0)


@kernel
def _settle(particles, where, fit):
    """The fit after steps until little is left to change; uses up the arrays of the one before."""
    centre, frame, terms, radius = fit.centre, fit.frame, fit.terms, fit.radius
    total, slope, number, before = particles.light.sum(), 0.0, 0.0, 0.0
    for _ in range(_STEPS):
        sums = _sums(particles, where, _Fit(False, centre, frame, radius, terms, slope, number))
        number = sums.weight * sums.weight / sums.square if sums.square > 0 else 0.0
        if not number > _FEWEST_WEIGHTS:
            break
        slope = max(2 + sums.fall / sums.weight, _LEAST_SLOPE)
        step = sums.waves * (2 / (slope * sums.weight))
        largest = 0.0
        for m in range(1, _ORDERS + 1):
            size = abs(step[m])
            largest = max(largest, size)
            if size > _MOST:
                step[m] *= _MOST / size
            if m > 2:
                terms[m] += step[m]
        determinant = frame[0, 0] * frame[1, 1] - frame[0, 1] * frame[1, 0]
        u, v = step[1].real * where.isophote * radius, step[1].imag * where.isophote * radius
        centre[0] += (frame[1, 1] * u - frame[0, 1] * v) / determinant
        centre[1] += (frame[0, 0] * v - frame[1, 0] * u) / determinant
        _stretch(frame, step[2].real, step[2].imag)
        growth = (0.5 * total - sums.inside) / max(sums.shell, 1e-6 * total)
        growth = min(max(growth, -_MOST_GROWTH), _MOST_GROWTH)
        radius *= 1 + growth
        largest = max(largest, abs(growth))
        left = largest * min(largest / before, 1.0)  # steps shrink by about the same factor each time
        if left < _SETTLED * np.sqrt(2 / number) / slope:
            return _Fit(True, centre, frame, radius, terms, slope, number)
        before = largest
    return _Fit(False, centre, frame, radius, terms, slope, number)


@part
def _stretch(frame, a, b):
    """Multiplies `frame` from the left by the symmetric matrix exp(-[[a, b], [b, -a]]), whose determinant is 1."""
    size = np.sqrt(a * a + b * b)
    cosh, sinh = np.cosh(size), np.sinh(size) / size if size > 1e-12 else 1.0
    for k in range(2):
        u, v = frame[0, k], frame[1, k]
        frame[0, k] = (cosh - sinh * a) * u - sinh * b * v
        frame[1, k] = (cosh + sinh * a) * v - sinh * b * u


# long: in parts, which hand the arrays of a block from one to the next, it takes a fifth more time
@kernel
def _sums(particles, where, fit):
    """Sums over particles for the isophote of a fit, in blocks, whose loops run on vector units."""
    waves, zero = np.zeros(_ORDERS + 1, np.complex128), np.float64(0)
    inside, shell, weight, square, fall = zero, zero, zero, zero, zero
    size, frame, terms = where.isophote * fit.radius, fit.frame, fit.terms
    a, b = np.float32(frame[0, 0] / size), np.float32(frame[0, 1] / size)
    c, d = np.float32(frame[1, 0] / size), np.float32(frame[1, 1] / size)
    x0, y0 = np.float32(fit.centre[0]), np.float32(fit.centre[1])
    half, thin = np.float32(1 / where.isophote), np.float32(where.isophote / _SHELL)
    one, width, swing = np.float32(1), np.float32(where.half_width), np.abs(terms).sum()
    nearest = np.float32((1 - width) * max(1 - swing, _LEAST_GROWN))
    farthest = np.float32((1 + width) * (1 + swing))
    # of a block: all particles in the plane where the ellipse is the unit circle, then those near the isophote
    all_u, all_v, all_r, r, chosen, twice, grown, g = np.empty((8, _BLOCK), np.float32)
    near = np.empty(_BLOCK, np.uint32)
    cosine, sine = np.ones((_ORDERS + 1, _BLOCK), np.float32), np.zeros((_ORDERS + 1, _BLOCK), np.float32)
    cos1, sin1 = cosine[1], sine[1]
    for start in range(0, len(particles.light), _BLOCK):
        end = start + _BLOCK
        x, y, light = particles.x[start:end], particles.y[start:end], particles.light[start:end]
        within, around = np.float32(0), np.float32(0)
        for i in range(len(light)):
            all_u[i] = a * (x[i] - x0) + b * (y[i] - y0)
        for i in range(len(light)):
            all_v[i] = c * (x[i] - x0) + d * (y[i] - y0)
        for i in range(len(light)):
            all_r[i] = np.sqrt(all_u[i] * all_u[i] + all_v[i] * all_v[i])
        for i in range(len(light)):  # the edge of the half-light ellipse is _SHELL wide
            depth = (half - all_r[i]) * thin + np.float32(0.5)
            clipped = min(max(depth, np.float32(0)), one)
            within += light[i] * clipped
            around += light[i] * np.float32(clipped == depth)
        inside, shell = inside + within, shell + around / _SHELL
        k = np.uint32(0)
        for i in range(len(light)):
            near[k] = np.uint32(i)
            k += np.uint32((all_r[i] > nearest) & (all_r[i] < farthest))
        for i in range(k):
            r[i], chosen[i] = all_r[near[i]], light[near[i]]
        for i in range(k):
            cos1[i], sin1[i] = all_u[near[i]], all_v[near[i]]
        for i in range(k):
            cos1[i] /= r[i]
            sin1[i] /= r[i]
            twice[i] = 2 * cos1[i]
        grown[:k] = 1
        for m in range(2, _ORDERS + 1):
            for wave in (cosine, sine):  # cos(m psi) = 2 cos(psi) cos((m - 1) psi) - cos((m - 2) psi), and sin alike
                here, before, earlier = wave[m], wave[m - 1], wave[m - 2]
                for i in range(k):
                    here[i] = twice[i] * before[i] - earlier[i]
            here_cos, here_sin = cosine[m], sine[m]
            p, q = np.float32(terms[m].real), np.float32(terms[m].imag)
            for i in range(k):
                grown[i] += p * here_cos[i] + q * here_sin[i]
        s0, s1, s2 = np.float32(0), np.float32(0), np.float32(0)
        for i in range(k):
            wide = max(grown[i], np.float32(_LEAST_GROWN))
            place = r[i] / wide
            t = (place - one) / width
            rest = max(one - t * t, np.float32(0))
            evenly = chosen[i] / (wide * wide)
            g[i] = evenly * rest * rest
            s0 += g[i]
            s1 += g[i] * g[i]
            s2 -= np.float32(4) / width * evenly * place * t * rest
        weight, square, fall = weight + s0, square + s1, fall + s2
        for m in range(1, _ORDERS + 1):
            here_cos, here_sin = cosine[m], sine[m]
            p, q = np.float32(0), np.float32(0)
            for i in range(k):
                p += g[i] * here_cos[i]
                q += g[i] * here_sin[i]
            waves[m] += complex(p, q)
    return _Sums(waves, inside, shell, weight, square, fall)


def particle_isophote_example() -> None:
    """What is compiled ahead, see `numerics.jit`."""
    rng = np.random.default_rng(0)
    fit_particle_isophote(rng.normal(size=(2, 20000)) * [[2], [1]], np.ones(20000))
