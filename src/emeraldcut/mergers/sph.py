"""Smoothed particle hydrodynamics (SPH): density, pressure and viscosity of gas, as sums over neighbours.

The density of a particle is the sum of its neighbours' masses under a kernel of radius H, Wendland's C2 function
(1 - q)^4 (1 + 4 q), which does not let particles pair, less what a particle adds too much to its own (Dehnen & Aly
2012, MNRAS 425, 1068, equations 18 and 19). H is where the sphere holds a set number of mean particle masses at that
density. The forces follow from these densities by Lagrange's equations, with the terms of the changing H (Springel &
Hernquist 2002, MNRAS 333, 649), so that they conserve energy as well as momentum and angular momentum. Viscosity is
that of Monaghan (1997, J. Comp. Phys. 136, 298) in the form of Springel (2005, MNRAS 364, 1105), less in shear (Balsara
1995, J. Comp. Phys. 121, 357).

The particles of a leaf of the tree share a list of what may be near, and the sums over it run in single precision on
vector units, as in `gravity`. Each particle's sum is its own, so that threads do not change it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emeraldcut.mergers.gravity import VECTOR, wide_vectors
from emeraldcut.mergers.tree import Tree, around_group, in_parts, plant, reach_of_nodes
from emeraldcut.numerics.jit import compile_ahead, compiled

NORM = 21 / (2 * np.pi)  # of the kernel in three dimensions
SELF, SELF_POWER = 0.0294, -0.977  # what is too much in a particle's own density, for 100 neighbours; Dehnen & Aly
TOLERANCE = 0.005  # step in ln H that is the last one; Newton's method squares the error
LONGEST = 0.25  # step in ln H at most
MARGIN = 1.05  # of H, in which neighbours are listed
ATTEMPTS = 50
ZERO, HALF, ONE, TWO, THREE, FOUR = (np.float32(x) for x in (0, 0.5, 1, 2, 3, 4))


class Flow(NamedTuple):
    """What gas does, one entry per particle.

    Attributes
    ----------
    acceleration : (n, 3), (km/s)^2/kpc
    compression, friction : (n,), (km/s)^3/kpc
        Rates at which pressure and viscosity change the internal energy of a unit of mass.
    density : (n,), Msun/kpc^3
    radius : (n,), kpc
        H, outside of which the kernel is 0.
    omega : (n,)
        Factor of the changing H: 1 + d ln(density) / d ln(H) / 3, the density being a function of H.
    divergence, rotation : (n,), km/s/kpc
        Of the velocity.
    signal : (n,), km/s
        Fastest signal between the particle and a neighbour: the sum of both sound speeds, the speed at which they come
        closer, and as far as viscosity is not limited twice that speed again.
    """

    acceleration: np.ndarray
    compression: np.ndarray
    friction: np.ndarray
    density: np.ndarray
    radius: np.ndarray
    omega: np.ndarray
    divergence: np.ndarray
    rotation: np.ndarray
    signal: np.ndarray

    def of(self, chosen: np.ndarray) -> Flow:
        """The same of some of the particles."""
        return Flow(*(values[chosen] for values in self))


@compiled
def _guess(neighbours: float, tree: Tree) -> np.ndarray:
    """A first H (n,) in the order of the tree: from the smallest node that holds so many particles."""
    radius, of_node = np.empty(len(tree.order)), np.empty(len(tree.first))
    parent = np.zeros(len(tree.first), np.uint32)
    for k in range(len(tree.first)):
        leaf = tree.skip[k] == k + 1
        if not leaf:
            parent[k + 1] = parent[tree.skip[k + 1]] = k
        count, box = tree.last[k] - tree.first[k], tree.box[k]
        if k and count < neighbours:
            of_node[k] = of_node[parent[k]]
        else:
            sides = box[3:] - box[:3]
            thin = 0.1 * sides.max()
            volume = max(sides[0], thin) * max(sides[1], thin) * max(sides[2], thin)
            of_node[k] = (3 / (4 * np.pi) * volume * neighbours / count) ** (1 / 3) if volume > 0 else 1.0
        if leaf:
            radius[tree.first[k] : tree.last[k]] = of_node[k]
    return radius


@compiled
def _list_near(
    leaf: int, radius: float, own: np.ndarray, fields: np.ndarray, tree: Tree, leaves: np.ndarray, number: int,
    places: np.ndarray, to: np.ndarray,
) -> int:  # fmt: skip
    """Lists particles not farther from a leaf's box than `radius` or than their `own` (n,); returns their number.

    They become columns of `to` (3 + f, ...): position relative to the middle of the box, and `fields` (f, n) float32 in
    the order of the tree. They are looked for in the first `number` of `leaves`. `places` is space for n numbers. The
    list is filled up to a multiple of `VECTOR` with zeros.
    """
    box, position, n = tree.box[leaf], tree.position, np.uintp(0)
    for k in leaves[:number]:
        for j in range(np.uintp(tree.first[k]), np.uintp(tree.last[k])):
            square = 0.0
            for axis in range(3):
                gap = max(position[axis, j] - box[3 + axis], box[axis] - position[axis, j], 0.0)
                square += gap * gap
            largest = max(radius, own[j])
            places[n] = j
            n += np.uintp(square <= largest * largest)
    end = (n + np.uintp(VECTOR - 1)) & ~np.uintp(VECTOR - 1)
    for axis in range(3):
        middle = 0.5 * (box[axis] + box[3 + axis])
        for i in range(n):
            to[axis, i] = position[axis, np.uintp(places[i])] - middle
    for row in range(len(fields)):
        for i in range(n):
            to[3 + row, i] = fields[row, np.uintp(places[i])]
    to[:, n:end] = ZERO
    return end


@compiled
def _sum_density(
    x: float, y: float, z: float, vx: float, vy: float, vz: float, inverse: float, near: np.ndarray, n: int
) -> tuple[float, ...]:
    """Sums over the first n columns of `near` (7, ...): x, y, z, velocity, mass. q is r / H, t is 1 - q or 0.

    Returns those of m t^4 (1 + 4 q), m q^2 t^3, m t^3 v.r, and of the three components of m t^3 v x r.
    """
    wide_vectors()
    px, py, pz, qx, qy, qz, mass = near[0], near[1], near[2], near[3], near[4], near[5], near[6]
    density, slope, along, turn_x, turn_y, turn_z = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for j in range(n & ~np.uintp(VECTOR - 1)):
        dx, dy, dz = x - px[j], y - py[j], z - pz[j]
        q = np.sqrt(dx * dx + dy * dy + dz * dz) * inverse
        t = ONE - q
        t = t if t > ZERO else ZERO
        g = mass[j] * t * t * t
        density += g * t * (ONE + FOUR * q)
        slope += g * q * q
        ux, uy, uz = vx - qx[j], vy - qy[j], vz - qz[j]
        along += g * (ux * dx + uy * dy + uz * dz)
        turn_x += g * (uy * dz - uz * dy)
        turn_y += g * (uz * dx - ux * dz)
        turn_z += g * (ux * dy - uy * dx)
    return density, slope, along, turn_x, turn_y, turn_z


@compiled
def _densities(
    begin: int, end: int, held: float, excess: float, of_leaves: np.ndarray, active: np.ndarray, fields: np.ndarray,
    tree: Tree, radius: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Density and its like of active particles of the leaves from `begin` up to `end`, everything in the tree's order.

    Parameters
    ----------
    held : mass in the sphere of radius H at the particle's density.
    excess : part of a particle's own share in its density that is too much.
    active : (n,) bool
    fields : (4, n) float32: velocity and mass.
    radius : (n,) a guess of H, which becomes H.
    out : (4, n) becomes density, omega, divergence and rotation.
    """
    n, box = len(tree.order), tree.box[0]
    leaves, places = np.empty(len(tree.first), np.uint32), np.empty(n + 1, np.uint32)
    reach, none, near = np.zeros(len(tree.first)), np.zeros(n), np.empty((7, n + VECTOR), np.float32)
    most = 2 * np.sqrt((box[3] - box[0]) ** 2 + (box[4] - box[1]) ** 2 + (box[5] - box[2]) ** 2)
    most = most if most > 0 else 1.0  # H, where there are fewer particles than neighbours are asked for
    for number in range(begin, end):
        leaf = of_leaves[number]
        first, last = tree.first[leaf], tree.last[leaf]
        box = tree.box[leaf]
        cx, cy, cz = 0.5 * (box[0] + box[3]), 0.5 * (box[1] + box[4]), 0.5 * (box[2] + box[5])
        done, waiting = ~active[first:last], active[first:last].any()
        while waiting:
            waiting, largest = False, 0.0
            for i in range(first, last):
                if not done[i - first]:
                    largest = max(largest, MARGIN * min(radius[i], most))
            reach[leaf] = largest
            found = around_group(leaf, reach, False, tree, leaves)
            columns = np.uintp(_list_near(leaf, largest, none, fields, tree, leaves, found, places, near))
            for i in range(first, last):
                if done[i - first]:
                    continue
                x = np.float32(tree.position[0, i] - cx)
                y = np.float32(tree.position[1, i] - cy)
                z = np.float32(tree.position[2, i] - cz)
                vx, vy, vz, mass = fields[0, i], fields[1, i], fields[2, i], fields[3, i]
                for attempt in range(ATTEMPTS):
                    radius[i] = min(radius[i], most)
                    if radius[i] > largest:
                        waiting = True
                        break
                    total, slope, along, turn_x, turn_y, turn_z = _sum_density(
                        x, y, z, vx, vy, vz, np.float32(1 / radius[i]), near, columns
                    )
                    total -= excess * mass
                    omega = max(20 * slope / (3 * total), 1e-3)
                    step = -np.log(NORM * total / held) / (3 * omega)
                    step = min(max(step, -LONGEST), LONGEST)
                    if radius[i] == most and step > 0:
                        step, omega = 0.0, 1.0
                    cube = radius[i] ** 3
                    rate = 20 * NORM / (cube * radius[i] ** 2)
                    density = NORM * total / cube
                    radius[i] *= np.exp(step)
                    if abs(step) < TOLERANCE or attempt == ATTEMPTS - 1:
                        out[0, i] = density * np.exp(-3 * step * (1 - omega))
                        out[1, i] = omega
                        out[2, i] = rate * along / density
                        out[3, i] = rate * np.sqrt(turn_x * turn_x + turn_y * turn_y + turn_z * turn_z) / density
                        done[i - first] = True
                        break


