"""Prevalence of what is known to happen in a part of a prior."""

import numpy as np
import pytest
from scipy.stats import binom

from emeraldcut.errors import UsageError
from emeraldcut.search.optimiser import sobol
from emeraldcut.search.parameters import PriorSettings
from emeraldcut.search.prevalence import NatureSettings, interval, prevalence, read_nature

FIXED = {name: getattr(PriorSettings(), name)[:1] for name in PriorSettings().free}


def searched(**ranges) -> PriorSettings:
    return PriorSettings(**(FIXED | ranges))


def rows_of(priors, number, happens, seed=0, mixed=True):
    drawn = [priors.at(point) for point in sobol(len(priors.free), number, seed)]
    return [{"parameters": one, "fraction": 0.3 * happens(one), "mixed": mixed} for one in drawn]


def test_angles_count_as_on_a_sphere():
    """Poles within 60 to 120 degrees are half of all; of those, within 80 to 100 are sin(10) / sin(30) degrees."""
    priors = searched(orbit_angle_deg=(60.0, 120.0))
    found = prevalence(rows_of(priors, 256, lambda p: 80 < p["orbit_angle_deg"] < 100), priors)
    truth = np.sin(np.radians(10)) / np.sin(np.radians(30))
    assert found.region == pytest.approx(0.5)
    assert found.inside[1] == pytest.approx(truth, abs=0.01)
    assert found.inside[0] < truth < found.inside[2]
    assert found.overall == pytest.approx((0.5 * found.inside[0], 0.5 * found.inside[1], 0.5 * found.inside[2] + 0.5))
    assert found.view == pytest.approx(0.3 * truth, abs=0.005)
    assert found.effective < 256
    assert "circularity" in found.fixed


def test_masses_count_by_their_logarithms():
    """A half of 1 to 100 in the logarithm is searched; what is beyond the prior counts nothing."""
    priors = searched(companion_halo_over_stars=(10.0, 1000.0))
    found = prevalence(rows_of(priors, 256, lambda p: p["companion_halo_over_stars"] < np.sqrt(1000.0)), priors)
    assert found.region == pytest.approx(0.5)
    assert found.inside[1] == pytest.approx(0.5, abs=0.01)
    assert found.effective == pytest.approx(128, abs=1)


def test_what_has_not_mixed_does_not_count_and_nothing_found_is_a_limit():
    priors = searched(circularity=(0.0, 1.0))
    found = prevalence(rows_of(priors, 64, lambda p: True, mixed=False), priors)
    assert found.inside[:2] == (0.0, 0.0)
    assert found.inside[2] == pytest.approx(1 - 0.05 ** (1 / 64))  # the rule of three, at 95 % one-sided
    assert found.region == 1.0


@pytest.mark.parametrize("draws, chance", [(20, 0.1), (60, 0.03), (60, 0.5)])
def test_the_interval_covers(draws, chance):
    """Over all outcomes it holds the truth at least as often as it says."""
    covered = 0.0
    for k in range(draws + 1):
        low, high = interval(k, draws)
        covered += binom.pmf(k, draws, chance) * (low <= chance <= high)
    assert 0.9 <= covered <= 0.99


def test_a_prior_can_be_a_file(tmp_path):
    file = tmp_path / "nature.toml"
    file.write_text("start_kpc = [10.0, 40.0]\n")
    assert read_nature(str(file)).start_kpc == (10.0, 40.0)
    assert read_nature(str(file)).circularity == NatureSettings().circularity
    with pytest.raises(UsageError, match="no TOML file of a prior"):
        read_nature("nowhere.toml")
    with pytest.raises(UsageError, match="lower and the upper end"):
        NatureSettings(start_kpc=(5.0,))
    with pytest.raises(UsageError, match="Sobol points"):
        prevalence([], PriorSettings())
