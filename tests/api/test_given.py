"""Every stage takes what a Python user has, with the result that the same pixels give as an array."""

import base64
from io import BytesIO
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, Cutout2D, NDData, StdDevUncertainty
from astropy.table import QTable, Table
from astropy.wcs import WCS
from PIL import Image

import emeraldcut
from emeraldcut import ImageSet, as_images
from emeraldcut.errors import UsageError

STAGES = {
    "measure": emeraldcut.measure,
    "classify": emeraldcut.classify,
    "compare": emeraldcut.compare,
    "screen": emeraldcut.screen,
    "clean": emeraldcut.clean,
}


def galaxy(seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:48, :48] - 23.5
    light = 80 * np.exp(-(((x / 7) ** 4 + (y / 5) ** 4) ** 0.25))
    return (light + np.random.default_rng(seed).normal(size=x.shape)).astype(np.float32)


def wcs() -> WCS:
    found = WCS(naxis=2)
    found.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    found.wcs.crval, found.wcs.crpix, found.wcs.cdelt = [10.0, 20.0], [24.5, 24.5], [-1e-4, 1e-4]
    return found


def files(folder: Path) -> list[str]:
    for k in range(2):
        fits.writeto(folder / f"g{k}.fits", galaxy(k), overwrite=True)
    return [str(folder / f"g{k}.fits") for k in range(2)]


def inputs(folder: Path) -> dict[str, object]:
    """What people have, all with `galaxy(0)` first."""
    image, names = galaxy(), files(folder)
    columns = {"id": ["7", "8"], "file": names}
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image)]).writeto(folder / "unit.fits", overwrite=True)
    return {
        "array": image,
        "stack": np.stack([image, galaxy(1)]),
        "list": [image, galaxy(1)],
        "float64": image.astype(float),
        "big-endian": image.astype(">f4"),
        "rows": image.tolist(),
        "dict": {"r": image},
        "pattern": str(folder / "g?.fits"),
        "quantity": image * u.nJy,
        "masked": np.ma.array(image, mask=np.zeros(image.shape, bool)),
        "NDData": NDData(image),
        "CCDData": CCDData(image, unit="adu"),
        "Cutout2D": Cutout2D(image, (24, 24), 48),
        "PrimaryHDU": fits.PrimaryHDU(image),
        "ImageHDU": fits.ImageHDU(image),
        "HDUList": fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image)]),
        "list of HDUs": [fits.ImageHDU(image), fits.ImageHDU(galaxy(1))],
        "path": names[0],
        "Path": Path(names[0]),
        "paths": names,
        "generator": (name for name in names),
        "Table": Table(columns),
        "QTable": QTable(columns),
        "pandas": pd.DataFrame(columns),
        "polars": pl.DataFrame(columns),
        "pyarrow": pa.table(columns),
        "ImageSet": ImageSet([image], Table({"id": ["a"]})),
    }


KINDS = (
    "array", "stack", "list", "float64", "big-endian", "rows", "dict", "pattern",
    "quantity", "masked", "NDData", "CCDData", "Cutout2D",
    "PrimaryHDU", "ImageHDU", "HDUList", "list of HDUs", "path", "Path", "paths", "generator", "Table", "QTable",
    "pandas", "polars", "pyarrow", "ImageSet",
)  # fmt: skip
COLUMNS = {"measure": "a4", "classify": "p_rectangular", "compare": "similarity", "screen": "score"}


@pytest.fixture(scope="module")
def expected():
    found = {name: stage(galaxy()) for name, stage in STAGES.items()}
    return {name: found[name][COLUMNS[name]][0] if name in COLUMNS else found[name].pixels[0] for name in found}


FEW = ("array", "generator", "Table")  # images come in by one way for all stages, so these are tried quickly for all
PAIRS = [
    pytest.param(stage, kind, marks=() if stage in ("measure", "clean") or kind in FEW else pytest.mark.slow)
    for stage in STAGES
    for kind in KINDS
]


@pytest.mark.parametrize("stage, kind", PAIRS)
def test_all_stages_take_all_inputs(stage, kind, tmp_path, expected):
    given = inputs(tmp_path)
    assert set(given) == set(KINDS)
    found = STAGES[stage](given[kind])
    if stage == "clean":
        assert np.array_equal(found.pixels[0], expected[stage])
    else:
        assert expected[stage] in np.asarray(found[COLUMNS[stage]])