@compiled
def _sum_forces(own: np.ndarray, viscosity: float, near: np.ndarray, n: int, speeds: np.ndarray, sums: np.ndarray):
    """Writes acceleration (3), compression, friction and fastest signal of one particle into `sums` (6,).

    `own` and the first n columns of `near` (13, ...) hold x, y, z, velocity, mass, 1 / H, sound speed, density, the
    limiter of viscosity, and the factors of pressure and of viscosity in the gradient of the kernel.
    """
    wide_vectors()
    px, py, pz, qx, qy, qz, mass = near[0], near[1], near[2], near[3], near[4], near[5], near[6]
    inverses, sounds, densities, limits, pressures, kernels = near[7], near[8], near[9], near[10], near[11], near[12]
    x, y, z, vx, vy, vz = own[0], own[1], own[2], own[3], own[4], own[5]
    inverse, sound, density, limit, pressure, kernel = own[7], own[8], own[9], own[10], own[11], own[12]
    ax, ay, az, compression, friction, tiny = ZERO, ZERO, ZERO, ZERO, ZERO, np.float32(1e-30)
    for j in range(n & ~np.uintp(VECTOR - 1)):
        dx, dy, dz = x - px[j], y - py[j], z - pz[j]
        along = (vx - qx[j]) * dx + (vy - qy[j]) * dy + (vz - qz[j]) * dz
        r = np.sqrt(dx * dx + dy * dy + dz * dz + tiny)
        t, s = ONE - r * inverse, ONE - r * inverses[j]
        t, s = t if t > ZERO else ZERO, s if s > ZERO else ZERO
        g, h = t * t * t, s * s * s
        approach = along / r
        approach = approach if approach < ZERO else ZERO
        both = limit + limits[j]
        sounding = sound + sounds[j] - approach
        speeds[j] = sounding - approach * both if g + h > ZERO else ZERO
        stress = -viscosity * approach * (sounding - TWO * approach) * both / (density + densities[j])
        stress *= kernel * g + kernels[j] * h
        pushed = pressure * g
        force = mass[j] * (pushed + pressures[j] * h + stress)
        ax += force * dx
        ay += force * dy
        az += force * dz
        compression -= mass[j] * pushed * along
        friction -= HALF * mass[j] * stress * along
    sums[0], sums[1], sums[2], sums[3], sums[4] = ax, ay, az, compression, friction
    bits, highest = speeds.view(np.int32), np.int32(0)  # positive floats have the order of their bits
    for j in range(n & ~np.uintp(VECTOR - 1)):
        highest = max(highest, bits[j])
    bits[0] = highest
    sums[5] = speeds[0]


