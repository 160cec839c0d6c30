"""A tree of particles: sorted along a curve that fills space, and halved again and again. Gravity and gas use it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from emeraldcut.numerics.jit import compiled

LEVELS = 21  # halvings of each axis that a key counts
LEAF = 16  # particles of a leaf at most, apart from those at one place; also particles copied at once
GROUP = 64  # particles of a group at most; the force on them comes from the same list
BLOCK = 1024  # particles of a block at most; its groups share what is far


class Tree(NamedTuple):
    """Particles in the order of their Morton keys (Morton 1966), and nodes over ranges of them.

    A key interleaves the bits of the three coordinates. A node splits at the highest bit that differs within it, so
    that it is a cell of the octree, a half of one or a quarter. Nodes come in the order of a walk that opens all of
    them: the halves of node k are k + 1 and skip[k + 1], and skip[k] follows where k is not opened.

    Attributes
    ----------
    order : (n,) uint32
        Which particle is at a place in the tree.
    position : (3, n + LEAF) float64, kpc
        In that order, and zeros, so that `LEAF` particles can be copied at once.
    first, last : (k,) uint32
        Node k holds the places from first[k] up to last[k], without the latter.
    skip : (k + 1,) uint32
        Node k is a leaf if skip[k] is k + 1.
    box : (k, 6) float64, kpc
        Lowest x, y, z and highest x, y, z of the node's particles.
    groups, blocks : (g,), (b,) uint32
        The largest nodes of at most `GROUP` and `BLOCK` particles. Each set covers all particles once.
    block_groups : (b + 1,) uint32
        Block i holds the groups from block_groups[i] up to block_groups[i + 1], without the latter.
    """

    order: np.ndarray
    position: np.ndarray
    first: np.ndarray
    last: np.ndarray
    skip: np.ndarray
    box: np.ndarray
    groups: np.ndarray
    blocks: np.ndarray
    block_groups: np.ndarray


@compiled
def _spread(x: np.uint64) -> np.uint64:
    """The 21 lowest bits of x with two empty bits between them."""
    x = (x | (x << np.uint64(32))) & np.uint64(0x1F00000000FFFF)
    x = (x | (x << np.uint64(16))) & np.uint64(0x1F0000FF0000FF)
    x = (x | (x << np.uint64(8))) & np.uint64(0x100F00F00F00F00F)
    x = (x | (x << np.uint64(4))) & np.uint64(0x10C30C30C30C30C3)
    return (x | (x << np.uint64(2))) & np.uint64(0x1249249249249249)


@compiled
def _keys(position: np.ndarray) -> np.ndarray:
    """Morton keys (n,) uint64 of positions (n, 3)."""
    n = len(position)
    low_x = high_x = position[0, 0]
    low_y = high_y = position[0, 1]
    low_z = high_z = position[0, 2]
    for i in range(n):  # all axes in one loop, since each least and most waits for the one before
        low_x, high_x = min(low_x, position[i, 0]), max(high_x, position[i, 0])
        low_y, high_y = min(low_y, position[i, 1]), max(high_y, position[i, 1])
        low_z, high_z = min(low_z, position[i, 2]), max(high_z, position[i, 2])
    side = max(high_x - low_x, high_y - low_y, high_z - low_z)
    scale = (2.0**LEVELS - 1) / side if side > 0 else 0.0
    keys = np.empty(n, np.uint64)
    for i in range(n):
        x = _spread(np.uint64((position[i, 0] - low_x) * scale))
        y = _spread(np.uint64((position[i, 1] - low_y) * scale))
        z = _spread(np.uint64((position[i, 2] - low_z) * scale))
        keys[i] = (x << np.uint64(2)) | (y << np.uint64(1)) | z
    return keys


@compiled
def _sort(keys: np.ndarray, order: np.ndarray, sorted_keys: np.ndarray, sorted_order: np.ndarray) -> None:
    """Writes keys in rising order, and `order` with them; equal keys keep theirs. The first two arrays are used up.

    Radix sort by 7 digits of 9 bits. Their number is odd, so that the last one is written where it shall be.
    """
    n, places, mask = len(keys), np.zeros((7, 512), np.uint32), np.uint64(511)
    for i in range(n):
        for digit in range(7):
            places[digit, np.uintp((keys[i] >> np.uint64(9 * digit)) & mask)] += np.uint32(1)
    for digit in range(7):
        shift, total, place = np.uint64(9 * digit), np.uint32(0), places[digit]
        for value in range(512):
            total, place[value] = total + place[value], total
        for i in range(n):
            own = np.uintp((keys[i] >> shift) & mask)
            to = np.uintp(place[own])
            sorted_keys[to], sorted_order[to] = keys[i], order[i]
            place[own] += np.uint32(1)
        keys, sorted_keys, order, sorted_order = sorted_keys, keys, sorted_order, order


@compiled
def _settle(
    least: np.uint64,
    limit: np.uint64,
    keys: np.ndarray,
    position: np.ndarray,
    sorted_keys: np.ndarray,
    order: np.ndarray,
    ordered: np.ndarray,
) -> None:
    """Brings the particles with keys from `least` up to `limit`, without the latter, to their places in the tree."""
    start, stop = 0, 0
    for key in keys:
        start += key < least
        stop += key < limit
    n, found = stop - start, 0
    own_keys, own_order = np.empty(n + 1, np.uint64), np.empty(n + 1, np.uint32)
    for i in range(len(keys)):  # without a branch; what is not among them is overwritten
        own_keys[found], own_order[found] = keys[i], i
        found += (keys[i] >= least) & (keys[i] < limit)
    places = order[start:stop]
    _sort(own_keys[:n], own_order[:n], sorted_keys[start:stop], places)
    x, y, z = ordered[0, start:stop], ordered[1, start:stop], ordered[2, start:stop]
    for i in range(n):
        j = np.uintp(places[i])
        x[i], y[i], z[i] = position[j, 0], position[j, 1], position[j, 2]


@compiled
def _nodes(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """first, last and skip of the nodes over sorted keys."""
    n, one = len(keys), np.uint32(1)
    first, last, skip = np.empty(2 * n, np.uint32), np.empty(2 * n, np.uint32), np.zeros(2 * n + 1, np.uint32)
    waiting, depth, k = np.empty((3 * LEVELS + 2, 2), np.uint32), 1, 0
    waiting[0, 0], waiting[0, 1] = 0, n
    while depth:
        depth -= 1
        low, high = waiting[depth, 0], waiting[depth, 1]
        first[k], last[k] = low, high
        k += 1
        differing = keys[low] ^ keys[high - one]
        if high - low <= LEAF or differing == 0:
            skip[k - 1] = k
            continue
        for shift in (1, 2, 4, 8, 16, 32):
            differing |= differing >> np.uint64(shift)
        bit = differing ^ (differing >> np.uint64(1))  # the highest one
        left, right = low, high - one  # the first key that has it is after left and not after right
        while right - left > one:
            middle = (left + right) >> one
            if keys[middle] & bit:
                right = middle
            else:
                left = middle
        waiting[depth, 0], waiting[depth, 1] = right, high
        waiting[depth + 1, 0], waiting[depth + 1, 1] = low, right
        depth += 2
    for j in range(k - 1, -1, -1):
        if skip[j] == 0:
            skip[j] = skip[skip[j + 1]]
    return first[:k].copy(), last[:k].copy(), skip[: k + 1].copy()


@compiled
def _boxes(position: np.ndarray, first: np.ndarray, last: np.ndarray, skip: np.ndarray) -> np.ndarray:
    """Boxes (k, 6) around the particles of each node."""
    box = np.empty((len(first), 6))
    for k in range(len(first) - 1, -1, -1):
        for axis in range(3):
            if skip[k] == k + 1:
                low = high = position[axis, first[k]]
                for i in range(first[k], last[k]):
                    low, high = min(low, position[axis, i]), max(high, position[axis, i])
                box[k, axis], box[k, 3 + axis] = low, high
            else:
                a, b = k + 1, skip[k + 1]
                box[k, axis] = min(box[a, axis], box[b, axis])
                box[k, 3 + axis] = max(box[a, 3 + axis], box[b, 3 + axis])
    return box


@compiled
def _cover(most: int, first: np.ndarray, last: np.ndarray, skip: np.ndarray) -> np.ndarray:
    """The largest nodes of at most `most` particles, and leaves."""
    found, number, k = np.empty(len(first), np.uint32), 0, np.uint32(0)
    while k < len(first):
        if last[k] - first[k] <= most or skip[k] == k + 1:
            found[number] = k
            number += 1
            k = skip[k]
        else:
            k += np.uint32(1)
    return found[:number].copy()


@compiled
def _grow(keys: np.ndarray, order: np.ndarray, position: np.ndarray) -> Tree:
    """The tree over particles in their order."""
    first, last, skip = _nodes(keys)
    groups, blocks = _cover(GROUP, first, last, skip), _cover(BLOCK, first, last, skip)
    block_groups = np.searchsorted(groups, np.append(blocks, np.uint32(len(first)))).astype(np.uint32)
    return Tree(order, position, first, last, skip, _boxes(position, first, last, skip), groups, blocks, block_groups)


@cache
def _keep_memory() -> None:
    """Lets this process keep what memory it frees, up to 62 MB, for the arrays of the next tree.

    glibc would hand it back to the system after each step and ask for it anew, page by page, which takes 4 of 70 ms of
    the forces of 1e5 particles. How much it keeps is twice the largest array of up to 32 MB freed so far
    (M_MMAP_THRESHOLD in mallopt(3)).
    """
    np.empty(31 << 20, np.uint8)


def in_parts(work: Callable[[int, int], None], number: int, threads: int) -> None:
    """Calls work(begin, end) for parts of 0 ... number, by several threads, the caller's among them.

    Each part is 1 / (2 threads) of what is left, so that the last ones are small and all threads end together. A thread
    takes the next part when it is done with one.
    """
    if threads == 1:
        work(0, number)
        return
    bounds = [0]
    while bounds[-1] < number:
        bounds.append(bounds[-1] + max((number - bounds[-1]) // (2 * threads), 1))
    parts = iter(pairwise(bounds))

    def take() -> None:
        for begin, end in parts:
            work(begin, end)

    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(take) for _ in range(threads - 1)]
        take()
    for other in others:
        other.result()


def plant(position: np.ndarray, threads: int = 1) -> Tree:
    """The tree of particles at `position` (n, 3) float64, kpc, finite, n at least 1.

    Each thread sorts the particles of a range of keys; the tree does not depend on their number.
    """
    _keep_memory()
    keys = _keys(position)
    n, some = len(keys), np.sort(keys[:: len(keys) // 1024 + 1])
    bounds = np.array([0, *(some[len(some) * i // threads] for i in range(1, threads)), 2 ** (3 * LEVELS)], np.uint64)
    sorted_keys, order, ordered = np.empty_like(keys), np.empty(n, np.uint32), np.empty((3, n + LEAF))
    ordered[:, n:] = 0
    in_parts(
        lambda begin, end: _settle(bounds[begin], bounds[end], keys, position, sorted_keys, order, ordered),
        threads, threads,
    )  # fmt: skip
    return _grow(sorted_keys, order, ordered)


@compiled
def in_order(values: np.ndarray, tree: Tree) -> np.ndarray:
    """`values` (n,) of particles in the order of the tree, and `LEAF` zeros, float32."""
    ordered = np.zeros(len(values) + LEAF, np.float32)
    for i in range(len(values)):
        ordered[i] = values[np.uintp(tree.order[i])]
    return ordered


@compiled
def reach_of_nodes(radius: np.ndarray, tree: Tree) -> np.ndarray:
    """The largest radius (k,) of the particles of each node; `radius` (n,) in the order of the tree."""
    reach = np.empty(len(tree.first))
    for k in range(len(reach) - 1, -1, -1):
        if tree.skip[k] == k + 1:
            reach[k] = radius[tree.first[k] : tree.last[k]].max()
        else:
            reach[k] = max(reach[k + 1], reach[tree.skip[k + 1]])
    return reach


@compiled
def around_group(group: int, reach: np.ndarray, symmetric: bool, tree: Tree, leaves: np.ndarray) -> int:
    """Writes the leaves that may hold neighbours of a group's particles, and returns their number.

    A leaf counts where the boxes are not farther apart than the largest radius of the group, and with `symmetric`
    also where they are not farther apart than the largest radius of the leaf. `reach` (k,) is that of `reach_of_nodes`,
    `leaves` has space for k numbers.
    """
    box, skip, k, number = tree.box, tree.skip, np.uint32(0), 0
    while k < len(tree.first):
        square = 0.0
        for axis in range(3):
            gap = max(box[k, axis] - box[group, 3 + axis], box[group, axis] - box[k, 3 + axis], 0.0)
            square += gap * gap
        largest = max(reach[group], reach[k]) if symmetric else reach[group]
        if square > largest * largest:
            k = skip[k]
        else:
            if skip[k] == k + np.uint32(1):
                leaves[number] = k
                number += 1
            k += np.uint32(1)
    return number
