"""Gravity of particles: by a tree whose cells act on groups of particles, or by the sum over all pairs, also on a GPU.

All pairs attract each other as Plummer spheres (Plummer 1911) do in which the squares of both softening lengths are
averaged: the potential is -G m / R with R^2 = r^2 + (e_i^2 + e_j^2) / 2. It is the same seen from either particle, and
for one softening length it is the usual Plummer softening.

The tree acts in three ways. What is far acts on a group of particles as a whole: its field is expanded about
the group's centre up to the second order of the force, as in fast multipole methods (Dehnen 2002, J. Comp. Phys. 179,
27). What is less far acts on each particle with its mass and quadrupole. The rest is summed particle by particle. All
particles of a group share these lists (Barnes 1990, J. Comp. Phys. 87, 161), so that the sums are long and run in
single precision on vector units. Positions in them are relative to the group's centre: small where it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from emeraldcut.errors import UsageError
from emeraldcut.nbody.direct_jax import sum_pairs
from emeraldcut.nbody.snapshot import GRAVITY
from emeraldcut.nbody.tree import LEAF, Tree, in_order, in_parts, plant
from emeraldcut.numerics.jit import compile_ahead, compiled

OPENING = 0.8  # median error of the force of galaxies .2 to .4 %, 99th percentile 2.5 %
FAR = 0.9  # how much of the opening is allowed between a cell and a whole group
VECTOR = 16  # single-precision numbers in the longest vector; lists are filled up to a multiple of it
CHUNK = 4096  # particles after which a sum over all pairs goes on in double precision
ZERO, HALF, THIRD, ONE, THREE, FIVE = (np.float32(x) for x in (0, 0.5, 1 / 3, 1, 3, 5))
X, Y, Z, MASS, SOFTENING, XX, XY, XZ, YY, YZ, ZZ = range(11)  # rows of a list of sources; cells have second moments too
M, SOFT, MXX, MXY, MXZ, MYY, MYZ, MZZ = range(8)  # moments of a cell
SIZE = 3  # of a cell, after its centre
FX, FY, FZ, POTENTIAL = range(4)  # a field, and where its Taylor series begins; then its gradients
GXX, GXY, GXZ, GYY, GYZ, GZZ, GXXX, GXXY, GXXZ, GXYY, GXYZ, GXZZ, GYYY, GYYZ, GYZZ, GZZZ = range(4, 20)


@intrinsic
def wide_vectors(typing_context):
    """Makes the calling function use the longest vectors there are, where LLVM prefers those of 256 bits.

    With 512 bits pairs take a quarter less time.
    """

    def add(context, builder, signature, arguments):
        if isinstance(builder.function.attributes, set):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), add


class Cells(NamedTuple):
    """What the nodes of a tree hold.

    Attributes
    ----------
    centre : (k, 4) float64, kpc
        Centre of mass, and the size: the distance from it to the farthest corner of the box.
    spread : (k,) float64, kpc^2
        How far half the squared softening is from its mean at most; part of the size, as a fourth coordinate.
    moments : (k, 8) float32
        Mass, half of the mean squared softening, and the second moments xx, xy, xz, yy, yz, zz about the centre.
    mass, softening : (n + LEAF,) float32
        Of the particles in the order of the tree; half of the squared softening.
    """

    centre: np.ndarray
    spread: np.ndarray
    moments: np.ndarray
    mass: np.ndarray
    softening: np.ndarray


@compiled
def _fill(mass: np.ndarray, softening: np.ndarray, tree: Tree) -> Cells:
    """Moments of all nodes, from the leaves up. The two halves are joined by the parallel axis theorem."""
    k = len(tree.first)
    centre, spread, full, limits = np.empty((k, 4)), np.empty(k), np.zeros((k, 8)), np.empty((k, 2))
    x, y, z = tree.position[X], tree.position[Y], tree.position[Z]
    for c in range(k - 1, -1, -1):
        sums, total, sx, sy, sz, soft = full[c], 0.0, 0.0, 0.0, 0.0, 0.0
        if tree.skip[c] == c + 1:
            start, end = np.uintp(tree.first[c]), np.uintp(tree.last[c])
            low = high = softening[start]
            for i in range(start, end):
                total += mass[i]
                sx += mass[i] * x[i]
                sy += mass[i] * y[i]
                sz += mass[i] * z[i]
                soft += mass[i] * softening[i]
                low, high = min(low, softening[i]), max(high, softening[i])
            sx, sy, sz, soft = sx / total, sy / total, sz / total, soft / total
            for i in range(start, end):
                dx, dy, dz = x[i] - sx, y[i] - sy, z[i] - sz
                sums[MXX] += mass[i] * dx * dx
                sums[MXY] += mass[i] * dx * dy
                sums[MXZ] += mass[i] * dx * dz
                sums[MYY] += mass[i] * dy * dy
                sums[MYZ] += mass[i] * dy * dz
                sums[MZZ] += mass[i] * dz * dz
        else:
            a, b = np.uintp(c + 1), np.uintp(tree.skip[c + 1])
            total = full[a, M] + full[b, M]
            share_a, share_b = full[a, M] / total, full[b, M] / total
            sx = share_a * centre[a, X] + share_b * centre[b, X]
            sy = share_a * centre[a, Y] + share_b * centre[b, Y]
            sz = share_a * centre[a, Z] + share_b * centre[b, Z]
            soft = share_a * full[a, SOFT] + share_b * full[b, SOFT]
            low, high = min(limits[a, 0], limits[b, 0]), max(limits[a, 1], limits[b, 1])
            dx, dy, dz = centre[a, X] - centre[b, X], centre[a, Y] - centre[b, Y], centre[a, Z] - centre[b, Z]
            reduced = share_a * full[b, M]
            sums[MXX] = full[a, MXX] + full[b, MXX] + reduced * dx * dx
            sums[MXY] = full[a, MXY] + full[b, MXY] + reduced * dx * dy
            sums[MXZ] = full[a, MXZ] + full[b, MXZ] + reduced * dx * dz
            sums[MYY] = full[a, MYY] + full[b, MYY] + reduced * dy * dy
            sums[MYZ] = full[a, MYZ] + full[b, MYZ] + reduced * dy * dz
            sums[MZZ] = full[a, MZZ] + full[b, MZZ] + reduced * dz * dz
        sums[M], sums[SOFT], limits[c, 0], limits[c, 1] = total, soft, low, high
        spread[c] = max(high - soft, soft - low)
        cx = max(sx - tree.box[c, 0], tree.box[c, 3] - sx)
        cy = max(sy - tree.box[c, 1], tree.box[c, 4] - sy)
        cz = max(sz - tree.box[c, 2], tree.box[c, 5] - sz)
        centre[c, X], centre[c, Y], centre[c, Z] = sx, sy, sz
        centre[c, SIZE] = np.sqrt(cx * cx + cy * cy + cz * cz + spread[c])
    return Cells(centre, spread, full.astype(np.float32), mass, softening)


@compiled
def _choose(node: int, start: np.ndarray, halt: bool, opening: float, tree: Tree, cells: Cells, lists: np.ndarray):
    """Sorts the nodes below those of `start` into three lists of a node, and returns how many each holds.

    lists (4, k + 2) uint32 becomes what is far, what is near, leaves to open, and what was seen on the way.

    A cell of size b at the distance D between both centres is far from a node of size s where b + s < .9 opening D. It
    is near where b < opening d, d being its distance from the node's box. The node itself is in no list; what contains
    it is opened. With `halt`, cells smaller than the node are not opened either: they are for the node's own parts.

    There is no branch, because its outcome could not be predicted.
    """
    box, centre, skip, one = tree.box[node], cells.centre, tree.skip, np.uintp(1)
    far, near, leaves, queue = lists[0], lists[1], lists[2], lists[3]
    cx, cy, cz = 0.5 * (box[0] + box[3]), 0.5 * (box[1] + box[4]), 0.5 * (box[2] + box[5])
    hx, hy, hz = box[3] - cx, box[4] - cy, box[5] - cz
    size = np.sqrt(hx * hx + hy * hy + hz * hz + cells.spread[node])
    least = size if halt else 0.0
    near_square, far_square = opening * opening, FAR * FAR * opening * opening
    fars, nears, opened, head, tail = np.uintp(0), np.uintp(0), np.uintp(0), np.uintp(0), np.uintp(len(start))
    queue[:tail] = start
    while head < tail:
        c = np.uintp(queue[head])
        head += one
        after = np.uintp(skip[c])
        outside = (node < c) | (node >= after)
        x, y, z, b = abs(centre[c, X] - cx), abs(centre[c, Y] - cy), abs(centre[c, Z] - cz), centre[c, SIZE]
        is_far = ((b + size) * (b + size) < far_square * (x * x + y * y + z * z)) & outside
        x, y, z = max(x - hx, 0.0), max(y - hy, 0.0), max(z - hz, 0.0)
        is_near = ((b < least) | (b * b < near_square * (x * x + y * y + z * z))) & outside & (not is_far)
        rest = (not (is_far | is_near)) & (c != node)
        is_leaf = rest & (after == c + one)
        far[fars], near[nears], leaves[opened] = c, c, c
        queue[tail], queue[tail + one] = c + one, skip[c + one]
        fars += np.uintp(is_far)
        nears += np.uintp(is_near)
        opened += np.uintp(is_leaf)
        tail += np.uintp(2) * np.uintp(rest & (not is_leaf))
    return fars, nears, opened


@compiled
def _append(
    first: np.uintp, last: np.uintp, cx: float, cy: float, cz: float, tree: Tree, cells: Cells, to: np.ndarray,
    n: np.uintp,
) -> np.uintp:  # fmt: skip
    """Adds the particles from first up to last to a list (5, ...), relative to (cx, cy, cz); returns its length.

    Loops of a fixed length run on vector units; what is too much is overwritten by what follows.
    """
    position, mass, softening, width = tree.position, cells.mass, cells.softening, np.uintp(LEAF)
    while first < last:
        for i in range(width):
            to[X, n + i] = position[X, first + i] - cx
        for i in range(width):
            to[Y, n + i] = position[Y, first + i] - cy
        for i in range(width):
            to[Z, n + i] = position[Z, first + i] - cz
        for i in range(width):
            to[MASS, n + i] = mass[first + i]
        for i in range(width):
            to[SOFTENING, n + i] = softening[first + i]
        n += min(width, last - first)
        first += width
    return n


@compiled
def _list_cells(numbers: np.ndarray, cx: float, cy: float, cz: float, cells: Cells, to: np.ndarray) -> None:
    """Writes cells into a list (11, ...), relative to (cx, cy, cz)."""
    for i in range(np.uintp(len(numbers))):
        c = np.uintp(numbers[i])
        to[X, i], to[Y, i], to[Z, i] = cells.centre[c, X] - cx, cells.centre[c, Y] - cy, cells.centre[c, Z] - cz
        for j in range(8):
            to[MASS + j, i] = cells.moments[c, j]


@compiled
def _fill_up(sources: np.ndarray, n: np.uintp) -> np.uintp:
    """Fills a list up to a multiple of `VECTOR` with sources that have no mass; returns its length."""
    end = (n + np.uintp(VECTOR - 1)) & ~np.uintp(VECTOR - 1)
    for i in range(n, end):
        sources[:, i] = ZERO
        sources[SOFTENING, i] = ONE
    return end


@compiled
def _add_particles(targets: np.ndarray, sources: np.ndarray, n: int, own: bool, field: np.ndarray) -> None:
    """Adds to the field (4, t) of targets (5, t) what the first n sources (5, ...) do. n is a multiple of `VECTOR`.

    With `own` the first sources are the targets, each of which does not act on itself.
    """
    wide_vectors()
    x, y, z, mass, softening = sources[X], sources[Y], sources[Z], sources[MASS], sources[SOFTENING]
    for i in range(targets.shape[1]):
        xi, yi, zi, soft = targets[X, i], targets[Y, i], targets[Z, i], targets[SOFTENING, i]
        ax, ay, az, potential = ZERO, ZERO, ZERO, ZERO
        kept = mass[i]
        if own:
            mass[i] = ZERO
        for j in range(n & ~np.uintp(VECTOR - 1)):
            dx, dy, dz = x[j] - xi, y[j] - yi, z[j] - zi
            inverse = ONE / np.sqrt(dx * dx + dy * dy + dz * dz + (softening[j] + soft))
            p = mass[j] * inverse
            f = p * (inverse * inverse)
            potential += p
            ax += f * dx
            ay += f * dy
            az += f * dz
        mass[i] = kept
        field[FX, i] += ax
        field[FY, i] += ay
        field[FZ, i] += az
        field[POTENTIAL, i] -= potential


@compiled
def _add_cells(targets: np.ndarray, sources: np.ndarray, n: int, field: np.ndarray) -> None:
    """The same for cells (11, ...), with their mass M and second moments S about their centre.

    The potential is -[M / R + (3 x.S.x / R^5 - tr S / R^3) / 2], x being the distance vector.
    """
    wide_vectors()
    x, y, z, mass, softening = sources[X], sources[Y], sources[Z], sources[MASS], sources[SOFTENING]
    xx, xy, xz, yy, yz, zz = sources[XX], sources[XY], sources[XZ], sources[YY], sources[YZ], sources[ZZ]
    for i in range(targets.shape[1]):
        xi, yi, zi, soft = targets[X, i], targets[Y, i], targets[Z, i], targets[SOFTENING, i]
        ax, ay, az, potential = ZERO, ZERO, ZERO, ZERO
        for j in range(n & ~np.uintp(VECTOR - 1)):
            dx, dy, dz = x[j] - xi, y[j] - yi, z[j] - zi
            inverse = ONE / np.sqrt(dx * dx + dy * dy + dz * dz + (softening[j] + soft))
            square = inverse * inverse
            g1 = inverse * square
            g2 = THREE * g1 * square
            sx = xx[j] * dx + xy[j] * dy + xz[j] * dz
            sy = xy[j] * dx + yy[j] * dy + yz[j] * dz
            sz = xz[j] * dx + yz[j] * dy + zz[j] * dz
            along = HALF * (sx * dx + sy * dy + sz * dz)
            trace = HALF * (xx[j] + yy[j] + zz[j])
            f = mass[j] * g1 + g2 * (FIVE * square * along - trace)
            potential += mass[j] * inverse + g2 * along - g1 * trace
            ax += f * dx - g2 * sx
            ay += f * dy - g2 * sy
            az += f * dz - g2 * sz
        field[FX, i] += ax
        field[FY, i] += ay
        field[FZ, i] += az
        field[POTENTIAL, i] -= potential


@compiled
def _expand(sources: np.ndarray, n: int, soft: float, series: np.ndarray) -> None:
    """Taylor series (20,) of the field of the first n cells (11, ...) about the origin.

    The force (`FX`, ...) and the potential come from mass and quadrupole, the gradients of the force (`GXX`, ...) and
    their gradients (`GXXX`, ...) from the mass. All terms up to the third order in size over distance are there.
    """
    wide_vectors()
    x, y, z, mass, softening = sources[X], sources[Y], sources[Z], sources[MASS], sources[SOFTENING]
    xx, xy, xz, yy, yz, zz = sources[XX], sources[XY], sources[XZ], sources[YY], sources[YZ], sources[ZZ]
    ax, ay, az, potential, u, ux, uy, uz = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    txx, txy, txz, tyy, tyz, tzz = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    txxx, txxy, txxz, txyy, txyz, txzz, tyyy, tyyz, tyzz, tzzz = (
        ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)  # fmt: skip
    for j in range(n & ~np.uintp(VECTOR - 1)):
        dx, dy, dz = x[j], y[j], z[j]
        inverse = ONE / np.sqrt(dx * dx + dy * dy + dz * dz + (softening[j] + soft))
        square = inverse * inverse
        g1 = inverse * square
        g2 = THREE * g1 * square
        sx = xx[j] * dx + xy[j] * dy + xz[j] * dz
        sy = xy[j] * dx + yy[j] * dy + yz[j] * dz
        sz = xz[j] * dx + yz[j] * dy + zz[j] * dz
        along = HALF * (sx * dx + sy * dy + sz * dz)
        trace = HALF * (xx[j] + yy[j] + zz[j])
        f = mass[j] * g1 + g2 * (FIVE * square * along - trace)
        potential += mass[j] * inverse + g2 * along - g1 * trace
        ax += f * dx - g2 * sx
        ay += f * dy - g2 * sy
        az += f * dz - g2 * sz
        u += mass[j] * g1
        hx, hy, hz = mass[j] * g2 * dx, mass[j] * g2 * dy, mass[j] * g2 * dz
        ux += hx
        uy += hy
        uz += hz
        hxx, hxy, hyy, hzz = hx * dx, hx * dy, hy * dy, hz * dz
        txx += hxx
        txy += hxy
        txz += hx * dz
        tyy += hyy
        tyz += hy * dz
        tzz += hzz
        qx, qy, qz = FIVE * square * dx, FIVE * square * dy, FIVE * square * dz
        txxx += hxx * qx
        txxy += hxx * qy
        txxz += hxx * qz
        txyy += hyy * qx
        txyz += hxy * qz
        txzz += hzz * qx
        tyyy += hyy * qy
        tyyz += hyy * qz
        tyzz += hzz * qy
        tzzz += hzz * qz
    series[FX], series[FY], series[FZ], series[POTENTIAL] = ax, ay, az, -potential
    series[GXX], series[GXY], series[GXZ] = txx - u, txy, txz
    series[GYY], series[GYZ], series[GZZ] = tyy - u, tyz, tzz - u
    series[GXXX], series[GXXY], series[GXXZ] = txxx - THREE * ux, txxy - uy, txxz - uz
    series[GXYY], series[GXYZ], series[GXZZ] = txyy - ux, txyz, txzz - ux
    series[GYYY], series[GYYZ] = tyyy - THREE * uy, tyyz - uz
    series[GYZZ], series[GZZZ] = tyzz - uy, tzzz - THREE * uz


@compiled
def _add_series(targets: np.ndarray, ox: float, oy: float, oz: float, series: np.ndarray, field: np.ndarray) -> None:
    """Adds a Taylor series to the field (4, t) of targets (5, t), which are relative to (ox, oy, oz) of the series."""
    c = series
    for i in range(targets.shape[1]):
        x, y, z = targets[X, i] + ox, targets[Y, i] + oy, targets[Z, i] + oz
        xx, xy, xz, yy, yz, zz = HALF * x * x, x * y, x * z, HALF * y * y, y * z, HALF * z * z
        ax, ay, az = (
            c[GXX] * x + c[GXY] * y + c[GXZ] * z,
            c[GXY] * x + c[GYY] * y + c[GYZ] * z,
            c[GXZ] * x + c[GYZ] * y + c[GZZ] * z,
        )
        bx = c[GXXX] * xx + c[GXXY] * xy + c[GXXZ] * xz + c[GXYY] * yy + c[GXYZ] * yz + c[GXZZ] * zz
        by = c[GXXY] * xx + c[GXYY] * xy + c[GXYZ] * xz + c[GYYY] * yy + c[GYYZ] * yz + c[GYZZ] * zz
        bz = c[GXXZ] * xx + c[GXYZ] * xy + c[GXZZ] * xz + c[GYYZ] * yy + c[GYZZ] * yz + c[GZZZ] * zz
        field[FX, i] += c[FX] + ax + bx
        field[FY, i] += c[FY] + ay + by
        field[FZ, i] += c[FZ] + az + bz
        along_x, along_y, along_z = (
            c[FX] + HALF * ax + THIRD * bx,
            c[FY] + HALF * ay + THIRD * by,
            c[FZ] + HALF * az + THIRD * bz,
        )
        field[POTENTIAL, i] += c[POTENTIAL] - (along_x * x + along_y * y + along_z * z)


@compiled
def _deliver(group: int, field: np.ndarray, tree: Tree, out: np.ndarray) -> None:
    """Writes the field (4, t) of a group's particles to their rows of `out` (n, 4)."""
    start = np.uintp(tree.first[group])
    for i in range(np.uintp(field.shape[1])):
        j = np.uintp(tree.order[start + i])
        out[j, FX], out[j, FY], out[j, FZ] = field[FX, i], field[FY, i], field[FZ, i]
        out[j, POTENTIAL] = field[POTENTIAL, i]