@compiled
def _forces(
    begin: int, end: int, viscosity: float, of_leaves: np.ndarray, active: np.ndarray, fields: np.ndarray, tree: Tree,
    radius: np.ndarray, reach: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Sums (n, 6) of `_sum_forces` of active particles of the leaves from `begin` up to `end`, in their own order."""
    n = len(tree.order)
    leaves, places = np.empty(len(tree.first), np.uint32), np.empty(n + 1, np.uint32)
    near, speeds = np.empty((13, n + VECTOR), np.float32), np.empty(n + VECTOR, np.float32)
    own, sums = np.empty(13, np.float32), np.empty(6)
    for number in range(begin, end):
        leaf = of_leaves[number]
        box = tree.box[leaf]
        if not active[tree.first[leaf] : tree.last[leaf]].any():
            continue
        found = around_group(leaf, reach, True, tree, leaves)
        columns = np.uintp(_list_near(leaf, reach[leaf], radius, fields, tree, leaves, found, places, near))
        for i in range(tree.first[leaf], tree.last[leaf]):
            if not active[i]:
                continue
            for axis in range(3):
                own[axis] = tree.position[axis, i] - 0.5 * (box[axis] + box[3 + axis])
            for row in range(10):
                own[3 + row] = fields[row, i]
            _sum_forces(own, viscosity, near, columns, speeds, sums)
            out[np.uintp(tree.order[i])] = sums


def flow_of(
    position: np.ndarray,
    velocity: np.ndarray,
    mass: np.ndarray,
    stiffness: np.ndarray,
    sound_speed: np.ndarray,
    *,
    neighbours: float = 64.0,
    viscosity: float = 1.0,
    before: Flow | None = None,
    active: np.ndarray | None = None,
    threads: int = 1,
) -> Flow:
    """Density of gas and the forces of its pressure and viscosity.

    Parameters
    ----------
    position : (n, 3), kpc
    velocity : (n, 3), km/s
    mass : (n,), Msun
    stiffness : (n,), (km/s)^2
        Pressure over density.
    sound_speed : (n,), km/s
    neighbours : float
        Mean particle masses in the sphere of radius H at the particle's density.
    viscosity : float
        Strength alpha.
    before : Flow, optional
        What it was a moment ago. Its H, where the search begins, saves time, and changes results by less than 1e-4.
    active : (n,) bool, optional
        Particles that are looked at; the others only act on them, and keep what they have in `before`.
    threads : int
        Results do not depend on it.
    """
    compile_ahead("gas", flow_example)
    tree, n = plant(np.ascontiguousarray(position, np.float64), threads), len(mass)
    order = tree.order
    of_leaves = np.flatnonzero(tree.skip[:-1] == np.arange(1, len(tree.skip))).astype(np.uint32)
    active = np.ones(n, bool) if active is None else active[order]
    fields, found, sums = np.empty((10, n), np.float32), np.empty((4, n)), np.empty((n, 6))
    if before is None:
        radius = _guess(neighbours, tree)
    else:
        radius = before.radius[order]
        found[:] = before.density[order], before.omega[order], before.divergence[order], before.rotation[order]
        sums[:, :3], sums[:, 3], sums[:, 4] = before.acceleration, before.compression, before.friction
        sums[:, 5] = before.signal
    fields[:3], fields[3] = velocity[order].T, mass[order]
    held, excess = 3 / (4 * np.pi) * neighbours * mass.mean(), SELF * (neighbours / 100) ** SELF_POWER
    in_parts(
        lambda begin, end: _densities(begin, end, held, excess, of_leaves, active, fields[:4], tree, radius, found),
        len(of_leaves), threads,
    )  # fmt: skip
    density, omega, divergence, rotation = found
    sound, factor = sound_speed[order], 20 * NORM / radius**5
    size = np.abs(divergence)
    fields[4], fields[5], fields[6] = 1 / radius, sound, density
    fields[7] = size / (size + rotation + 1e-4 * sound / radius)
    fields[8], fields[9] = factor * stiffness[order] / (omega * density), factor
    reach, alpha = reach_of_nodes(radius, tree), np.float32(0.25 * viscosity)
    in_parts(
        lambda begin, end: _forces(begin, end, alpha, of_leaves, active, fields, tree, radius, reach, sums),
        len(of_leaves), threads,
    )  # fmt: skip
    unordered = np.empty((5, n))
    unordered[:, order] = density, radius, omega, divergence, rotation
    return Flow(np.ascontiguousarray(sums[:, :3]), sums[:, 3], sums[:, 4], *unordered, sums[:, 5])


def flow_example() -> None:
    """What is compiled ahead, see `numerics.jit`."""
    one = np.ones(300)
    flow_of(np.random.default_rng(0).normal(size=(300, 3)), np.zeros((300, 3)), one, one, one)
