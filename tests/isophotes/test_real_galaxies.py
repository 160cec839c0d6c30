"""Real galaxies whose shapes are known, from wheels (extra `test`) and from a folder beside the project, if there."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from emeraldcut.data import Flag, usable
from emeraldcut.images import ReadSettings, read_images
from emeraldcut.isophotes import MeasureSettings, measure
from tests.helpers import ROOT

MGEFIT, ASTROVISTA = find_spec("mgefit"), find_spec("astro_vista")  # found, not imported: their images are of interest
REAL = ROOT.parent / "shared" / "real"
needs_mgefit = pytest.mark.skipif(
    MGEFIT is None, reason="needs the images of the package mgefit: pip install '.[test]'"
)


def hubble(name):
    return read_images(Path(MGEFIT.origin).parent / "images" / name)


@needs_mgefit
@pytest.mark.parametrize("name", ["m32_f814w_pc.fits", "m32_i.fits"])
def test_m32_is_an_ellipse(name):
    """Its isophotes are known as pure ellipses."""
    row = measure(hubble(name))[0]
    assert abs(row["a4"]) < 0.005
    assert 0.7 < row["axis_ratio"] < 0.85


@needs_mgefit
def test_ngc_4342_is_disky():
    """A lenticular galaxy with embedded discs, seen nearly edge-on."""
    row = measure(hubble("ngc4342_f814w_pc.fits"), MeasureSettings(inner_radius=0.3, outer_radius=1.5))[0]
    assert row["a4"] > 0.02 and row["axis_ratio"] < 0.5


@needs_mgefit
def test_ngc_5831_is_slightly_disky():
    """A mosaic with empty quadrants; the galaxy fills it and is cut by them."""
    row = measure(hubble("ngc5831_f702w_mosaic.fits"), MeasureSettings(inner_radius=0.3, outer_radius=1.5))[0]
    assert 0 < row["a4"] < 0.03
    assert row["x"] == pytest.approx(971, abs=4) and row["y"] == pytest.approx(975, abs=4)
    assert row["flag"] & Flag.CUT_BY_EDGE


@pytest.mark.skipif(ASTROVISTA is None, reason="needs the image of astrovista: pip install --no-deps astrovista")
def test_ugc_12517_is_an_ellipse():
    row = measure(read_images(Path(ASTROVISTA.origin).parent / "data" / "u12517j.fits.gz"))[0]
    assert abs(row["a4"]) < 0.005


@pytest.mark.skipif(not (REAL / "efigi").exists(), reason="needs the EFIGI images beside the project")
def test_real_pictures_all_get_a_row_and_nearly_all_a_shape():
    images = read_images(REAL / "efigi" / "images", ReadSettings(limit=60))
    table = measure(images)
    assert len(table) == 60 and usable(table["flag"]).all()
    assert np.isfinite(np.ma.filled(table["a4"], np.nan)).mean() >= 0.95
    assert np.mean(np.ma.filled(table["a4"], 0) < -0.05) < 0.1  # boxy galaxies are rare