@compiled
def _centre_of(node: int, tree: Tree) -> tuple[float, float, float]:
    box = tree.box[node]
    return 0.5 * (box[0] + box[3]), 0.5 * (box[1] + box[4]), 0.5 * (box[2] + box[5])


@compiled
def _by_cells(begin: int, end: int, opening: float, tree: Tree, cells: Cells, out: np.ndarray) -> None:
    """Field (n, 4) of the particles in the blocks from `begin` up to `end`: force and potential for G = 1.

    What is far from a whole block is expanded once for all its groups.
    """
    k, n, none = len(tree.first), len(tree.order), np.uintp(0)
    lists = np.empty((4, k + 2), np.uint32)
    far, near, leaves = lists[0], lists[1], lists[2]
    particles, distant = np.empty((5, n + LEAF + VECTOR), np.float32), np.empty((11, k + VECTOR), np.float32)
    for number in range(begin, end):
        block = np.uintp(tree.blocks[number])
        bx, by, bz = _centre_of(block, tree)
        fars, nears, opened = _choose(block, np.zeros(1, np.uint32), True, opening, tree, cells, lists)
        start = np.concatenate((tree.blocks[number : number + 1], near[:nears], leaves[:opened]))
        block_series = np.empty(20, np.float32)
        _list_cells(far[:fars], bx, by, bz, cells, distant)
        _expand(distant, _fill_up(distant, fars), cells.moments[block, SOFT], block_series)
        for place in range(tree.block_groups[number], tree.block_groups[number + 1]):
            group = np.uintp(tree.groups[place])
            x, y, z = _centre_of(group, tree)
            fars, nears, opened = _choose(group, start, False, opening, tree, cells, lists)
            own = _append(
                np.uintp(tree.first[group]), np.uintp(tree.last[group]), x, y, z, tree, cells, particles, none
            )
            used = own
            for leaf in leaves[:opened]:
                first, last = np.uintp(tree.first[leaf]), np.uintp(tree.last[leaf])
                used = _append(first, last, x, y, z, tree, cells, particles, used)
            targets, field, series = particles[:, :own], np.zeros((4, own)), np.empty(20, np.float32)
            _add_particles(targets, particles, _fill_up(particles, used), True, field)
            _list_cells(near[:nears], x, y, z, cells, distant)
            _add_cells(targets, distant, _fill_up(distant, nears), field)
            _list_cells(far[:fars], x, y, z, cells, distant)
            _expand(distant, _fill_up(distant, fars), cells.moments[group, SOFT], series)
            _add_series(targets, ZERO, ZERO, ZERO, series, field)
            _add_series(targets, np.float32(x - bx), np.float32(y - by), np.float32(z - bz), block_series, field)
            _deliver(group, field, tree, out)


