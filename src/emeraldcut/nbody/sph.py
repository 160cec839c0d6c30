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

from emeraldcut.nbody.gravity import VECTOR, wide_vectors
from emeraldcut.nbody.tree import Tree, around_group, in_parts, plant, reach_of_nodes
from emeraldcut.numerics.jit import compile_ahead, compiled, part

NORM = 21 / (2 * np.pi)  # of the kernel in three dimensions
SELF, SELF_POWER = 0.0294, -0.977  # what is too much in a particle's own density, for 100 neighbours; Dehnen & Aly
TOLERANCE = 0.005  # step in ln H that is the last one; Newton's method squares the error
LONGEST = 0.25  # step in ln H at most
MARGIN = 1.05  # of H, in which neighbours are listed
ATTEMPTS = 50
LEAST_OMEGA = 1e-3  # of the factor of the changing H, which noise could make 0
SLOPE = 20  # the kernel falls as SLOPE q (1 - q)^3
THINNEST = 0.1  # side of a node over its longest, for a first guess of H
# Rows of a list of particles; the sum of densities needs those up to the mass. Fields are those from VX on.
X, Y, Z, VX, VY, VZ, MASS, INVERSE, SOUND, DENSITY, LIMIT, PRESSURE, KERNEL = range(13)
OF_DENSITY, N_ROWS = MASS + 1, KERNEL + 1
AX, AY, AZ, COMPRESSION, FRICTION, SIGNAL = range(6)  # what is summed of forces
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


class _Gas(NamedTuple):
    """The particles of a sum over neighbours, in the order of the tree.

    Attributes
    ----------
    tree : Tree
    leaves : (l,) uint32
        Which of its nodes are leaves.
    active : (n,) bool
    fields : (f, n) float32
        What else the sum needs of each: velocity, mass, ...
    radius : (n,)
        H.
    """

    tree: Tree
    leaves: np.ndarray
    active: np.ndarray
    fields: np.ndarray
    radius: np.ndarray


class _Target(NamedTuple):
    """What determines H.

    Attributes
    ----------
    held : float
        Mass within H at the particle's density.
    excess : float
        Fraction of a particle's contribution to its own density that is subtracted.
    most : float
        Largest H, for when there are fewer particles than neighbours are asked for.
    """

    held: float
    excess: float
    most: float


class _Density(NamedTuple):
    """H and what follows from it; not `found` if neighbours must be listed farther out first."""

    found: bool
    radius: float
    density: float
    omega: float
    divergence: float
    rotation: float


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
            thin = THINNEST * sides.max()
            volume = max(sides[0], thin) * max(sides[1], thin) * max(sides[2], thin)
            of_node[k] = (3 / (4 * np.pi) * volume * neighbours / count) ** (1 / 3) if volume > 0 else 1.0
        if leaf:
            radius[tree.first[k] : tree.last[k]] = of_node[k]
    return radius


@part
def _list_near(leaf, reach, own, gas, leaves, places, to):
    """Lists particles not farther from a leaf's box than `reach` or than their `own` (n,); returns their number.

    They become columns of `to` (3 + f, ...): position relative to the middle of the box, and the fields. They are
    looked for in `leaves`. `places` is space for n numbers. The list is filled up to a multiple of `VECTOR` with zeros.
    """
    tree, fields, n = gas.tree, gas.fields, np.uintp(0)
    box, position = tree.box[leaf], tree.position
    for k in leaves:
        for j in range(np.uintp(tree.first[k]), np.uintp(tree.last[k])):
            square = 0.0
            for axis in range(3):
                gap = max(position[axis, j] - box[3 + axis], box[axis] - position[axis, j], 0.0)
                square += gap * gap
            largest = max(reach, own[j])
            places[n] = j
            n += np.uintp(square <= largest * largest)
    end = (n + np.uintp(VECTOR - 1)) & ~np.uintp(VECTOR - 1)
    for axis in range(3):
        middle = 0.5 * (box[axis] + box[3 + axis])
        for i in range(n):
            to[axis, i] = position[axis, np.uintp(places[i])] - middle
    for row in range(len(fields)):
        for i in range(n):
            to[VX + row, i] = fields[row, np.uintp(places[i])]
    to[:, n:end] = ZERO
    return np.uintp(end)


