"""Forces against plain sums, formulas and pytreegrav; what must not matter; the tree and its neighbours."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from emeraldcut.nbody import direct_jax as pairs
from emeraldcut.nbody.gravity import accelerations
from emeraldcut.nbody.snapshot import GRAVITY
from emeraldcut.nbody.tree import BLOCK, GROUP, LEAF, around_group, in_parts, plant, reach_of_nodes
from tests.helpers import isotropic

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)


def particles(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two clumps of steep density and a flat one, with different masses and softening lengths."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, number)
    radius = np.array((0.5, 2.0, 10.0))[kind] * rng.random(number) ** -0.7
    position = isotropic(radius, rng) + np.array([[0, 0, 0], [20, 5, 0], [10, 0, 0]])[kind]
    position[kind == 2, 2] *= 0.05
    return position, np.array((1e5, 3e5, 2e6))[kind], np.array((0.05, 0.1, 0.3))[kind]


def plain_sum(position, mass, softening):
    """By numpy, in double precision."""
    distance = position[None] - position[:, None]  # (n, n, 3)
    square = (distance**2).sum(-1) + (softening[:, None] ** 2 + softening**2) / 2
    np.fill_diagonal(square, np.inf)
    force = GRAVITY * np.einsum("j,ijk,ij->ik", mass, distance, square**-1.5)
    return force, -GRAVITY * (square**-0.5) @ mass


def errors(found, true):
    return np.linalg.norm(found - true, axis=1) / np.linalg.norm(true, axis=1)


@pytest.mark.parametrize("number", [2, 17, 300, 1500])
def test_the_direct_sum_is_the_plain_one(number):
    cloud = particles(number)
    force, potential = accelerations(*cloud, engine="direct")
    true_force, true_potential = plain_sum(*cloud)
    assert errors(force, true_force).max() < 3e-5
    np.testing.assert_allclose(potential, true_potential, rtol=3e-6)


@pytest.mark.parametrize("number", [17, 1500])
def test_jax_gives_the_plain_sum(number, monkeypatch):
    pytest.importorskip("jax", reason="JAX, which the engine 'jax' needs, is not installed")
    monkeypatch.setattr(pairs, "BLOCK", 512)
    position, mass, softening = particles(number)
    for far in (0.0, 1e4):  # in one place, and a half of it far from the other
        cloud = position + far * (np.arange(number) % 2)[:, None], mass, softening
        (force, potential), (true_force, true_potential) = accelerations(*cloud, engine="jax"), plain_sum(*cloud)
        assert errors(force, true_force).max() < 3e-6
        np.testing.assert_allclose(potential, true_potential, rtol=3e-6)
    force, potential = accelerations(position[:1], mass[:1], softening[:1], engine="jax")
    assert (force == 0).all() and potential == 0


def test_without_jax_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    pairs._compile.cache_clear()
    with pytest.raises(ImportError, match=r"the engine 'jax' needs JAX .*: pip install 'emeraldcut\[jax\]'"):
        accelerations(np.eye(3), np.ones(3), np.ones(3), engine="jax")


@pytest.mark.parametrize("number", [10_000, 40_000])
def test_errors_of_the_tree_are_as_stated(number):
    cloud = particles(number, 1)
    true_force, true_potential = accelerations(*cloud, engine="direct")
    for opening, median, percentile in ((0.8, 5e-3, 3e-2), (0.5, 6e-4, 5e-3)):
        force, potential = accelerations(*cloud, opening=opening)
        error = errors(force, true_force)
        assert np.median(error) < median and np.quantile(error, 0.99) < percentile
        assert np.quantile(np.abs(potential / true_potential - 1), 0.99) < median


def test_closing_the_tree_makes_it_exact():
    cloud = particles(3000, 2)
    assert errors(accelerations(*cloud, opening=1e-3)[0], accelerations(*cloud, engine="direct")[0]).max() < 3e-5


def test_large_and_mixed_softening_is_understood():
    """Lengths up to those of the clumps, so that cells hold particles of very different softening."""
    position, mass, softening = particles(5000, 3)
    cloud = (position, mass, 8 * softening)
    error = errors(accelerations(*cloud)[0], accelerations(*cloud, engine="direct")[0])
    assert np.median(error) < 8e-3 and np.quantile(error, 0.99) < 5e-2


SPHERES = {  # mass within r, potential, radius within which a share of the mass is; for G = M = a = 1
    "plummer": (
        lambda r: r**3 * (1 + r * r) ** -1.5,
        lambda r: -((1 + r * r) ** -0.5),
        lambda share: (share ** (-2 / 3) - 1) ** -0.5,
    ),
    "hernquist": (
        lambda r: r * r / (1 + r) ** 2,
        lambda r: -1 / (1 + r),
        lambda share: share**0.5 / (1 - share**0.5),
    ),
}


@pytest.mark.parametrize("engine", ["tree", "direct"])
@pytest.mark.parametrize("name", SPHERES)
def test_spheres_of_known_field(name, engine):
    """Plummer (1911) and Hernquist (1990): field averaged over shells of particles at even steps of enclosed mass."""
    within, depth, radius_of = SPHERES[name]
    number, mass, scale = 12_000, 1e10, 3.0
    radius = scale * radius_of((np.arange(number) + 0.5) / number)
    position = isotropic(radius, np.random.default_rng(0))
    force, potential = accelerations(position, np.full(number, mass / number), np.full(number, 0.02), engine=engine)
    inward = -np.einsum("ij,ij->i", force, position) / radius
    true = GRAVITY * mass / radius**2 * within(radius / scale)
    shells = np.array_split(np.arange(number)[100:-100], 12)
    np.testing.assert_allclose([np.mean(inward[s] / true[s]) for s in shells], 1, atol=0.02)
    true = GRAVITY * mass / scale * depth(radius / scale)
    np.testing.assert_allclose([np.mean(potential[s] / true[s]) for s in shells], 1, atol=0.01)


@pytest.mark.slow
def test_forces_are_those_of_pytreegrav():
    pytreegrav = pytest.importorskip("pytreegrav")
    rng = np.random.default_rng(4)
    position, mass = rng.normal(size=(2000, 3)) * (3, 3, 1), rng.uniform(1e5, 1e6, 2000)
    tiny = np.full(2000, 1e-4)
    theirs = pytreegrav.Accel(position, mass, tiny, G=GRAVITY, method="bruteforce")
    depth = pytreegrav.Potential(position, mass, tiny, G=GRAVITY, method="bruteforce")
    force, potential = accelerations(position, mass, tiny, engine="direct")
    assert errors(force, theirs).max() < 1e-4
    np.testing.assert_allclose(potential, depth, rtol=1e-4)
    assert np.median(errors(accelerations(position, mass, tiny)[0], theirs)) < 5e-3


@pytest.mark.parametrize("engine", ["tree", "direct"])
@few
@given(seed=seeds)
def test_the_order_of_particles_does_not_matter(engine, seed):
    position, mass, softening = particles(400, seed)
    order = np.random.default_rng(seed).permutation(400)
    force, potential = accelerations(position, mass, softening, engine=engine)
    again, depth = accelerations(position[order], mass[order], softening[order], engine=engine)
    np.testing.assert_allclose(again, force[order], rtol=1e-5, atol=1e-5 * np.abs(force).mean())
    np.testing.assert_allclose(depth, potential[order], rtol=1e-5)


@few
@given(seed=seeds, far=st.floats(-1e4, 1e4))
def test_the_place_and_the_direction_do_not_matter(seed, far):
    position, mass, softening = particles(400, seed)
    turn = Rotation.from_rotvec(isotropic(np.array([3.0]), np.random.default_rng(seed))[0])
    force, potential = accelerations(position, mass, softening, engine="direct")
    moved = turn.apply(position) + far * np.array([1, -0.3, 0.1])
    for engine, most in (("direct", 1e-4), ("tree", 5e-3)):
        turned, depth = accelerations(moved, mass, softening, engine=engine, opening=0.5)
        assert np.quantile(errors(turned, turn.apply(force)), 0.95) < most
        np.testing.assert_allclose(depth, potential, rtol=most)


@pytest.mark.parametrize("engine", ["tree", "direct"])
@few
@given(seed=seeds, length=st.integers(-16, 16), weight=st.floats(1e-8, 1e8))
def test_scaling(engine, seed, length, weight):
    """The field of w times the mass on l times the scale is w / l^2 times as strong.

    From 2^19 on the fifth powers of the distances of quadrupoles would leave the range of single precision.
    """
    position, mass, softening = particles(400, seed)
    size = 2.0**length
    force, potential = accelerations(position, mass, softening, engine=engine)
    scaled, depth = accelerations(size * position, weight * mass, size * softening, engine=engine)
    np.testing.assert_allclose(scaled * size**2 / weight, force, rtol=1e-4, atol=1e-5 * np.abs(force).mean())
    np.testing.assert_allclose(depth * size / weight, potential, rtol=1e-5)


@pytest.mark.parametrize("engine, most", [("tree", 2e-3), ("direct", 1e-6)])
def test_action_is_reaction(engine, most):
    position, mass, softening = particles(8000, 5)
    force = mass[:, None] * accelerations(position, mass, softening, engine=engine)[0]
    total = np.linalg.norm(force, axis=1).sum()
    assert np.linalg.norm(force.sum(0)) < most * total
    torque, arm = np.cross(position, force).sum(0), np.linalg.norm(position, axis=1).mean()
    assert np.linalg.norm(torque) < most * total * arm


@pytest.mark.parametrize("engine", ["tree", "direct"])
@few
@given(seed=seeds, number=st.integers(1, 6000), threads=st.integers(2, 5))
def test_threads_change_nothing(engine, seed, number, threads):
    cloud = particles(number, seed)
    for one, several in zip(
        accelerations(*cloud, engine=engine), accelerations(*cloud, engine=engine, threads=threads), strict=True
    ):
        np.testing.assert_array_equal(one, several)


@pytest.mark.parametrize("engine", ["tree", "direct"])
def test_odd_clouds(engine):
    force, potential = accelerations(np.array([[1.0, 2, 3]]), np.ones(1), np.ones(1), engine=engine)
    assert (force == 0).all() and potential == 0
    together = np.ones((100, 3))  # more than a leaf or a group holds, at one place
    force, potential = accelerations(together, np.full(100, 1e6), np.full(100, 0.5), engine=engine)
    np.testing.assert_allclose(force, 0, atol=1e-6)
    np.testing.assert_allclose(potential, -GRAVITY * 99e6 / 0.5, rtol=1e-5)
    position, mass, softening = particles(500, 7)  # one that has escaped takes no precision from the others
    position[0] = 1e7, 0, 0
    assert np.quantile(errors(accelerations(position, mass, softening, engine=engine)[0],
                              plain_sum(position, mass, softening)[0]), 0.95) < 2e-2  # fmt: skip


@pytest.mark.parametrize(
    "change, message",
    [
        ({"position": np.ones((3, 2))}, r"received \(3, 2\), \(3,\) and \(3,\)"),
        ({"mass": np.ones(4)}, r"position \(n, 3\)"),
        ({"position": np.full((3, 3), np.nan)}, "finite positions"),
        ({"mass": np.array([1.0, 0, 1])}, "positive, finite mass"),
        ({"softening_kpc": np.array([1.0, np.inf, 1])}, "positive, finite softening_kpc"),
        ({"engine": "magic"}, "tree, direct, jax; received 'magic'"),
        ({"opening": 1.5}, "opening .* received 1.5"),
        ({"threads": 0}, "at least one thread; received 0"),
    ],
)
def test_what_cannot_be(change, message):
    given = {"position": np.eye(3), "mass": np.ones(3), "softening_kpc": np.ones(3)} | change
    with pytest.raises(ValueError, match=message):
        accelerations(**given)


@few
@given(seed=seeds, number=st.integers(1, 3000))
def test_a_tree_holds_every_particle_once(seed, number):
    position = particles(number, seed)[0]
    tree = plant(position)
    np.testing.assert_array_equal(np.sort(tree.order), np.arange(number))
    np.testing.assert_array_equal(tree.position[:, :number], position[tree.order].T)
    leaves = np.flatnonzero(tree.skip[:-1] == np.arange(len(tree.first)) + 1)
    for nodes, most in ((leaves, LEAF), (tree.groups, GROUP), (tree.blocks, BLOCK)):
        assert tree.first[nodes[0]] == 0 and tree.last[nodes[-1]] == number
        np.testing.assert_array_equal(tree.first[nodes[1:]], tree.last[nodes[:-1]])
        assert (tree.last[nodes] - tree.first[nodes]).max() <= most
    for number_of_block, block in enumerate(tree.blocks):
        groups = tree.groups[tree.block_groups[number_of_block] : tree.block_groups[number_of_block + 1]]
        assert (groups >= block).all() and (groups < tree.skip[block]).all()
    for k in range(len(tree.first)):
        inside = tree.position[:, tree.first[k] : tree.last[k]]
        np.testing.assert_array_equal(tree.box[k], np.concatenate([inside.min(1), inside.max(1)]))


@few
@given(seed=seeds, number=st.integers(1, 3000), threads=st.integers(2, 5), grid=st.sampled_from([None, 1.0, 100.0]))
def test_a_tree_does_not_depend_on_threads(seed, number, threads, grid):
    """Also where many particles are at one place."""
    position = particles(number, seed)[0]
    if grid:
        position = grid * np.round(position / grid)
    for one, several in zip(plant(position), plant(position, threads), strict=True):
        np.testing.assert_array_equal(one, several)


@few
@given(number=st.integers(0, 1000), threads=st.integers(1, 5))
def test_parts_are_everything_once(number, threads):
    done = []
    in_parts(lambda begin, end: done.extend(range(begin, end)), number, threads)
    assert sorted(done) == list(range(number))


def test_a_part_that_fails_is_heard_of():
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda begin, end: 1 // (9 - begin), 10, 2)


@few
@given(seed=seeds, number=st.integers(1, 800), symmetric=st.booleans(), size=st.floats(0.01, 3))
def test_leaves_around_a_group_hold_all_neighbours_that_scipy_finds(seed, number, symmetric, size):
    position, rng = particles(number, seed)[0], np.random.default_rng(seed)
    radius = size * rng.random(number)
    tree = plant(position)
    ordered, own = position[tree.order], radius[tree.order]
    reach, leaves = reach_of_nodes(own, tree), np.empty(len(tree.first), np.uint32)
    expected = [set(found) for found in cKDTree(ordered).query_ball_point(ordered, own)]
    if symmetric:
        for i, found in enumerate([set(f) for f in expected]):
            for j in found:
                expected[j].add(i)
    for group in tree.groups:
        found = leaves[: around_group(group, reach, np.bool_(symmetric), tree, leaves)]
        held = {j for leaf in found for j in range(tree.first[leaf], tree.last[leaf])}
        assert all(expected[i] <= held for i in range(tree.first[group], tree.last[group]))
