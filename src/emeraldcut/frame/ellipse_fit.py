"""A galaxy as one light profile on one (deformed) ellipse, fitted to all its pixels at once.

The model is I(x, y) = f(s) with the isophote radius s = rho / (1 + sum_m [c_m cos(m psi) + s_m sin(m psi)]), where
rho and psi are the elliptical radius and the elliptical (eccentric) angle about the centre: x' = rho cos(psi) along
the major axis and y' = q rho sin(psi) along the minor one. Taking the harmonics along psi and not along the polar
angle is what makes them free of the axis ratio (Ciambur 2015, ApJ 810, 120).

Changing one parameter by a little changes the model by f'(s) times the change of s, so every parameter is the
amplitude of a known pattern (derived here from the definitions above):

    centre, along the major axis     - cos(psi)       s/rho f'(s)
    centre, along the minor axis     - sin(psi) / q   s/rho f'(s)
    c_m, s_m                         - s cos(m psi),  - s sin(m psi)   times f'(s)

The second harmonic is the ellipse itself: c_2 and s_2 turn the unit circle of the stretched plane into the ellipse
[[1 + c_2, s_2], [s_2, 1 - c_2]], whose axes, seen on the sky, are the new axis ratio and position angle. This is
Jedrzejewski's (1987, MNRAS 226, 747) relation between the first two harmonics and the geometry, written for pixels
and without his degeneracy at q = 1. Gauss-Newton steps on these patterns, together with the profile f (a cubic
B-spline), are a weighted least-squares fit; its covariance holds the errors of the harmonics with those of centre and
axes marginalised.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from emeraldcut.frame.pixels import FitPixels
from emeraldcut.frame.segment import MAD_TO_SIGMA

ORDERS = (3, 4, 6, 8)  # harmonics measured; 1 and 2 are centre and axes
MIN_AXIS_RATIO = 0.05
TOLERANCE_PIX = 0.02  # the fit has converged when no isophote moves by more than this,
TOLERANCE_SIGMA = 0.1  # or than this share of its error
CLIP_SIGMA = 5.0  # pixels farther from the model have no say
FIT_MARGIN = 1.4  # the profile is fitted out to this many times the outer end of the range


@dataclass(frozen=True)
class Ellipse:
    """Centre (pixels), axis ratio q = b/a, position angle (radians, counter-clockwise from +x), and deformation.

    `cosine` and `sine` map the order m to the relative amplitudes c_m and s_m: boxy is a negative cosine[4].
    """

    x: float
    y: float
    axis_ratio: float
    angle: float
    cosine: dict[int, float] = field(default_factory=dict)
    sine: dict[int, float] = field(default_factory=dict)

    def coordinates(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Elliptical radius rho (pixels along the major axis) and elliptical angle psi (radians) of points x, y."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        dx, dy = x - self.x, y - self.y
        u, v = dx * cos + dy * sin, (dy * cos - dx * sin) / self.axis_ratio
        return np.hypot(u, v), np.arctan2(v, u)

    def deformation(self, psi: np.ndarray) -> np.ndarray:
        """1 + sum of the harmonics at the angles psi."""
        total = np.ones_like(psi)
        for m, c in self.cosine.items():
            total += c * np.cos(m * psi) + self.sine[m] * np.sin(m * psi)
        return np.clip(total, 0.3, 3.0)


class Profile:
    """A light profile f(s) as a cubic B-spline with uniform knots in u = asinh(s / 2 pixels).

    The knots are dense where galaxies are steep, and evaluation is a table of four closed-form weights a pixel. The
    profile is flat at the centre: the spline is mirrored there, so its first coefficient equals its third.
    """

    SCALE_PIX = 2.0
    SPACING = 0.35
    SMOOTHNESS = 1e-4  # weight of the squared second differences, which settle coefficients without pixels

    def __init__(self, s_max: float) -> None:
        self.intervals = int(np.ceil(np.arcsinh(s_max / self.SCALE_PIX) / self.SPACING))
        self.size = self.intervals + 2
        self.coefficients = np.zeros(self.size)
        differences = np.diff(np.eye(self.size), 2, axis=0)
        self.penalty = differences.T @ differences

    def design(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and s-derivatives of all basis functions: two (n, size) arrays for s (n,)."""
        t = np.arcsinh(s / self.SCALE_PIX) / self.SPACING
        k = np.clip(t.astype(int), 0, self.intervals - 1)
        t = np.clip(t - k, 0, 1)
        dt = 1 / (self.SPACING * np.hypot(s, self.SCALE_PIX))
        r = 1 - t
        weights = (r**3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (3 * r**3 - 6 * r**2 + 4) / 6, t**3 / 6)
        slopes = (-r * r / 2, (3 * t * t - 4 * t) / 2, (4 * r - 3 * r * r) / 2, t * t / 2)
        values, derivatives = np.zeros((2, len(s), self.size + 1))
        rows = np.arange(len(s))
        for j in range(4):
            values[rows, k + j] = weights[j]
            derivatives[rows, k + j] = slopes[j] * dt
        for basis in (values, derivatives):
            basis[:, 2] += basis[:, 0]
        return values[:, 1:], derivatives[:, 1:]

    def fit(self, basis: np.ndarray, values: np.ndarray, weight: np.ndarray) -> None:
        """Weighted least squares for the coefficients, from basis functions (n, size) at n pixels."""
        normal = (basis * weight[:, None]).T
        matrix = normal @ basis
        scale = np.trace(matrix) / self.size
        if not scale > 0:  # no pixel within reach
            self.coefficients = np.zeros(self.size)
            return
        matrix += scale * (self.SMOOTHNESS * self.penalty + 1e-10 * np.eye(self.size))
        self.coefficients = np.linalg.solve(matrix, normal @ values)

    def __call__(self, s: np.ndarray) -> np.ndarray:
        """f(s)."""
        s = np.asarray(s, float)
        return (self.design(s.ravel())[0] @ self.coefficients).reshape(s.shape)