@part
def _copy(gas, leaf, i, own):
    """Writes position relative to the middle of the leaf's box, and fields, of particle i into `own` (3 + f,)."""
    box = gas.tree.box[leaf]
    for axis in range(3):
        own[axis] = gas.tree.position[axis, i] - 0.5 * (box[axis] + box[3 + axis])
    for row in range(len(gas.fields)):
        own[VX + row] = gas.fields[row, i]


@part
def _sum_density(own, inverse, near, n):
    """Sums over the first n columns of `near` (7, ...): x, y, z, velocity, mass; `own` holds the same of one particle.

    With q = r / H and t = 1 - q, or 0: returns the sums of m t^4 (1 + 4 q), m q^2 t^3, m t^3 v.r, and of the three
    components of m t^3 v x r.
    """
    wide_vectors()
    px, py, pz, qx, qy, qz, mass = near[X], near[Y], near[Z], near[VX], near[VY], near[VZ], near[MASS]
    x, y, z, vx, vy, vz = own[X], own[Y], own[Z], own[VX], own[VY], own[VZ]
    density, slope, along, turn_x, turn_y, turn_z = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for j in range(n & ~np.uintp(VECTOR - 1)):
        dx, dy, dz = x - px[j], y - py[j], z - pz[j]
        q = np.sqrt(dx * dx + dy * dy + dz * dz) * inverse
        t = ONE - q
        t = max(ZERO, t)
        g = mass[j] * t * t * t
        density += g * t * (ONE + FOUR * q)
        slope += g * q * q
        ux, uy, uz = vx - qx[j], vy - qy[j], vz - qz[j]
        along += g * (ux * dx + uy * dy + uz * dz)
        turn_x += g * (uy * dz - uz * dy)
        turn_y += g * (uz * dx - ux * dz)
        turn_z += g * (ux * dy - uy * dx)
    return density, slope, along, turn_x, turn_y, turn_z


@part
def _solve(own, radius, target, listed, near, n):
    """Newton's steps in ln H from `radius`, for one particle whose neighbours are listed out to `listed`."""
    for attempt in range(ATTEMPTS):
        radius = min(radius, target.most)
        if radius > listed:
            break
        total, slope, along, turn_x, turn_y, turn_z = _sum_density(own, np.float32(1 / radius), near, n)
        total -= target.excess * own[MASS]
        omega = max(SLOPE * slope / (3 * total), LEAST_OMEGA)
        step = -np.log(NORM * total / target.held) / (3 * omega)
        step = min(max(step, -LONGEST), LONGEST)
        if radius == target.most and step > 0:
            step, omega = 0.0, 1.0
        cube = radius**3
        rate, density = SLOPE * NORM / (cube * radius**2), NORM * total / cube
        radius *= np.exp(step)
        if abs(step) < TOLERANCE or attempt == ATTEMPTS - 1:
            turn = np.sqrt(turn_x * turn_x + turn_y * turn_y + turn_z * turn_z)
            changed = density * np.exp(-3 * step * (1 - omega))
            return _Density(True, radius, changed, omega, rate * along / density, rate * turn / density)
    return _Density(False, radius, 0.0, 0.0, 0.0, 0.0)


@part
def _farthest(radius, done, most):
    """How far neighbours of the particles that are not done are listed."""
    largest = 0.0
    for i in range(len(radius)):
        if not done[i]:
            largest = max(largest, MARGIN * min(radius[i], most))
    return largest


