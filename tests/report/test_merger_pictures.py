"""Pictures of mergers: chosen times, the sides of the remnant, and the movie, against particles of known shape."""

from itertools import pairwise

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from emeraldcut.nbody import write_snapshot
from emeraldcut.report.figures import merger_pictures as pictures
from tests.helpers import snapshot

GAS = pictures.GAS


def test_epochs_of_an_encounter():
    """Apart, a passage at 1 Gyr, apart again until 2 Gyr, one after 3 Gyr."""
    times = np.linspace(0, 4, 41)
    apart = np.interp(times, [0, 1, 2, 3, 4], [30.0, 3.0, 20.0, 0.2, 0.1])
    assert pictures.epochs(times, apart, 3.0) == [
        (0, "start"), (10, "first passage"), (20, "furthest apart again"), (30, "coalescence"), (40, "end"),
    ]  # fmt: skip


def test_epochs_of_a_galaxy_alone_are_even():
    chosen = pictures.epochs(np.linspace(0, 1, 9), np.full(9, np.nan), np.nan)
    assert [k for k, _ in chosen] == [0, 2, 4, 6, 8] and chosen[2][1] == ""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), st.booleans())
def test_epochs_are_few_different_and_in_order(apart, merges):
    times = np.arange(len(apart), dtype=float)
    chosen = [k for k, _ in pictures.epochs(times, np.array(apart), times[-1] / 2 if merges else np.nan)]
    assert chosen == sorted(set(chosen)) and len(chosen) <= pictures.MOST_EPOCHS + 1
    assert chosen[0] == 0 and chosen[-1] == len(apart) - 1


def ellipsoid(number: int = 20_000, seed: int = 1):
    """Stars in a Gaussian of axes 3, 2, 1 kpc, turned at random; the longest axis is the first column of the turn."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return snapshot((rng.normal(size=(number, 3)) * [3, 2, 1]) @ turn.T + [5.0, -7.0, 2.0]), turn


def test_a_remnant_is_seen_along_its_axes():
    stars, turn = ellipsoid()
    axes, middle, radius = pictures._sides(stars)
    assert np.abs(np.einsum("ik,ik->k", axes, turn)).min() > 0.99
    np.testing.assert_allclose(middle, [5, -7, 2], atol=0.3)
    y, x = np.mgrid[: pictures.SIDE_PIX, : pictures.SIDE_PIX] - (pictures.SIDE_PIX - 1) / 2
    for pair, ratio in (([0, 1], 2 / 3), ([0, 2], 1 / 3), ([1, 2], 1 / 2)):
        seen = pictures._density(stars, "stars", axes[:, pair], middle, radius)
        light = np.where(seen > 0, 10 ** (pictures.DECADES * (seen - 1)), 0)
        spread = [np.sqrt((light * v**2).sum() / light.sum()) for v in (x, y)]
        assert spread[1] / spread[0] == pytest.approx(ratio, rel=0.06)


def test_a_disc_is_seen_from_above_at_the_start():
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    angle, radius = rng.uniform(0, 2 * np.pi, 5000), rng.uniform(1, 5, 5000)
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(5000)], axis=1)
    spin = np.stack([-np.sin(angle), np.cos(angle), np.zeros(5000)], axis=1)
    plane = pictures._plane(snapshot(flat @ turn.T, spin @ turn.T))
    np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-9)
    assert np.abs(turn[:, 2] @ plane).max() < 0.02


def written(folder, gas: bool) -> list:
    files, rng = [], np.random.default_rng(3)
    for k, apart in enumerate((20.0, 4.0, 15.0, 1.0, 0.1)):
        place = rng.normal(size=(3000, 3))
        place[:1500, 0] += apart
        kind = np.where(np.arange(3000) % 3 == 0, GAS, 1) if gas else 1
        files.append(folder / f"snapshot_{k:04d}.hdf5")
        write_snapshot(snapshot(place, rng.normal(size=(3000, 3)), component=kind, time_gyr=0.5 * k), files[-1])
    return files


@pytest.mark.slow
@pytest.mark.parametrize("gas", [False, True])
def test_a_merger_has_a_picture_and_a_movie(tmp_path, gas):
    files = written(tmp_path, gas)
    rows = Table({"time_gyr": 0.5 * np.arange(5), "separation_kpc": [20.0, 4.0, 15.0, 1.0, 0.1]})
    drawn = np.asarray(Image.open(pictures.merger_figure(files, rows, 1.5, tmp_path / "galaxies.png")).convert("RGB"))
    viridis = np.array([68, 1, 84])  # the colour of no gas
    assert (np.abs(drawn.astype(int) - viridis).max(axis=-1) < 3).any() == gas
    film = Image.open(pictures.movie(files, tmp_path / "galaxies.webp"))
    assert film.n_frames == 5 and film.size == (2 * pictures.SIDE_PIX * (1 + gas), 2 * pictures.SIDE_PIX)
    frames = []
    for k in range(5):
        film.seek(k)
        frames.append(np.asarray(film.convert("L"), float))
    assert all(np.abs(a - b).mean() > 0.5 for a, b in pairwise(frames))