@dataclass(frozen=True)
class Fit:
    """Result of `fit_ellipse`.

    Attributes
    ----------
    ellipse : Ellipse
    errors : dict
        Standard deviations: of the centre along `major` and `minor` axis (pixels), `axis_ratio`, `angle` (radians),
        and the harmonics `cos3`, `sin3`, ... as far as fitted.
    profile : Profile
        Light profile in counts.
    converged : bool
    residual_sigma : float
        Robust scatter of the residuals over the sky's noise; 1 for a galaxy that the model describes.
    mean_snr : float
        Mean light per pixel over the sky's noise.
    """

    ellipse: Ellipse
    errors: dict[str, float]
    profile: Profile
    converged: bool
    residual_sigma: float
    mean_snr: float


def _patterns(ellipse: Ellipse, rho, psi, s, slope, orders) -> np.ndarray:
    """The patterns of the module's docstring, (n, 4 + 2 len(orders))."""
    shift = -slope * s / np.maximum(rho, 1e-9)
    columns = [np.cos(psi) * shift, np.sin(psi) / ellipse.axis_ratio * shift]
    for m in (2, *orders):
        columns += [-s * np.cos(m * psi) * slope, -s * np.sin(m * psi) * slope]
    return np.stack(columns, axis=1)


def _moved(ellipse: Ellipse, step: np.ndarray, orders, limit: float, fix_angle: bool) -> Ellipse:
    """The ellipse after a Gauss-Newton step, kept within what one step may sensibly change."""
    u, v = np.clip(step[:2], -limit, limit)
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    c2, s2 = np.clip(step[2:4], -0.15, 0.15)
    axes = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, ellipse.axis_ratio]) @ [[1 + c2, s2], [s2, 1 - c2]]
    directions, lengths, within = np.linalg.svd(axes)
    if fix_angle:
        lengths, within = np.array([1.0, min(ellipse.axis_ratio * (1 - c2) / (1 + c2), 1.0)]), np.eye(2)
        directions = np.array([[cos, -sin], [sin, cos]])
    if np.linalg.det(directions) < 0:  # proper rotations only
        directions[:, 1], within[1] = -directions[:, 1], -within[1]
    # the point that had the angle psi on the old ellipse has psi - turn on the new one
    turn = np.arctan2(within[0, 1], within[0, 0])
    cosine, sine = {}, {}
    for i, m in enumerate(orders):
        c, s = np.clip(step[4 + 2 * i : 6 + 2 * i], -0.08, 0.08)
        c, s = ellipse.cosine.get(m, 0.0) + c, ellipse.sine.get(m, 0.0) + s
        cosine[m] = float(c * np.cos(m * turn) + s * np.sin(m * turn))
        sine[m] = float(s * np.cos(m * turn) - c * np.sin(m * turn))
    return Ellipse(
        ellipse.x + u * cos - v * sin,
        ellipse.y + u * sin + v * cos,
        float(max(lengths[1] / lengths[0], MIN_AXIS_RATIO)),
        float(np.arctan2(directions[1, 0], directions[0, 0])),
        cosine,
        sine,
    )


def fit_profile(image: np.ndarray, valid: np.ndarray, ellipse: Ellipse, s_max: float) -> Profile:
    """The light profile out to `s_max` (pixels) on a given ellipse, by unweighted least squares."""
    profile = Profile(s_max)
    yy, xx = np.nonzero(valid)
    rho, psi = ellipse.coordinates(xx, yy)
    s = rho / ellipse.deformation(psi)
    near = s < s_max
    profile.fit(profile.design(s[near])[0], image[valid][near], np.ones(int(near.sum())))
    return profile