@compiled
def _densities(begin: int, end: int, gas: _Gas, target: _Target, out: np.ndarray) -> None:
    """Density and its like of active particles of the leaves from `begin` up to `end`.

    H of `gas` is a guess, and becomes H; its fields are velocity and mass. `out` (4, n) becomes density, omega,
    divergence and rotation.
    """
    tree, n = gas.tree, len(gas.active)
    leaves, places = np.empty(len(tree.first), np.uint32), np.empty(n + 1, np.uint32)
    reach, none, near = np.zeros(len(tree.first)), np.zeros(n), np.empty((OF_DENSITY, n + VECTOR), np.float32)
    own = np.empty(OF_DENSITY, np.float32)
    for number in range(begin, end):
        leaf = gas.leaves[number]
        first, last = tree.first[leaf], tree.last[leaf]
        done, waiting = ~gas.active[first:last], gas.active[first:last].any()
        while waiting:
            waiting = False  # type: ignore[assignment]  # to numba the bool of numpy and that of Python are one type
            listed = _farthest(gas.radius[first:last], done, target.most)
            reach[leaf] = listed
            found = around_group(leaf, reach, np.bool_(False), tree, leaves)
            columns = _list_near(leaf, listed, none, gas, leaves[:found], places, near)
            for i in range(first, last):
                if done[i - first]:
                    continue
                _copy(gas, leaf, i, own)
                result = _solve(own, gas.radius[i], target, listed, near, columns)
                gas.radius[i], done[i - first] = result.radius, result.found
                waiting |= not result.found
                if result.found:
                    out[0, i], out[1, i] = result.density, result.omega
                    out[2, i], out[3, i] = result.divergence, result.rotation


@part
def _sum_forces(own: np.ndarray, viscosity: float, near: np.ndarray, n: int, speeds: np.ndarray, sums: np.ndarray):
    """Writes acceleration (3), compression, friction and fastest signal of one particle into `sums` (6,).

    `own` and the first n columns of `near` (13, ...) hold x, y, z, velocity, mass, 1 / H, sound speed, density, the
    limiter of viscosity, and the factors of pressure and of viscosity in the gradient of the kernel.
    """
    wide_vectors()
    px, py, pz, qx, qy, qz, mass = near[X], near[Y], near[Z], near[VX], near[VY], near[VZ], near[MASS]
    inverses, sounds, densities = near[INVERSE], near[SOUND], near[DENSITY]
    limits, pressures, kernels = near[LIMIT], near[PRESSURE], near[KERNEL]
    x, y, z, vx, vy, vz = own[X], own[Y], own[Z], own[VX], own[VY], own[VZ]
    inverse, sound, density = own[INVERSE], own[SOUND], own[DENSITY]
    limit, pressure, kernel = own[LIMIT], own[PRESSURE], own[KERNEL]
    ax, ay, az, compression, friction, tiny = ZERO, ZERO, ZERO, ZERO, ZERO, np.float32(1e-30)
    for j in range(n & ~np.uintp(VECTOR - 1)):
        dx, dy, dz = x - px[j], y - py[j], z - pz[j]
        along = (vx - qx[j]) * dx + (vy - qy[j]) * dy + (vz - qz[j]) * dz
        r = np.sqrt(dx * dx + dy * dy + dz * dz + tiny)
        t, s = ONE - r * inverse, ONE - r * inverses[j]
        t, s = max(ZERO, t), max(ZERO, s)
        g, h = t * t * t, s * s * s
        approach = along / r
        approach = min(ZERO, approach)
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
    sums[AX], sums[AY], sums[AZ], sums[COMPRESSION], sums[FRICTION] = ax, ay, az, compression, friction
    bits, highest = speeds.view(np.int32), np.int32(0)  # positive floats have the order of their bits
    for j in range(n & ~np.uintp(VECTOR - 1)):
        highest = max(highest, bits[j])
    bits[0] = highest
    sums[SIGNAL] = speeds[0]


