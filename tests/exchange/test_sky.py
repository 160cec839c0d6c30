"""Where images are on the sky, in the words of the Virtual Observatory, and catalogues in HATS."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table
from astropy.wcs import WCS

from emeraldcut.exchange import sky
from emeraldcut.images import ReadSettings
from emeraldcut.tables import read_table, write_table
from emeraldcut.tables.catalogues import catalogue_parts
from tests.helpers import run, tan_wcs


def image(path, shape=(60, 80), **where) -> WCS:
    """A FITS image of noise with a WCS, at `path`."""
    wcs = tan_wcs(shape, **where)
    fits.writeto(path, np.random.default_rng(0).normal(size=shape).astype(np.float32), wcs.to_header())
    return wcs


# --- MOC


@pytest.mark.parametrize("ra, dec, angle", [(150.0, 2.0, 0.0), (359.999, -30.0, 33.0), (10.0, 89.9, 120.0)])
def test_a_moc_has_the_area_of_its_images_and_their_pixels(ra, dec, angle, tmp_path):
    mocpy = pytest.importorskip("mocpy")
    (tmp_path / "images").mkdir()
    wcs = image(tmp_path / "images" / "a.fits", ra=ra, dec=dec, angle_deg=angle)
    path = sky.write_moc(tmp_path / "images", tmp_path / "area.fits")
    moc = mocpy.MOC.from_fits(str(path))
    true_deg2 = 60 * 80 * (0.3 / 3600) ** 2  # the projection keeps areas in its middle
    assert moc.sky_fraction * 41252.961 == pytest.approx(true_deg2, rel=0.15)  # whole cells along the edge
    y, x = (v.ravel() for v in np.mgrid[2:58:8, 2:78:8])
    assert moc.contains_skycoords(wcs.pixel_to_world(x, y)).all()
    outside = wcs.pixel_to_world(np.array([-8, 88, 40, 40]), np.array([30, 30, -8, 68]))
    assert not moc.contains_skycoords(outside).any()


def test_overlapping_images_count_once_and_a_mosaic_as_a_whole(tmp_path):
    mocpy = pytest.importorskip("mocpy")
    (tmp_path / "images").mkdir()
    for k, shift in enumerate((0.0, 10 * 0.3 / 3600)):  # by 10 of 60 rows
        image(tmp_path / "images" / f"{k}.fits", dec=2.0 + shift)
    both = mocpy.MOC.from_fits(str(sky.write_moc(tmp_path / "images", tmp_path / "both.fits")))
    assert both.sky_fraction * 41252.961 == pytest.approx(70 * 80 * (0.3 / 3600) ** 2, rel=0.15)
    wcs = image(tmp_path / "mosaic.fits", (1400, 1300))
    text = sky.write_moc(tmp_path / "mosaic.fits", tmp_path / "mosaic.txt", ReadSettings(image_type="mosaic"))
    moc = mocpy.MOC.from_string(text.read_text(), format="ascii")
    assert moc.sky_fraction * 41252.961 == pytest.approx(1400 * 1300 * (0.3 / 3600) ** 2, rel=0.1)
    assert moc.contains_skycoords(wcs.pixel_to_world(np.array([5, 1290]), np.array([1390, 10]))).all()


def test_a_moc_needs_places_an_ending_and_its_package(tmp_path, capsys, monkeypatch):
    fits.writeto(tmp_path / "nowhere.fits", np.random.default_rng(0).normal(size=(30, 30)))
    image(tmp_path / "there.fits")
    code, _, err = run(capsys, "convert", tmp_path / "there.fits", "--to", "moc", "-o", tmp_path / "area.png")
    assert code == 2 and ".fits, .json, .txt" in err
    monkeypatch.setitem(__import__("sys").modules, "mocpy", None)
    code, _, err = run(capsys, "convert", tmp_path / "there.fits", "--to", "moc", "-o", tmp_path / "area.fits")
    assert code == 2 and "pip install 'emeraldcut[sky]'" in err and not (tmp_path / "area.fits").exists()
    code, _, err = run(capsys, "convert", tmp_path / "nowhere.fits", "--to", "obscore", "-o", tmp_path / "t.vot")
    assert code == 1 and "has a place on the sky" in err


# --- ObsCore


def test_obscore_has_all_mandatory_columns_with_their_units_and_utypes(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    wcs = image(tmp_path / "images" / "a b.fits", angle_deg=20)
    code, out, _ = run(capsys, "convert", tmp_path / "images", "--to", "obscore", "-o", tmp_path / "obs.vot")
    assert code == 0 and out.endswith("obs.vot")
    table = parse_single_table(str(tmp_path / "obs.vot"))
    fields = {field.name: field for field in table.fields}
    assert set(fields) >= set(sky.OBSCORE) and len(sky.OBSCORE) == 30
    for name, (unit, ucd, utype) in sky.OBSCORE.items():
        assert str(fields[name].unit or "") == unit and fields[name].ucd == ucd
        assert fields[name].utype == f"obscore:{utype}"
    row = table.to_table()[0]
    assert row["dataproduct_type"] == "image" and row["obs_id"] == "a b" and row["s_xel1"] == 80 and row["s_xel2"] == 60
    assert row["access_url"] == (tmp_path / "images" / "a b.fits").as_uri() and row["access_format"] == "image/fits"
    assert np.ma.is_masked(row["t_min"]) and np.ma.is_masked(row["em_min"])
    place = SkyCoord(row["s_ra"], row["s_dec"], unit="deg")
    assert place.separation(wcs.pixel_to_world(39.5, 29.5)).arcsec < 1e-3
    assert row["s_fov"] == pytest.approx(100 * 0.3 / 3600, rel=1e-4)
    numbers = np.array(row["s_region"].split()[2:], float).reshape(-1, 2)
    corners = SkyCoord(*wcs.calc_footprint(axes=(80, 60), center=False).T, unit="deg")
    outline = SkyCoord(*numbers.T, unit="deg")
    assert max(corner.separation(outline).min().arcsec for corner in corners) < 0.01


def test_pyvo_takes_the_columns_for_those_of_obscore(tmp_path):
    obscore = pytest.importorskip("pyvo.dam.obscore")
    known = {name for name in dir(obscore.ObsCoreMetadata()) if not name.startswith("_")}
    assert {"s_ra", "s_dec", "s_region", "access_url"} <= known & set(sky.OBSCORE)
    assert {name for name in known if name in sky.OBSCORE or name.startswith(("s_", "t_", "em_"))} <= {
        *sky.OBSCORE, *known,
    }  # fmt: skip


# --- HATS


def positions(number: int) -> Table:
    rng = np.random.default_rng(3)
    table = Table({"id": [f"g{k}" for k in range(number)], "ra": rng.uniform(0, 360, number)})
    table["dec"] = np.degrees(np.arcsin(rng.uniform(-1, 1, number)))
    table["score"] = rng.random(number)
    return table


def test_a_catalogue_in_hats_comes_back_whole_and_by_place(tmp_path, capsys, monkeypatch):
    pytest.importorskip("cdshealpix")
    monkeypatch.setattr(sky, "ROWS_A_FILE", 200)
    table = positions(3000)
    table["ra"][7] = np.nan  # is nowhere
    write_table(table, tmp_path / "t.parquet")
    code, out, _ = run(capsys, "convert", tmp_path / "t.parquet", "--to", "hats", "-o", tmp_path / "cat")
    assert code == 0 and out == str(tmp_path / "cat")
    back = {row["id"]: (row["ra"], row["dec"], row["score"])
            for part in catalogue_parts(tmp_path / "cat", (-90, 90), [(0, 360)]) for row in part}  # fmt: skip
    assert len(back) == 2999 and "g7" not in back
    for row in table[::100]:
        assert back[row["id"]] == (row["ra"], row["dec"], row["score"])
    some = [row["id"] for part in catalogue_parts(tmp_path / "cat", (0, 10), [(100, 140)]) for row in part]
    wanted = (table["dec"] >= 0) & (table["dec"] <= 10) & (table["ra"] >= 100) & (table["ra"] <= 140)
    assert sorted(some) == sorted(table["id"][wanted])
    files = sorted((tmp_path / "cat" / "dataset").rglob("Npix=*.parquet"))
    cells = [pq.read_table(file)["_healpix_29"].to_numpy() for file in files]
    assert max(map(len, cells)) <= 200 and all((np.diff(one) >= 0).all() for one in cells)
    about = dict(line.split("=") for line in (tmp_path / "cat" / "hats.properties").read_text().splitlines())
    assert about["hats_nrows"] == "2999" and int(about["hats_order"]) == 1  # 48 cells of about 60 rows
    for file, one in zip(files, cells, strict=True):
        assert {int(c) >> 2 * (29 - 1) for c in one} == {int(file.stem.removeprefix("Npix="))}
    code, _, err = run(capsys, "convert", tmp_path / "t.parquet", "--to", "hats", "-o", tmp_path / "cat")
    assert code == 2 and "exists" in err
    code, *_ = run(capsys, "convert", tmp_path / "t.parquet", "--to", "hats", "-o", tmp_path / "cat", "--overwrite")
    assert code == 0
    code, _, err = run(capsys, "convert", tmp_path / "t.parquet", "--to", "hats", "-o", tmp_path, "--overwrite")
    assert code == 2 and (tmp_path / "t.parquet").exists()  # a folder of something else is left alone


def test_the_cells_are_those_of_healpix(tmp_path):
    """Middles of the 12 cells of order 0 (Gorski et al. 2005, ApJ 622, 759): 0 to 3 north, 4 to 7 equator, 8 to 11."""
    pytest.importorskip("cdshealpix")
    z = np.degrees(np.arcsin(2 / 3))
    ra = np.array([45, 135, 225, 315, 0, 90, 180, 270, 45, 135, 225, 315], float)
    dec = np.array([z] * 4 + [0.0] * 4 + [-z] * 4)
    assert (sky._cells(ra, dec) >> 2 * 29).tolist() == list(range(12))


def test_hats_opens_what_is_written(tmp_path):
    pytest.importorskip("cdshealpix")
    hats = pytest.importorskip("hats")
    write_table(positions(500), tmp_path / "t.ecsv")
    catalogue = hats.read_hats(sky.write_hats(tmp_path / "t.ecsv", tmp_path / "cat"))
    assert catalogue.catalog_info.total_rows == 500 and len(catalogue.get_healpix_pixels()) == 12
    assert read_table(tmp_path / "t.ecsv")["ra"].unit in (None, u.deg)