def fit_ellipse(
    image: np.ndarray,
    valid: np.ndarray,
    ellipse: Ellipse,
    sigma: float,
    s_range: tuple[float, float],
    *,
    orders: tuple[int, ...] = (),
    iterations: int = 6,
    fix_angle: bool = False,
    psf: np.ndarray | None = None,
) -> Fit:
    """Fits profile, centre, axes and harmonics to the pixels with isophote radius in `s_range`.

    Parameters
    ----------
    image : (ny, nx)
        Sky-subtracted counts.
    valid : (ny, nx) bool
        Pixels to use.
    ellipse : Ellipse
        Where to start.
    sigma : float
        Noise per pixel of the sky; larger noise of bright parts is found from the residuals.
    s_range : (float, float)
        Isophote radii in pixels whose pixels determine the geometry and the harmonics.
    orders : tuple of int
        Harmonics to fit besides the geometry.
    iterations : int
        Gauss-Newton steps at most.
    fix_angle : bool
        Keep the position angle.
    psf : (k, k), optional
        Square odd array with sum 1. The fit then is of the galaxy before this PSF: the model and its patterns are
        convolved before they are compared with the image.

    Returns
    -------
    Fit
    """
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    pixels = FitPixels(image, valid, ellipse.coordinates(x, y)[0] < FIT_MARGIN * s_range[1] + 2, psf)
    profile = Profile(2.1 * s_range[1])
    n_geometry = 4 + 2 * len(orders)
    names = ["major", "minor"] + [f"{kind}{m}" for m in (2, *orders) for kind in ("cos", "sin")]
    to_pixels = np.where(np.arange(n_geometry) < 2, 1.0, s_range[1])
    variance = np.full(len(pixels.values), sigma**2)
    covariance, converged, scatter, mean_snr = np.full((n_geometry, n_geometry), np.nan), False, np.nan, np.nan
    for iteration in range(iterations):
        rho, psi = ellipse.coordinates(pixels.x, pixels.y)
        s = rho / ellipse.deformation(psi)
        basis, derivative = profile.design(s)
        seen = pixels.seen(basis)
        profile.fit(seen, pixels.values, 1 / variance)
        residual = pixels.values - seen @ profile.coefficients
        radius = s[pixels.at]
        variance = _local_variance(residual, radius, sigma, profile)
        use = (radius > s_range[0]) & (radius < s_range[1]) & (residual**2 < CLIP_SIGMA**2 * variance)
        if use.sum() < n_geometry + 8:
            break
        slope = np.minimum(derivative @ profile.coefficients, 0.0)
        patterns = pixels.seen(_patterns(ellipse, rho, psi, s, slope, orders))[use]
        if fix_angle:
            patterns[:, 3] = 0.0
        step, covariance = _solve(patterns, seen[use], residual[use], variance[use])
        if iteration > 2:  # pixels that enter and leave the range would else make the fit hop between two places
            step = step / 2
        scatter = float(np.median(np.abs(residual[use])) * MAD_TO_SIGMA / sigma)
        mean_snr = float(np.mean(pixels.values[use]) / sigma)
        ellipse = _moved(ellipse, step, orders, 0.3 * s_range[1], fix_angle)
        tolerance = np.maximum(TOLERANCE_PIX, TOLERANCE_SIGMA * _deviations(covariance) * to_pixels)
        if iteration > 1 and np.all(np.abs(step) * to_pixels < tolerance):
            converged = True
            break
    errors = dict(zip(names, _deviations(covariance), strict=True))
    q = ellipse.axis_ratio
    errors["axis_ratio"] = 2 * q * errors.pop("cos2")
    errors["angle"] = min(2 * q * errors.pop("sin2") / max(1 - q**2, 1e-3), np.pi / 2)
    return Fit(replace(ellipse, angle=float(ellipse.angle % np.pi)), errors, profile, converged, scatter, mean_snr)


def _deviations(covariance: np.ndarray) -> np.ndarray:
    """Standard deviations from a covariance; rounding must not make a variance negative."""
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def _solve(patterns, basis, residual, variance) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares for the amplitudes of the patterns, the profile being free: step, covariance."""
    design = np.concatenate([patterns, basis], axis=1)
    weighted = design / variance[:, None]
    normal = weighted.T @ design
    scale = np.sqrt(np.where(np.diag(normal) > 0, np.diag(normal), 1.0))
    inverse = np.linalg.pinv(normal / np.outer(scale, scale), rcond=1e-9, hermitian=True) / np.outer(scale, scale)
    k = patterns.shape[1]
    return (inverse @ (weighted.T @ residual))[:k], inverse[:k, :k]


def _local_variance(residual: np.ndarray, s: np.ndarray, sigma: float, profile: Profile) -> np.ndarray:
    """Noise variance per pixel (n,): the residuals' robust scatter in rings, never below the sky's variance.

    Photon noise, spiral arms, dust and clumps all raise it, so that errors are those of the galaxy as it is.
    """
    ring = np.minimum((np.arcsinh(s / profile.SCALE_PIX) / profile.SPACING).astype(int), profile.intervals - 1)
    order = np.argsort(ring, kind="stable")
    bounds = np.searchsorted(ring[order], np.arange(profile.intervals + 1))
    ring_sigma = np.full(profile.intervals, sigma)
    for k in range(profile.intervals):
        member = np.abs(residual[order[bounds[k] : bounds[k + 1]]])
        if len(member) >= 12:
            ring_sigma[k] = max(sigma, MAD_TO_SIGMA * np.median(member))
    return ndimage.uniform_filter1d(ring_sigma, 3, mode="nearest")[ring] ** 2