@compiled
def _by_pairs(begin: int, end: int, opening: float, tree: Tree, cells: Cells, out: np.ndarray) -> None:
    """The same by the sum over all pairs; of the tree it uses only the order, for good local origins."""
    n, none = np.uintp(len(tree.order)), np.uintp(0)
    targets, sources = np.empty((5, n + LEAF + VECTOR), np.float32), np.empty((5, CHUNK + LEAF + VECTOR), np.float32)
    for place in range(tree.block_groups[begin], tree.block_groups[end]):
        group = tree.groups[place]
        x, y, z = _centre_of(group, tree)
        first, last = np.uintp(tree.first[group]), np.uintp(tree.last[group])
        own = _append(first, last, x, y, z, tree, cells, targets, none)
        field = np.zeros((4, own))
        _add_particles(targets[:, :own], targets, _fill_up(targets, own), True, field)
        for low, high in ((none, first), (last, n)):
            for start in range(low, high, np.uintp(CHUNK)):
                stop = min(start + np.uintp(CHUNK), high)
                used = _append(start, stop, x, y, z, tree, cells, sources, none)
                _add_particles(targets[:, :own], sources, _fill_up(sources, used), False, field)
        _deliver(group, field, tree, out)


_COMPILED = {"tree": _by_cells, "direct": _by_pairs}
ENGINES = (*_COMPILED, "jax")


