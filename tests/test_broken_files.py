"""Files broken in many ways among good ones: a flagged row each, and the rest as if they were not there."""

import gzip
import io
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from emeraldcut import cli
from emeraldcut.data import Flag
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.screening import screen_run
from emeraldcut.tables import read_table
from tests.helpers import fits_bytes, npy_bytes, png_bytes

N_GOOD = 14


def broken_files(image):
    """Name, content and expected flag of one file of each kind; some are made in place, by a function of the path."""
    noise = (np.random.default_rng(0).random((64, 64)) * 255).astype(np.uint8)
    whole, packed = fits_bytes(image), gzip.compress(fits_bytes(image))
    claims = fits_bytes(image).replace(b"NAXIS1  =                   64", b"NAXIS1  =               640000")
    table = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table({"a": [1]}))]).writeto(table)
    unreadable, not_an_image, no_data = Flag.UNREADABLE, Flag.NOT_AN_IMAGE, Flag.NO_DATA
    return {
        "empty.fits": (b"", unreadable),
        "header_only.fits": (whole[:2880], unreadable),
        "truncated.fits": (whole[: len(whole) * 2 // 3], unreadable),
        "claims.fits": (claims, unreadable),
        "garbage.fits": (np.random.default_rng(1).bytes(5000), unreadable),
        "page.fits": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", unreadable),
        "zero_size.fits": (fits_bytes(np.zeros((0, 64), np.float32)), not_an_image),
        "line.fits": (fits_bytes(np.arange(64.0)), not_an_image),
        "four_axes.fits": (fits_bytes(np.ones((2, 2, 16, 16))), not_an_image),
        "table.fits": (table.getvalue(), not_an_image),
        "nan.fits": (fits_bytes(np.full((64, 64), np.nan)), no_data),
        "constant.fits": (fits_bytes(np.full((64, 64), 7.0)), no_data),
        "tiny.fits": (fits_bytes(np.arange(25.0).reshape(5, 5)), Flag.TOO_SMALL),
        "corrupt.fits.gz": (packed[:500] + bytes(300) + packed[800:], unreadable),
        "not_gzip.fits.gz": (b"\x1f\x8b\x08\x00 is all there is", unreadable),
        "truncated.png": (png_bytes(noise)[:900], unreadable),
        "truncated.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", unreadable),
        "complex.npy": (npy_bytes(image.astype(complex)), not_an_image),
        "pickled.npy": (npy_bytes(np.array([{"a": 1}], dtype=object)), unreadable),
        "text.npy": (npy_bytes(np.full((64, 64), "x")), not_an_image),
        "folder.fits": (Path.mkdir, unreadable),
        "nowhere.fits": (partial(os.symlink, "gone"), unreadable),
        "itself.fits": (lambda path: os.symlink(path.name, path), unreadable),
        "missing.fits": (lambda path: None, unreadable),
        "forbidden.fits": (lambda path: (path.write_bytes(whole), path.chmod(0)), unreadable),
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Two tables of files: the good ones alone, and with a broken one after each; and the expected flags."""
    folder = tmp_path_factory.mktemp("files")
    images = synthesise(SynthesiseSettings(number=N_GOOD, snr_min=40), seed=8)
    good = [f"{k:02d}_good.fits" for k in range(N_GOOD)]
    for name, pixels in zip(good, images.pixels, strict=True):
        fits.PrimaryHDU(np.asarray(pixels)).writeto(folder / name)
    broken = broken_files(np.asarray(images.pixels[0]))
    if os.geteuid() == 0:  # root may read everything
        del broken["forbidden.fits"]
    for name, (content, _) in broken.items():
        (folder / name).write_bytes(content) if isinstance(content, bytes) else content(folder / name)
    mixed = [name for k, bad in enumerate(broken) for name in (*good[k : k + 1], bad)]
    for name, files in (("alone", good), ("mixed", mixed)):
        Table({"file": files}).write(folder / f"{name}.csv")
    return folder, {name: int(flag) for name, (_, flag) in broken.items()}


@pytest.mark.parametrize("command", ["measure", "classify", "compare", "screen"])
def test_a_flagged_row_each_and_the_rest_as_without_them(command, sources, tmp_path, capsys):
    folder, expected = sources
    tables = {}
    for name in ("alone", "mixed"):
        source, output = folder / f"{name}.csv", tmp_path / f"{name}.parquet"
        if command == "screen":  # without the report, which is tested elsewhere
            output = screen_run(source, tmp_path / name).path("candidates.parquet")
        else:
            assert cli.main([command, str(source), "--output", str(output)]) == 0
        tables[name] = read_table(output)
    number = sum(flag & int(Flag.UNREADABLE) != 0 for flag in expected.values())
    told = f"{number} of {N_GOOD + len(expected)} images could not be read; the rows of these are flagged and say why."
    best = r"Most |  +\d+\. "  # the summary of what was found
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if "no known PSF" not in line and "Done in" not in line and not re.match(best, line)
    ]
    assert lines == ([] if command == "screen" else [told])  # no noise of libraries
    alone, mixed = tables["alone"], tables["mixed"]
    names = [Path(file).name for file in mixed["file"]]
    assert len(mixed) == N_GOOD + len(expected) and len(set(mixed["id"])) == len(mixed)
    is_bad = np.array([name in expected for name in names])
    found = {name: int(flag) for name, flag in zip(names, mixed["flag"], strict=True) if name in expected}
    assert found == expected
    assert all(len(text) > 20 for text in mixed["flag_text"][is_bad])
    rest = mixed[~is_bad]
    for column in alone.colnames:
        mask = np.ma.getmaskarray(alone[column])
        np.testing.assert_array_equal(np.ma.getmaskarray(rest[column]), mask, err_msg=column)
        np.testing.assert_array_equal(np.asarray(rest[column])[~mask], np.asarray(alone[column])[~mask], err_msg=column)
    for column in ("axis_ratio", "p_rectangular", "similarity", "score"):
        assert column not in mixed.colnames or np.ma.getmaskarray(mixed[column])[is_bad].all()