def test_mask_noise_and_wcs_of_nddata_are_used():
    bad = np.zeros((48, 48), bool)
    bad[3, 4] = True
    images = as_images(NDData(galaxy(), mask=bad, uncertainty=StdDevUncertainty(np.full((48, 48), 2.0)), wcs=wcs()))
    row = images.table[0]
    assert np.argwhere(~np.isfinite(images.pixels[0])).tolist() == [[3, 4]]
    assert row["noise_sigma"] == pytest.approx(2.0) and row["pixel_scale_arcsec"] == pytest.approx(0.36)
    assert (row["ra"], row["dec"]) == (pytest.approx(10.0), pytest.approx(20.0))


def test_a_cutout_knows_where_it_is():
    row = as_images(Cutout2D(galaxy(), (24.0, 24.0), 21, wcs=wcs())).table[0]
    there = wcs().pixel_to_world(24.0, 24.0)
    assert (row["ra"], row["dec"]) == (pytest.approx(there.ra.deg), pytest.approx(there.dec.deg))


@pytest.mark.parametrize(
    "given, words",
    [
        (3, "received int"),
        (None, "received NoneType"),
        ([], "empty list"),
        ([1, 2], "list of numbers"),
        (np.ones(5), r"received \(5,\)"),
        (np.array(["a"]), "holds numbers"),
        ({"a": 1}, "bands of one.*received a: int"),
        ({"g": np.ones((9, 9)), "r": np.ones((8, 8))}, r"received g: \(9, 9\), r: \(8, 8\)"),
        ({}, "received none"),
        (Table({"a": [1]}), "column 'file'"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(given, words):
    with pytest.raises(UsageError, match=words):
        as_images(given)


def test_names_of_images_are_theirs_and_differ():
    assert as_images([galaxy(), np.stack([galaxy()] * 2)]).table["id"].tolist() == ["0", "1#0", "1#1"]
    stack = np.stack([galaxy()] * 2)
    for one in (stack, NDData(stack), fits.PrimaryHDU(stack)):
        assert as_images(one).table["id"].tolist() == ["0", "1"]
    first = ImageSet([galaxy()], Table({"id": ["a"]}))
    assert as_images([first, first]).table["id"].tolist() == ["a", "a#2"]


def test_settings_are_keywords_and_unknown_ones_are_refused():
    exact = emeraldcut.measure(galaxy(), emeraldcut.MeasureSettings(psf_correction=False), psf_fwhm_pix=2.0)
    assert exact["a4"][0] == emeraldcut.measure(galaxy(), psf_correction=False, psf_fwhm_pix=2.0)["a4"][0]
    with pytest.raises(UsageError, match="did you mean 'prevalence'"):
        emeraldcut.screen(galaxy(), prevalense=0.02)
    with pytest.raises(UsageError, match="MeasureSettings or ReadSettings"):
        emeraldcut.measure(galaxy(), emeraldcut.ScreenSettings())
    with pytest.raises(UsageError, match="did you mean 'mass_ratios'"):
        emeraldcut.simulate("nowhere", mass_ratio=1)


def test_a_psf_may_be_an_array():
    y, x = np.mgrid[:15, :15] - 7
    psf = np.exp(-(x**2 + y**2) / 4)
    assert emeraldcut.measure(galaxy(), psf=psf)["psf_fwhm_pix"][0].value == pytest.approx(2.355 * 2**0.5, rel=0.05)


@pytest.mark.slow
def test_results_show_and_draw_themselves(tmp_path):
    candidates = emeraldcut.screen(emeraldcut.synthesise(3, seed=1, size=48), prevalence=0.02)
    assert candidates.colnames[:3] == ["rank", "id", "score"]
    assert candidates.meta["provenance"]["settings.prevalence"] == 0.02
    html = candidates._repr_html_()
    assert html.count("<img") == 3 and len(html) < 100_000
    assert candidates[:1]._repr_html_().count("<img") == 1
    axes = candidates.plot("axis_ratio", "a4")
    assert axes.get_xlabel() == "axis_ratio" and candidates.plot("snr", "a6", ax=axes) is axes
    with pytest.raises(UsageError, match="column of numbers"):
        candidates.plot("class")
    assert candidates.cards(2)._repr_html_().count("<figure") == 2
    assert "3 rows" in repr(candidates) and max(map(len, repr(candidates).splitlines())) < 250
    for name in ("c.parquet", "c.ecsv", "c.fits", "c.vot", "c.csv"):
        path = emeraldcut.write_table(candidates, tmp_path / name)
        assert emeraldcut.read_table(path)["score"][0] == pytest.approx(candidates["score"][0])


@pytest.mark.slow
def test_sets_and_runs_are_short_in_a_notebook(tmp_path):
    images = emeraldcut.synthesise(30, seed=1, size=24)
    assert len(repr(images)) < 500 and "30 images" in repr(images)
    assert images._repr_html_().count("<img") == 24 and "6 more" in images._repr_html_()
    emeraldcut.write_images(images[:3], tmp_path / "set", command="test")
    run = emeraldcut.screen(tmp_path / "set", output=tmp_path / "run")
    assert "report.html" in run._repr_html_() and (tmp_path / "run" / "report.html").exists()


def test_a_table_can_be_made_chunk_by_chunk_from_python(tmp_path):
    files(tmp_path)
    whole = emeraldcut.measure(tmp_path)
    made = emeraldcut.measure(tmp_path, output=tmp_path / "out" / "shapes.parquet", progress=True)
    assert made["a4"].tolist() == whole["a4"].tolist() and made["id"].tolist() == ["g0", "g1"]


def test_a_table_of_listed_files_is_made_in_chunks_too(tmp_path):
    """As the shell does: files of one folder, or a pattern of them, which nothing has expanded."""
    listed = files(tmp_path)
    whole = emeraldcut.measure(listed)
    for k, given in enumerate((listed, str(tmp_path / "*.fits"))):
        made = emeraldcut.measure(given, output=tmp_path / f"{k}.parquet")
        assert made["a4"].tolist() == whole["a4"].tolist() and made["id"].tolist() == ["g0", "g1"]
    with pytest.raises(FileNotFoundError):
        emeraldcut.measure(str(tmp_path / "*.none"))


def test_bands_of_one_galaxy_as_a_dict():
    images = as_images({"g": galaxy(0), "z": 2 * galaxy(1)})
    assert len(images) == 1 and images.table["bands"][0] == "g,z" and images.colours[0].shape == (48, 48, 3)
    assert np.array_equal(as_images({"g": galaxy(0), "z": galaxy(1)}, band=("g",)).pixels[0], galaxy(0))
    found = emeraldcut.measure({"g": galaxy(0), "z": galaxy(1)}, bands="joint")
    assert len(found) == 1 and np.isfinite(found["a4"][0])


def test_a_function_keeps_its_name_when_the_room_of_that_name_is_imported():
    import emeraldcut.report.page

    assert callable(emeraldcut.report) and callable(emeraldcut.search) and callable(emeraldcut.review)


def test_pictures_in_colour_are_shown_in_colour(tmp_path):
    """What is measured is the luminance; what a notebook shows has the colours of the file, first row at the bottom."""
    colour = np.zeros((40, 40, 3), np.uint8)
    y, x = np.mgrid[:40, :40] - 19.5
    colour[..., 0] = 200 * np.exp(-np.hypot(x / 8, y / 5)) + np.random.default_rng(0).normal(20, 3, x.shape)
    colour[0] = [0, 0, 255]
    Image.fromarray(colour).save(tmp_path / "a.png")
    Image.fromarray(colour[..., 0]).save(tmp_path / "b.png")
    images = emeraldcut.as_images(tmp_path)
    np.testing.assert_array_equal(images.colours[0], colour)
    assert images.colours[1] is None and images[1:].colours == [None]
    assert emeraldcut.read_images(tmp_path).colours is None  # what streams does not keep them
    both = emeraldcut.as_images([colour, images[1]])
    assert both.colours[0] is not None and both.colours[1] is None
    shown = emeraldcut.measure(tmp_path)._repr_html_()
    first = shown.split('src="data:image/png;base64,')[1].split('"')[0]
    seen = np.asarray(Image.open(BytesIO(base64.b64decode(first))).convert("RGB"))
    assert tuple(seen[-1, 10]) == (0, 0, 255) and seen[48, 48, 0] > 150 and seen[48, 48, 1] == 0