def _check(position: np.ndarray, mass: np.ndarray, softening: np.ndarray, engine: str, opening: float, threads: int):
    """Raises ValueError with the sentence that says what is wrong."""
    n = len(mass)
    if n == 0 or position.shape != (n, 3) or mass.shape != (n,) or softening.shape != (n,):
        raise UsageError(
            "gravity needs position (n, 3), mass (n,) and softening_kpc (n,) of at least one particle; received "
            f"{position.shape}, {mass.shape} and {softening.shape}."
        )
    if not np.isfinite(position).all():
        raise UsageError("gravity needs finite positions.")
    for name, values in (("mass", mass), ("softening_kpc", softening)):
        if not (values.min() > 0 and values.max() < np.inf):
            raise UsageError(f"gravity needs a positive, finite {name} of each particle.")
    if engine not in ENGINES:
        raise UsageError(f"gravity knows the engines {', '.join(ENGINES)}; received '{engine}'.")
    if not 0 < opening <= 1:
        raise UsageError(f"opening expects a number above 0 and up to 1; received {opening}.")
    if threads < 1:
        raise UsageError(f"gravity needs at least one thread; received {threads}.")


def accelerations(
    position: np.ndarray,
    mass: np.ndarray,
    softening_kpc: np.ndarray,
    *,
    engine: str = "tree",
    opening: float = OPENING,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Gravitational acceleration and potential of particles at each other's places.

    Parameters
    ----------
    position : (n, 3), kpc
    mass : (n,), Msun
        Positive.
    softening_kpc : (n,)
        Plummer softening length, positive. A pair has the root mean square of both.
    engine : "tree", "direct" or "jax"
        `direct` sums over all pairs, to a relative error of 1e-5; `jax` does the same by JAX, for a GPU.
    opening : float
        Largest size over distance of cells that act as a whole, for `tree`: the smaller, the more exact. The median
        relative error of galaxies is .2 to .4 % at the default of .8 and .05 % at .5.
    threads : int
        The result does not depend on it; `jax` has none.

    Returns
    -------
    acceleration : (n, 3) float64, (km/s)^2/kpc
    potential : (n,) float64, (km/s)^2
        Without the particle's own.

    Raises
    ------
    ValueError
        If shapes do not agree, or a number, the engine or the opening is out of its range.
    ImportError
        The engine is "jax" and JAX is not there.
    """
    position = np.ascontiguousarray(position, np.float64)
    mass, softening = np.asarray(mass, np.float64), np.asarray(softening_kpc, np.float64)
    _check(position, mass, softening, engine, opening, threads)
    total = mass.sum()  # as the unit of mass it keeps single precision away from its limits
    if engine == "jax":
        field = sum_pairs(position, mass / total, softening)
    else:
        field = _by_tree(_COMPILED[engine], position, mass / total, softening, opening, threads)
    field *= GRAVITY * total
    return field[:, :3], field[:, 3]


def _by_tree(
    engine: Callable, position: np.ndarray, mass: np.ndarray, softening: np.ndarray, opening: float, threads: int
) -> np.ndarray:
    """The field (n, 4) for G = 1 by a compiled engine, which takes blocks of a tree."""
    compile_ahead("gravity", EXAMPLES["tree" if engine is _by_cells else "direct"])
    tree = plant(position, threads)
    cells, field = _fill(in_order(mass, tree), in_order(0.5 * softening**2, tree), tree), np.empty((len(mass), 4))
    in_parts(lambda begin, end: engine(begin, end, opening, tree, cells, field), len(tree.blocks), threads)
    return field


# --- what is compiled ahead, see `numerics.jit`


def tree_example(engine: str = "tree") -> None:
    """Gravity by the tree."""
    accelerations(np.random.default_rng(0).normal(size=(300, 3)), np.ones(300), np.ones(300), engine=engine)


def direct_example() -> None:
    """Gravity by all pairs."""
    tree_example("direct")


EXAMPLES = {"tree": tree_example, "direct": direct_example}
