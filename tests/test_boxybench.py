"""The public benchmark: its metrics on scores whose answer is known, and methods that others add."""

import importlib.util
import sys

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from emeraldcut.data import ImageSet
from tests.helpers import ROOT


@pytest.fixture(scope="module")
def boxybench():
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location("boxybench", f"{folder}/boxybench.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(folder)


def test_a_perfect_method_has_one_everywhere_and_a_blind_one_what_chance_gives(boxybench):
    rng = np.random.default_rng(0)
    boxes, others = rng.uniform(2, 3, 100), rng.uniform(0, 1, 5000)
    for one_in in boxybench.PREVALENCES:
        assert all(value == [1.0, 1.0, 1.0] for value in boxybench.metrics(others, boxes, one_in, 0).values())
    blind = boxybench.metrics(rng.random(5000), rng.random(100), 100, 0)
    assert blind["first_page"][0] == pytest.approx(0.01, abs=0.01) and blind["average_precision"][0] < 0.03
    same = boxybench.metrics(np.zeros(5000), np.zeros(100), 100, 0)  # ties are no merit
    assert same["first_page"][0] == same["ndcg"][0] == 0
    unknown = boxybench.metrics(others, np.full(100, np.nan), 100, 0)
    assert unknown["first_page"][0] == 0


def test_metrics_are_those_of_scikit_learn(boxybench):
    """With as many negatives in the pool as in the survey, each taken once."""
    from sklearn.metrics import average_precision_score, ndcg_score

    rng, one_in = np.random.default_rng(1), 100
    boxes, others = rng.normal(2, 1, boxybench.PLANTED), rng.normal(0, 1, boxybench.PLANTED * (one_in - 1))

    class Once:
        def choice(self, values, number, replace):
            return values

        def poisson(self, mean, number):
            return np.ones(number, int)

    page, _, precision, ndcg = boxybench.survey_metrics(others, boxes, one_in, Once())
    truth, score = np.repeat([0, 1], [len(others), len(boxes)]), np.concatenate([others, boxes])
    first = np.argsort(-score)[: boxybench.PAGE]
    assert page == truth[first].mean()
    assert precision == pytest.approx(average_precision_score(truth, score))
    assert ndcg == pytest.approx(ndcg_score([truth], [score], k=boxybench.NDCG))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 3))
def test_better_separation_never_hurts(boxybench, seed, gap):
    rng = np.random.default_rng(seed)
    boxes, others = rng.normal(gap, 1, 60), rng.normal(0, 1, 2000)
    less, more = (boxybench.metrics(others, boxes + shift, 100, seed) for shift in (0, 0.5))
    assert all(more[name][0] >= less[name][0] - 1e-12 for name in less)


def test_a_method_is_one_function_in_a_file(boxybench, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n\ndef brightness(images):\n    return np.array([p.max() for p in images.pixels])\n"
    )
    (method,) = boxybench.loaded([f"{file}:brightness"]).values()
    images = ImageSet([np.full((8, 8), 3.0, np.float32)], Table({"id": ["a"]}))
    assert method(images) == [3.0]
    with pytest.raises(ValueError, match="existing file"):
        boxybench.loaded(["nowhere.py:brightness"])


def test_stars_are_stars_and_the_reference_is_a_box(boxybench):
    stars = boxybench.drawn(range(40), "stars", 3)
    assert 5 < len(stars) < 40 and set(stars.table["label"]) == {"other"}
    (row,) = boxybench.the_reference(3).table
    assert row["label"] == "rectangular" and 150 <= row["truth_snr"] <= 200
