"""What in a stamp is sky, what is the galaxy, and what belongs to its neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emeraldcut.numerics.jit import part
from emeraldcut.numerics.linalg import invert
from emeraldcut.numerics.median import MAD_TO_SIGMA, median_of, select

# Numbers for which neither a source nor a measurement is named were chosen by eye.
SMOOTHING_PIX = 1.2  # standard deviation of the Gaussian before detection
DETECTION_SIGMA = 3.0  # threshold in units of the noise of the smoothed image
MIN_SIDE, MIN_PIXELS = 8, 50  # with less there is no sky to speak of
OWN_PEAK = 1.3  # a blended object is one of its own if its peak rises to this many times its saddle to the next,
OWN_PEAK_SIGMA = 5.0  # and by this many times the noise of the smoothed image
BELIEVED = 3.0  # what is stated of the noise counts if it is within this factor of what the sky shows
CORRELATION_PIX = 2  # the noise may be correlated over this distance
CENTRAL_SHARE = 0.12  # of the longer side: light counts a quarter so far from the middle
SMALLEST_AREA_PIX = 9  # of a galaxy above the threshold; a smaller one may be noise
BRIGHT_SHARE = 200  # one in so many pixels is brighter than what is called bright
MOST_BRIGHTER = 9  # of an eighth of the pixels are brighter than the unit of light at most,
MOST_ABOVE_UNIT = 100  # and none by more than 2 to this power
LEAST_NOISE = 1e-4  # of what is bright: a noise-free drawing still has a scale
# The sky is taken from a border of this share of the shorter side, or from all pixels if that has fewer than so many.
BORDER_SHARE, FEWEST_SKY_PIXELS = 0.08, 20
TILT_SIGMA = 5.0  # significance from which on the sky's slope counts
RIDGE = 1e-9  # of the sky's normal equations, see `invert`
CUT_SIGMA = 0.9866  # a normal distribution's standard deviation inside 3 sigma
# A picture is noisy, see `_mark_empty`, if more than this share of its bends change their sign (of noise three in four
# do, of a drawing few), and less than this share of its neighbouring pixels are equal.
FLIPPING, EQUAL = 0.5, 0.1
LEAST_CORRELATION = 0.2  # of neighbouring pixels, from which on an image may have been enlarged
NO_GRAIN, LONGEST_GRAIN = 0.5, 13  # pixels
MOST_DIFFERENCES, FEWEST_DIFFERENCES = 4000, 100  # second differences at each distance
INDEPENDENT = 6 * 0.455  # median square of those of Gaussian noise without correlation, over its variance
# Of that, the largest that is noise: it is .5 to 1.1 in images enlarged 2 to 4 times, and from .09 on in the haloes of
# bright stars, which count as noise of the sky; below .06 in smooth drawings.
LEAST_NOISE_SHARE = 0.07
ENLARGED = 1.3  # grain in pixels from which on an image was enlarged
CORRELATED_SIGMA = 4.0  # significance from which on the noise's correlation counts, and the brightest sky in it
HEIGHT_BITS, MOST_HEIGHTS = 13, 16384  # heights are sorted in steps of 2^-10: by the bits of a float less so many
# What a pixel is.
SKY, GALAXY, NEIGHBOUR, MISSING = 0, 1, 2, 3


class Segmentation(NamedTuple):
    """One stamp, divided.

    Surveys count in electrons, in nanomaggies or in erg. So that sums of squares in single precision neither vanish nor
    overflow, all light here is in a unit in which what is bright is of the size of 1: a power of two, so that nothing
    is rounded.

    Attributes
    ----------
    image : (ny, nx) float32
        Light less the sky, 0 where there is no data.
    smooth : (ny, nx) float32
        The same after a Gaussian of 1.2 pixels.
    pixel_class : (ny, nx) uint8
        SKY, GALAXY (above the detection threshold), NEIGHBOUR or MISSING (no data).
    background, sky_sigma : float
        Sky level at the centre, and its noise per pixel.
    gradient : float
        Change of the sky across the stamp in units of that noise; 0 where it is not significant.
    correlation : float
        Sum of the noise's correlation between a pixel and all around it; 1 where pixels are independent. The
        variance of anything averaged over many pixels is larger by this factor.
    neighbour_correlation : float
        The noise's correlation between neighbouring pixels.
    grain_pix : float
        Size of the grains of the noise: 0.5 for independent pixels, f in an image that was enlarged f times.
    unit : float
        Counts in one unit of the light here.
    """

    image: np.ndarray
    smooth: np.ndarray
    pixel_class: np.ndarray
    background: float
    sky_sigma: float
    gradient: float
    correlation: float
    neighbour_correlation: float
    grain_pix: float
    unit: float


@part
def _flat_places(image, good):
    """Which pixels (ny, nx) are the middle of 3 x 3 equal ones, and their number."""
    ny, nx = image.shape
    flat, n_flat = np.zeros((ny, nx), np.bool_), 0
    for y in range(1, ny - 1):
        for x in range(1, nx - 1):
            value = image[y, x]
            if image[y, x + 1] != value or not good[y, x]:
                continue
            same = True
            for j in range(-1, 2):
                for i in range(-1, 2):
                    if image[y + j, x + i] != value:
                        same = False
            if same:
                flat[y, x] = True
                n_flat += 1
    return flat, n_flat


@part
def _is_noisy(image, good, flat):
    """Whether pixels outside of flat places are noisy, see FLIPPING; no, if there are few."""
    ny, nx = image.shape
    n_equal, n_pairs, n_bends, n_flips = 0, 0, 0, 0
    for y in range(1, ny - 1):
        last = np.float32(0)
        for x in range(1, nx - 1):
            if flat[y, x] or not good[y, x]:
                continue
            value = image[y, x]
            n_pairs += 1
            n_equal += image[y, x + 1] == value
            bend = image[y, x - 1] - 2 * value + image[y, x + 1]
            if bend != 0 and last != 0:
                n_bends += 1
                n_flips += (bend < 0) != (last < 0)
            last = bend
    return n_pairs >= 100 and n_flips > FLIPPING * n_bends and n_equal < EQUAL * n_pairs


@part
def _keep_plateaus(image, good, flat):
    """Takes from the `flat` places those at the highest level, if what borders on them is bright, as beside a star.

    A fill value has the sky beside it.
    """
    ny, nx = image.shape
    top, any_flat = np.float32(-np.inf), False
    for y in range(ny):
        for x in range(nx):
            if good[y, x]:
                top = max(top, image[y, x])
    total, n, everything, n_all = 0.0, 0, 0.0, 0
    for y in range(1, ny - 1):
        for x in range(1, nx - 1):
            value = image[y, x]
            any_flat |= flat[y, x] and value == top
            if good[y, x] and value < top:
                everything += value
                n_all += 1
                if image[y, x - 1] == top or image[y, x + 1] == top or image[y - 1, x] == top or image[y + 1, x] == top:
                    total += value
                    n += 1
    if not any_flat or n == 0 or total / n < 0.5 * (top + everything / n_all):
        return
    for y in range(ny):
        for x in range(nx):
            if image[y, x] == top:
                flat[y, x] = False


@part
def _mark_empty(image, good):
    """Takes from `good` the parts of a mosaic that were filled with one value: 3 x 3 equal pixels in a noisy image.

    Pictures of few grey levels and drawings without noise have such places too, and keep them, and so do the plateaus
    of saturated stars.
    """
    ny, nx = image.shape
    flat, n_flat = _flat_places(image, good)
    if n_flat < 9 or not _is_noisy(image, good, flat):
        return
    _keep_plateaus(image, good, flat)
    for y in range(1, ny - 1):
        for x in range(1, nx - 1):
            if flat[y, x]:
                for j in range(-1, 2):
                    for i in range(-1, 2):
                        good[y + j, x + i] = False


@part
def _border_pixels(image, good, unit):
    """Values of good pixels of the border, of all if those are few, and their places in sides from the middle, (n,)."""
    scale = 1 / unit
    ny, nx = image.shape
    width = max(2, round(BORDER_SHARE * min(ny, nx)))
    values, u, v = np.empty(ny * nx, np.float32), np.empty(ny * nx, np.float32), np.empty(ny * nx, np.float32)
    columns = ((np.arange(nx) - (nx - 1) / 2) / nx).astype(np.float32)
    n = 0
    for attempt in range(2):
        for y in range(ny):
            inner_row, height = attempt == 0 and width <= y < ny - width, np.float32((y - (ny - 1) / 2) / ny)
            for side in range(2 if inner_row else 1):
                first, last = (0, width) if inner_row else (0, nx)
                if side == 1:
                    first, last = nx - width, nx
                for x in range(first, last):
                    if good[y, x]:
                        values[n], u[n], v[n] = image[y, x] * scale, columns[x], height
                        n += 1
        if n >= FEWEST_SKY_PIXELS:
            break
        n = 0
    return values[:n], u[:n], v[:n]


@part
def _level_and_scatter(values):
    """Median (n,) and standard deviation by the median deviation; subtracts the median from the values.

    Of some hundred of them, which is enough to start from.
    """
    step = 1 + len(values) // 800
    work = values[::step].copy()
    level = median_of(work, len(work))
    for i in range(len(values)):
        values[i] -= level
    for i in range(len(work)):
        work[i] = abs(values[i * step])
    return level, np.float32(MAD_TO_SIGMA * median_of(work, len(work)))


@part
def _tukey_step(values, u, v, plane, sigma):
    """Changes `plane` (3,) by a step of Tukey's biweight; the new scatter, and the slope's standard error."""
    one, zero = np.float32(1), np.float32(0)
    s0 = s1 = s2 = s11 = s12 = s22 = r0 = r1 = r2 = spread = spread_weight = zero
    p0, p1, p2 = np.float32(plane[0]), np.float32(plane[1]), np.float32(plane[2])
    scale, limit = np.float32(0.25) / sigma, np.float32(3) * sigma
    for i in range(len(values)):  # without branches, so that it runs on vector units
        residual = values[i] - p0 - p1 * u[i] - p2 * v[i]
        share = residual * scale
        weight = max(one - share * share, zero)
        weight *= weight
        s0 += weight
        s1 += weight * u[i]
        s2 += weight * v[i]
        s11 += weight * u[i] * u[i]
        s12 += weight * u[i] * v[i]
        s22 += weight * v[i] * v[i]
        r0 += weight * values[i]
        r1 += weight * values[i] * u[i]
        r2 += weight * values[i] * v[i]
        inside = one if abs(residual) < limit else zero
        spread += inside * residual * residual
        spread_weight += inside
    inverse = invert(np.array([[s0, s1, s2], [s1, s11, s12], [s2, s12, s22]], np.float64), RIDGE)
    for k in range(3):
        plane[k] = inverse[k, 0] * r0 + inverse[k, 1] * r1 + inverse[k, 2] * r2
    if spread_weight > 0:
        sigma = np.sqrt(spread / spread_weight) / np.float32(CUT_SIGMA)
    return sigma, sigma * np.sqrt(max(inverse[1, 1], inverse[2, 2]))


@part
def _mean_level(values, u, v, plane, sigma):
    """Mean of the values within 3 sigma of a plane."""
    one, zero = np.float32(1), np.float32(0)
    total, count = zero, zero
    p0, p1, p2, limit = np.float32(plane[0]), np.float32(plane[1]), np.float32(plane[2]), np.float32(3) * sigma
    for i in range(len(values)):
        inside = one if abs(values[i] - p0 - p1 * u[i] - p2 * v[i]) < limit else zero
        total += inside * values[i]
        count += inside
    return total / max(count, one)


@part
def _sky_plane(image, good, unit):
    """The sky as a plane through the border: level, slopes per side (3,); and noise per pixel; in this unit.

    Tukey's biweight keeps light of the galaxy and of neighbours out. The slope counts only where it is significant
    (TILT_SIGMA), so that a clean stamp is not tilted by its noise.
    """
    values, u, v = _border_pixels(image, good, unit)
    level, sigma = _level_and_scatter(values)
    plane, error, before = np.zeros(3), 0.0, np.float32(0)
    for _ in range(4):
        if sigma <= 0 or abs(sigma - before) < 1e-3 * sigma:
            break
        before = sigma
        sigma, error = _tukey_step(values, u, v, plane, sigma)
    if sigma > 0 and np.hypot(plane[1], plane[2]) < TILT_SIGMA * error:
        plane[0], plane[1], plane[2] = _mean_level(values, u, v, plane, sigma), 0.0, 0.0
    plane[0] += level
    return plane, float(sigma)


@part
def smoothed(image: np.ndarray, sigma_pix: float) -> np.ndarray:
    """`image` (ny, nx) after a Gaussian of this standard deviation, mirrored at its edges; float32."""
    ny, nx = image.shape
    reach = int(4 * sigma_pix + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_pix) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    padded = np.empty(max(ny, nx) + 2 * reach, np.float32)
    across = np.empty((ny, nx), np.float32)
    for y in range(ny):
        for x in range(nx):
            padded[reach + x] = image[y, x]
        for i in range(reach):
            padded[reach - 1 - i] = image[y, min(i, nx - 1)]
            padded[reach + nx + i] = image[y, max(nx - 1 - i, 0)]
        row, middle = across[y], padded[reach : reach + nx]
        for x in range(nx):
            row[x] = kernel[reach] * middle[x]
        for k in range(reach):  # in pairs
            weight, left, right = kernel[k], padded[k : k + nx], padded[2 * reach - k : 2 * reach - k + nx]
            for x in range(nx):
                row[x] += weight * (left[x] + right[x])
    result = np.empty((ny, nx), np.float32)
    for y in range(ny):
        row, middle = result[y], across[y]
        for x in range(nx):
            row[x] = kernel[reach] * middle[x]
        for k in range(1, reach + 1):
            below, above = y - k, y + k
            if below < 0:
                below = min(-1 - below, ny - 1)
            if above >= ny:
                above = max(2 * ny - 1 - above, 0)
            weight, low, high = kernel[reach + k], across[below], across[above]
            for x in range(nx):
                row[x] += weight * (low[x] + high[x])
    return result


@part
def smoothed_noise(sigma: float) -> float:
    """Noise per pixel of the smoothed image, of independent noise per pixel in the image."""
    return sigma / (2 * np.sqrt(np.pi) * SMOOTHING_PIX)


@part
def _root(parent, i):
    """The root of the tree that holds i; each i points to its parent, and roots to themselves."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@part