@compiled
def _forces(begin: int, end: int, gas: _Gas, viscosity: float, reach: np.ndarray, out: np.ndarray) -> None:
    """Sums (n, 6) of `_sum_forces` of active particles of the leaves from `begin` up to `end`, in their own order.

    `reach` (k,) is that of the tree's nodes, see `reach_of_nodes`.
    """
    tree, n = gas.tree, len(gas.active)
    leaves, places = np.empty(len(tree.first), np.uint32), np.empty(n + 1, np.uint32)
    near, speeds = np.empty((N_ROWS, n + VECTOR), np.float32), np.empty(n + VECTOR, np.float32)
    own, sums = np.empty(N_ROWS, np.float32), np.empty(SIGNAL + 1)
    for number in range(begin, end):
        leaf = gas.leaves[number]
        if not gas.active[tree.first[leaf] : tree.last[leaf]].any():
            continue
        found = around_group(leaf, reach, np.bool_(True), tree, leaves)
        columns = _list_near(leaf, reach[leaf], gas.radius, gas, leaves[:found], places, near)
        for i in range(tree.first[leaf], tree.last[leaf]):
            if gas.active[i]:
                _copy(gas, leaf, i, own)
                _sum_forces(own, viscosity, near, columns, speeds, sums)
                for k in range(len(sums)):
                    out[np.uintp(tree.order[i]), k] = sums[k]


def _target_for(neighbours: float, mass: np.ndarray, tree: Tree) -> _Target:
    box = tree.box[0]
    most = 2 * float(np.linalg.norm(box[3:] - box[:3]))
    held, excess = 3 / (4 * np.pi) * neighbours * mass.mean(), SELF * (neighbours / 100) ** SELF_POWER
    return _Target(float(held), float(excess), most if most > 0 else 1.0)


def _memory(tree: Tree, neighbours: float, before: Flow | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H (n,) to begin with, the results of `_densities` (4, n), both in the tree's order, and those of `_forces`."""
    n, order = len(tree.order), tree.order
    found, sums = np.empty((4, n)), np.empty((n, 6))
    if before is None:
        return _guess(neighbours, tree), found, sums
    found[:] = before.density[order], before.omega[order], before.divergence[order], before.rotation[order]
    sums[:, :COMPRESSION], sums[:, COMPRESSION] = before.acceleration, before.compression
    sums[:, FRICTION], sums[:, SIGNAL] = before.friction, before.signal
    return before.radius[order], found, sums


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
    leaves = np.flatnonzero(tree.skip[:-1] == np.arange(1, len(tree.skip))).astype(np.uint32)
    active = np.ones(n, bool) if active is None else active[order]
    radius, found, sums = _memory(tree, neighbours, before)
    fields = np.empty((N_ROWS - VX, n), np.float32)
    fields[: MASS - VX], fields[MASS - VX] = velocity[order].T, mass[order]
    gas, target = _Gas(tree, leaves, active, fields[: INVERSE - VX], radius), _target_for(neighbours, mass, tree)
    in_parts(lambda begin, end: _densities(begin, end, gas, target, found), len(leaves), threads)
    density, omega, divergence, rotation = found
    sound, factor = sound_speed[order], SLOPE * NORM / radius**5
    size = np.abs(divergence)
    fields[INVERSE - VX], fields[SOUND - VX], fields[DENSITY - VX] = 1 / radius, sound, density
    fields[LIMIT - VX] = size / (size + rotation + 1e-4 * sound / radius)  # Balsara's; his small number keeps it finite
    fields[PRESSURE - VX], fields[KERNEL - VX] = factor * stiffness[order] / (omega * density), factor
    gas, reach, alpha = gas._replace(fields=fields), reach_of_nodes(radius, tree), np.float32(0.25 * viscosity)
    in_parts(lambda begin, end: _forces(begin, end, gas, alpha, reach, sums), len(leaves), threads)
    unordered = np.empty((5, n))
    unordered[:, order] = density, radius, omega, divergence, rotation
    pushed = np.ascontiguousarray(sums[:, :COMPRESSION])
    compression, friction, signal = sums[:, COMPRESSION], sums[:, FRICTION], sums[:, SIGNAL]
    return Flow(pushed, compression, friction, *unordered, signal)  # type: ignore[call-arg]  # mypy cannot count the rows of an array


def flow_example() -> None:
    """What is compiled ahead, see `numerics.jit`."""
    one = np.ones(300)
    flow_of(np.random.default_rng(0).normal(size=(300, 3)), np.zeros((300, 3)), one, one, one)