def _components(smooth, threshold, labels):
    """Fills `labels` (ny, nx) with 1..n for the connected parts above the threshold, 0 elsewhere; returns n."""
    ny, nx = smooth.shape
    parent = np.arange(ny * nx // 2 + 2)
    n, threshold = 0, np.float32(threshold)
    for y in range(ny):
        left = 0
        for x in range(nx):
            if smooth[y, x] <= threshold:
                labels[y, x] = left = 0
                continue
            up = labels[y - 1, x] if y > 0 else 0
            if up == 0 and left == 0:
                n += 1
                labels[y, x] = n
            elif up == 0 or left == 0:
                labels[y, x] = up + left
            elif up == left:
                labels[y, x] = up
            else:
                a, b = _root(parent, up), _root(parent, left)
                parent[max(a, b)] = min(a, b)
                labels[y, x] = min(a, b)
            left = labels[y, x]
    number = np.zeros(n + 1, np.int64)
    count = 0
    for k in range(1, n + 1):  # a root comes before the rest of its tree
        root = _root(parent, k)
        if root == k:
            count += 1
            number[k] = count
        else:
            number[k] = number[root]
    if count < n:
        for y in range(ny):
            for x in range(nx):
                labels[y, x] = number[labels[y, x]]
    return count


@part
def _most_central(labels, n, light):
    """The label (1..n) with most light, where light counts less the farther it is from the stamp's centre.

    And the number of pixels and the highest light of every label, (n + 1,).
    """
    ny, nx = light.shape
    scale, one = np.float32(1 / (CENTRAL_SHARE * max(ny, nx)) ** 2), np.float32(1)
    total, peaks, areas = np.zeros(n + 1, np.float32), np.zeros(n + 1, np.float32), np.zeros(n + 1, np.int64)
    for y in range(ny):
        dy = np.float32(y - (ny - 1) / 2)
        for x in range(nx):
            label = labels[y, x]
            if label:
                value, dx = light[y, x], np.float32(x) - np.float32((nx - 1) / 2)
                farther = one + (dy * dy + dx * dx) * scale
                total[label] += max(value, np.float32(0)) / (farther * farther)
                peaks[label] = max(peaks[label], value)
                areas[label] += 1
    return 1 + np.argmax(total[1:]), areas, peaks


@part
def _count_peaks(smooth, labels, wanted, least):
    """Number of pixels of the component `wanted`, and of its peaks above `least`."""
    ny, nx = smooth.shape
    n, n_peaks = 0, 0
    for y in range(ny):
        for x in range(nx):
            if labels[y, x] == wanted:
                value = smooth[y, x]
                n += 1
                if value > least and not (
                    (x > 0 and smooth[y, x - 1] > value) or (x < nx - 1 and smooth[y, x + 1] > value)
                    or (y > 0 and smooth[y - 1, x] > value) or (y < ny - 1 and smooth[y + 1, x] > value)
                ):  # fmt: skip
                    n_peaks += 1
    return n, n_peaks


@part
def _from_bright_to_faint(heights, places):
    """`places` (n,) of positive `heights` float32, sorted by falling height in steps of 2^-10, by counting.

    The bits of a positive float, as an integer, grow with it like a logarithm. Steps beyond MOST_HEIGHTS are one.
    """
    n, bits, top, least = len(places), heights.view(np.int32) >> HEIGHT_BITS, np.int32(0), np.int32(0x7FFFFFFF)
    for i in range(n):
        top, least = max(top, bits[places[i]]), min(least, bits[places[i]])
    n_steps = top - least if top - least < MOST_HEIGHTS else MOST_HEIGHTS
    step, start, order = np.empty(n, np.uint32), np.zeros(n_steps + 2, np.int64), np.empty(n, np.uint32)
    for i in range(n):
        step[i] = min(top - bits[places[i]], n_steps)
        start[step[i] + 1] += 1
    for k in range(n_steps + 1):
        start[k + 1] += start[k]
    for i in range(n):
        order[start[step[i]]] = places[i]
        start[step[i]] += 1
    return order


@part
def _flood(heights, order, wide, noise, homes):
    """The watershed of `_basins` on heights in rows of `wide`.

    Fills `homes` with basins from 1, and returns which basin each became part of, with 0 for none (k + 1,).
    """
    parent, peaks = np.arange(len(order) + 1), np.zeros(len(order) + 1, np.float32)
    count, beside = 0, np.empty(4, np.int64)
    for place in order:
        value = heights[place]
        home, brightest, several, n_beside = 0, np.float32(0), False, 0
        for near in (place - wide, place - 1, place + 1, place + wide):
            if homes[near]:
                other = _root(parent, homes[near])
                several |= n_beside > 0 and other != beside[0]
                beside[n_beside] = other
                n_beside += 1
                if heights[near] > brightest:
                    home, brightest = other, heights[near]
        if home == 0:
            count += 1
            peaks[count] = value
            home = count
        elif several:
            for m in range(n_beside):
                other = _root(parent, beside[m])
                low = min(peaks[other], peaks[home])
                if other != home and not (low > OWN_PEAK * value and low - value > OWN_PEAK_SIGMA * noise):
                    if peaks[other] > peaks[home]:
                        parent[home] = other
                        home = other
                    else:
                        parent[other] = home
        homes[place] = home
    return parent[: count + 1]


@part
def _basins(smooth, labels, wanted, noise, basins):
    """Parts the component `wanted` into the basins of its own peaks, numbered from 1 in `basins`; returns their number.

    Pixels are taken from bright to faint; each joins its brightest neighbour that is there already. Where two basins
    meet, the lower one is an object of its own if its peak rises well above that saddle; otherwise it was texture, and
    they become one. This is a watershed whose basins are merged by the height of their peaks in one pass.
    """
    ny, nx = smooth.shape
    # a lower peak is not an object of its own
    n, n_peaks = _count_peaks(smooth, labels, wanted, np.float32((DETECTION_SIGMA + OWN_PEAK_SIGMA) * noise))
    if n_peaks < 2:
        for y in range(ny):
            for x in range(nx):
                basins[y, x] = labels[y, x] == wanted
        return 1
    # a border of one pixel on all sides saves asking where the image ends
    wide = nx + 2
    heights, homes = np.zeros(wide * (ny + 2), np.float32), np.zeros(wide * (ny + 2), np.int32)
    places, n = np.empty(n, np.uint32), 0
    for y in range(ny):
        for x in range(nx):
            if labels[y, x] == wanted:
                place = (y + 1) * wide + x + 1
                heights[place], places[n] = smooth[y, x], place
                n += 1
    parent = _flood(heights, _from_bright_to_faint(heights, places), wide, noise, homes)
    number, own = np.zeros(len(parent), np.int32), 0
    for k in range(1, len(parent)):
        if parent[k] == k:
            own += 1
            number[k] = own
    for k in range(1, len(parent)):
        number[k] = number[_root(parent, k)]
    for y in range(ny):
        for x in range(nx):
            basins[y, x] = number[homes[(y + 1) * wide + x + 1]]
    return own


@part
def grow(pixel_class: np.ndarray, times: int) -> None:
    """Lets NEIGHBOUR spread over its four neighbouring pixels, `times` times, onto SKY only, in place."""
    ny, nx = pixel_class.shape
    border, n = np.empty(ny * nx, np.int32), 0
    for y in range(ny):
        for x in range(nx):
            if pixel_class[y, x] == NEIGHBOUR:
                border[n] = y * nx + x
                n += 1
    first = 0
    for _ in range(times):
        end = n
        for k in range(first, end):
            y, x = border[k] // nx, border[k] % nx
            for j, i in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                if 0 <= y + j < ny and 0 <= x + i < nx and pixel_class[y + j, x + i] == SKY:
                    pixel_class[y + j, x + i] = NEIGHBOUR
                    border[n] = (y + j) * nx + x + i
                    n += 1
        first = end


@part
def _products(value, weight, later, later_weight):
    """Sums of the products of `value` (n,) and of `weight` (n,) with those of later places."""
    products, pairs = np.float32(0), np.float32(0)
    for k in range(len(later)):
        products += value[k] * later[k]
        pairs += weight[k] * later_weight[k]
    return products, pairs


@part
def _correlation(image, pixel_class, sigma):
    """Sum of the correlation coefficients of the sky's noise within CORRELATION_PIX, and that of neighbours.

    Coefficients count only if that with the next pixel is significant (4 sigma), so that independent noise gives 1.
    """
    ny, nx = image.shape
    limit, one, zero = np.float32(CORRELATED_SIGMA * sigma), np.float32(1), np.float32(0)
    wide = nx + CORRELATION_PIX  # each row ends with zeros, so that all rows are one
    value, weight = np.zeros(ny * wide, np.float32), np.zeros(ny * wide, np.float32)
    for y in range(ny):
        values, weights = value[y * wide : y * wide + nx], weight[y * wide : y * wide + nx]
        for x in range(nx):
            weights[x] = one if pixel_class[y, x] == SKY and abs(image[y, x]) < limit else zero
            values[x] = weights[x] * image[y, x]
    squares, n00 = _products(value, weight, value, weight)
    if n00 < 100 or squares <= 0:
        return 1.0, 0.0
    variance = squares / n00
    right, n01 = _products(value, weight, value[1:], weight[1:])
    above, n10 = _products(value, weight, value[wide:], weight[wide:])
    beside = 0.5 * (right / max(n01, one) + above / max(n10, one))
    if beside < CORRELATED_SIGMA / np.sqrt(2 * n00) * variance:
        return 1.0, 0.0
    total = 1.0
    for j in range(CORRELATION_PIX + 1):
        for i in range(-CORRELATION_PIX if j else 1, CORRELATION_PIX + 1):
            products, pairs = _products(value, weight, value[j * wide + i :], weight[j * wide + i :])
            if pairs > 0:
                total += 2 * products / pairs / variance
    return max(total, 1.0), beside / variance


@part
def _grain(image, pixel_class, sigma):
    """The size in pixels of the grains of the noise: NO_GRAIN where pixels are independent, f in one enlarged f times.

    And in an enlarged image the sum of the noise's correlation, which reaches beyond CORRELATION_PIX, else 1.

    Second differences I(x - k) - 2 I(x) + I(x + k) of noise grow with the distance k until its pixels are independent,
    whatever slopes the sky has. The grain is the distance at which their median square is half of the largest; where
    that still grows, of the largest at half the reach. The square is 6 - 8 r(k) + 2 r(2 k) times the variance, which
    gives the correlation r along an axis. The sum over a plane is that over an axis squared, as for interpolations.
    """
    squares, largest = _second_differences(image, pixel_class)
    if largest <= LEAST_NOISE_SHARE * INDEPENDENT * sigma**2:  # smooth light, as in a drawing without noise
        return NO_GRAIN, 1.0
    grain, reach = NO_GRAIN, LONGEST_GRAIN - 1
    while grain == NO_GRAIN and reach >= LONGEST_GRAIN // 4:
        half, k = 0.5 * squares[1 : reach + 1].max(), 1
        if half <= 0:
            break
        while squares[k] < half:
            k += 1
        if k == 1:
            grain = half / squares[1]
        elif 2 * k <= reach:
            grain = k - 1 + (half - squares[k - 1]) / (squares[k] - squares[k - 1])
        reach //= 2  # they still grow, as structures of the sky do
    if grain < ENLARGED:
        return grain, 1.0
    far, along, beyond, n_beyond = int(np.ceil(2 * grain)), 1.0, 0.0, 0  # from where on pixels are independent
    for k in range(far, LONGEST_GRAIN):
        beyond += squares[k]
        n_beyond += squares[k] > 0
    beyond = beyond / n_beyond if n_beyond else largest
    later = np.zeros(2 * LONGEST_GRAIN)
    for k in range(min(far, LONGEST_GRAIN) - 1, 0, -1):
        later[k] = max(0.75 * (1 - squares[k] / beyond) + 0.25 * later[2 * k], 0.0)
        along += 2 * later[k]
    return grain, along**2


@part
def _second_differences(image, pixel_class):
    """Median squares of the second differences of the sky at each distance (LONGEST_GRAIN,), and the largest."""
    ny, nx = image.shape
    work, largest, squares = np.empty(MOST_DIFFERENCES, np.float32), 0.0, np.zeros(LONGEST_GRAIN)
    # Every so-manyth row and column is enough, and better than whole rows: what is near has the same noise.
    apart = max(int(np.sqrt(2.0 * ny * nx / MOST_DIFFERENCES)), 1)
    for k in range(1, LONGEST_GRAIN):
        n = 0
        for along in range(2):
            dy, dx = (0, k) if along else (k, 0)
            for y in range(dy, ny - dy, apart):
                for x in range(dx, nx - dx, apart):
                    if (
                        pixel_class[y, x] != SKY or pixel_class[y - dy, x - dx] != SKY
                        or pixel_class[y + dy, x + dx] != SKY
                    ):  # fmt: skip
                        continue
                    before, here, after = image[y - dy, x - dx], image[y, x], image[y + dy, x + dx]
                    if n < MOST_DIFFERENCES and not before == here == after:  # as in what is filled with one value
                        work[n] = abs(before - 2 * here + after)
                        n += 1
        if n < FEWEST_DIFFERENCES:
            break
        squares[k] = median_of(work, n) ** 2
        largest = max(largest, squares[k])
    return squares, largest


@part
def _find_data(image, good):
    """Fills `good` (ny, nx) with whether a pixel is finite and not of an empty part.

    Returns the number of them, 0 if all are 0, and the unit of light, see `Segmentation`.
    """
    ny, nx = image.shape
    largest, some, n = 0, np.zeros(ny * nx, np.float32), 0
    some_bits = some.view(np.int32)
    for y in range(ny):
        bits = image[y].view(np.int32)
        for x in range(nx):
            size = bits[x] & 0x7FFFFFFF  # the bits of a float without its sign grow with it
            good[y, x] = size < 0x7F800000  # those of infinity
            largest = max(largest, size if size < 0x7F800000 else 0)
        for x in range(y % 8, nx, 8):  # an eighth of the pixels is enough to see what is bright
            if good[y, x]:
                some_bits[n] = bits[x] & 0x7FFFFFFF
                n += 1
    if largest == 0:
        return 0, 1.0
    some[0] = select(some, n, n - 1 - min(n // BRIGHT_SHARE, MOST_BRIGHTER)) if n else np.float32(0)
    bright = some_bits[0] or largest
    exponent = max(bright >> 23, (largest >> 23) - MOST_ABOVE_UNIT, 1) - 127
    _mark_empty(image, good)
    return good.sum(), 2.0**exponent


@part
def _subtract_sky(image, good, unit, plane, data):
    """Writes the image without its sky, in this unit, into `data`, 0 where there is no data.

    The sky's level in the middle, and the light that is exceeded by one pixel in BRIGHT_SHARE.
    """
    (ny, nx), scale = image.shape, 1 / unit
    some, n = np.empty(ny * nx, np.float32), 0
    along, across = plane[1] / nx, plane[2] / ny
    corner = plane[0] - along * (nx - 1) / 2 - across * (ny - 1) / 2
    for y in range(ny):
        start = corner + across * y
        for x in range(nx):
            data[y, x] = image[y, x] * scale - (start + along * x) if good[y, x] else 0.0
        for x in range(y % 8, nx, 8):  # an eighth of the pixels is enough to see what is bright
            if good[y, x]:
                some[n] = data[y, x]
                n += 1
    level = corner + along * ((nx - 1) // 2) + across * ((ny - 1) // 2)
    n_some = len(some[:n])
    return level, select(some, n_some, n_some - 1 - n_some // BRIGHT_SHARE)


@part
def _find_galaxy(smooth, noise, pixel_class):
    """Fills `pixel_class` with GALAXY, NEIGHBOUR and SKY; whether there is a galaxy. `noise` is that of `smooth`."""
    ny, nx = smooth.shape
    labels, basins = np.empty((ny, nx), np.int32), np.empty((ny, nx), np.int32)
    n = _components(smooth, DETECTION_SIGMA * noise, labels)
    if n == 0:
        return False
    component, areas, peaks = _most_central(labels, n, smooth)
    if areas[component] < SMALLEST_AREA_PIX or peaks[component] < 2 * DETECTION_SIGMA * noise:
        return False
    n_basins = _basins(smooth, labels, component, noise, basins)
    wanted = _most_central(basins, n_basins, smooth)[0] if n_basins > 1 else 1
    for y in range(ny):
        for x in range(nx):
            if basins[y, x] == wanted:
                pixel_class[y, x] = GALAXY
            else:
                seen = labels[y, x] > 0 and peaks[labels[y, x]] > OWN_PEAK_SIGMA * noise
                pixel_class[y, x] = NEIGHBOUR if seen else SKY
    return True


@part
def segment(image: np.ndarray, stated: float) -> tuple[bool, Segmentation]:
    """Divides a stamp (ny, nx) float32, NaN where there is no data, into sky, central galaxy and neighbours.

    `stated` is the noise per pixel that somebody else knows of, or NaN. It is believed if it is within BELIEVED times
    that of the pixels: a galaxy that fills its stamp, or a crowd, looks like noise.
    Returns whether anything stands out near the centre, and what; all is 0 and MISSING if nothing does.
    """
    ny, nx = image.shape
    data, good = np.zeros((ny, nx), np.float32), np.empty((ny, nx), np.bool_)
    pixel_class = np.full((ny, nx), np.uint8(MISSING))
    nothing = Segmentation(data, data, pixel_class, 0.0, 0.0, 0.0, 1.0, 0.0, NO_GRAIN, 1.0)
    n_good, unit = _find_data(image, good) if min(ny, nx) >= MIN_SIDE else (0, 1.0)
    if n_good < MIN_PIXELS:
        return False, nothing
    plane, sigma = _sky_plane(image, good, unit)
    level, bright = _subtract_sky(image, good, unit, plane, data)
    stated /= unit
    if sigma < BELIEVED * stated and stated < BELIEVED * sigma:
        sigma = stated
    sigma = max(sigma, LEAST_NOISE * bright)
    if not 0 < sigma < np.inf or not bright > 0:  # also where numbers are too large for single precision
        return False, nothing
    smooth = smoothed(data, SMOOTHING_PIX)
    if not _find_galaxy(smooth, smoothed_noise(sigma), pixel_class):
        return False, nothing
    grow(pixel_class, 2)
    for y in range(ny if n_good < ny * nx else 0):
        for x in range(nx):
            if not good[y, x]:
                pixel_class[y, x] = MISSING
    correlation, beside = _correlation(data, pixel_class, sigma)
    grain, of_grain = _grain(data, pixel_class, sigma) if beside >= LEAST_CORRELATION else (NO_GRAIN, 1.0)
    correlation = max(correlation, of_grain)
    gradient = np.hypot(plane[1], plane[2]) / sigma
    return True, Segmentation(data, smooth, pixel_class, level, sigma, gradient, correlation, beside, grain, unit)
