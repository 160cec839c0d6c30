"""A catalogue and a folder of cutouts: rows go with images by name, with mosaics by position; what lacks is flagged."""

import re

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from emeraldcut.data import Flag, ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import ReadSettings, apply_to_images, open_images, read_images, write_images
from emeraldcut.images.source_images import SourceImages
from emeraldcut.runs.notices import listening
from emeraldcut.screening import screen_run
from emeraldcut.screening.two_passes import WHERE
from emeraldcut.tables import read_table
from tests.helpers import tan_wcs

IDS = [39627788403084375, 39627788403084376, 39627788403084377]
RA, DEC = [150.0, 150.1, 150.2], [2.0, 2.1, 2.2]


def cutout(path, number, side=32, ra=None, dec=None):
    pixels = np.full((side, side), float(number), np.float32)
    pixels[0, 0] = -1
    header = tan_wcs((side, side), ra, dec).to_header() if ra is not None else None
    path.parent.mkdir(exist_ok=True, parents=True)
    fits.PrimaryHDU(pixels, header).writeto(path)


def read(tmp_path, table, **settings):
    table.write(tmp_path / "c.ecsv", overwrite=True)
    return read_images(tmp_path / "p", ReadSettings(catalogue=str(tmp_path / "c.ecsv"), cutout_size=16, **settings))


NAMES = {
    "id": ["{}.fits"] * 3,
    "part": ["cutout_{}_r.fits", "cutout_{}_g.fits", "hsc-{}.fits"],
    "folder": ["a/{}.fits", "b/{}.fits", "b/c/{}.fits"],
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("sky", [False, True])
def test_by_identifier(tmp_path, names, sky):
    for k, name in enumerate(NAMES[names]):
        cutout(tmp_path / "p" / name.format(IDS[k]), k, ra=RA[k] if sky else None, dec=DEC[k])
    images = read(tmp_path, Table({"TARGETID": IDS, "RA": RA, "DEC": DEC, "mag": [1.0, 2.0, 3.0]})[[2, 0, 1]])
    assert list(images.table["id"]) == [str(IDS[k]) for k in (2, 0, 1)]
    assert [pixels.shape for pixels in images.pixels] == [(32, 32)] * 3  # as they are, not cut again
    assert [pixels[5, 5] for pixels in images.pixels] == [2, 0, 1] and list(images.table["mag"]) == [3, 1, 2]
    assert not np.any(images.table["flag"] & int(Flag.NOT_LISTED))


@pytest.mark.parametrize("column", ["file", "filename", "path", "image_path"])
@pytest.mark.parametrize(
    "value",
    [
        "g{}.fits",
        "./g{}.fits",
        "/elsewhere/g{}.fits",
        "g{}",
        "g{}.png",
        "C:\\d\\g{}.fits",
        "https://h/cut?file=g{}.fits",
    ],
)
def test_by_name_of_file(tmp_path, column, value):
    for k in range(3):
        cutout(tmp_path / "p" / f"g{k}.fits", k)
    images = read(tmp_path, Table({"id": ["x", "y", "z"], column: [value.format(k) for k in (1, 2, 0)]}))
    assert list(images.table["id"]) == ["x", "y", "z"] and [p[5, 5] for p in images.pixels] == [1, 2, 0]


@pytest.mark.parametrize("names", ["NGC 1 NGC 11 NGC 111", "ngc1 ngc11 ngc111"])
def test_by_names_but_for_capitals_and_signs(tmp_path, names):
    for k, name in enumerate(("NGC1", "NGC11", "NGC111")):
        cutout(tmp_path / "p" / f"{name}.fits", k)
    words = re.findall(r"NGC \d+|\S+", names)
    images = read(tmp_path, Table({"name": words[::-1]}))
    assert list(images.table["id"]) == words[::-1] and [p[5, 5] for p in images.pixels] == [2, 1, 0]


def test_by_a_column_that_the_user_names(tmp_path):
    for k in range(3):
        cutout(tmp_path / "p" / f"g{k}.fits", k)
    table = Table({"id": [1, 2, 3], "stamp": ["g2.fits", "g0.fits", "g1.fits"]})
    assert [p[5, 5] for p in read(tmp_path, table, file="stamp").pixels] == [2, 0, 1]
    with pytest.raises(UsageError, match="no column 'other'"):
        read(tmp_path, table, file="other")


def test_what_has_no_partner_is_flagged_and_said(tmp_path):
    for k in (0, 1):
        cutout(tmp_path / "p" / f"{IDS[k]}.fits", k)
    cutout(tmp_path / "p" / "stray.fits", 7)
    Table({"objid": IDS, "z": [0.1, 0.2, 0.3]}).write(tmp_path / "c.ecsv")
    said = []
    with listening(said.append):
        settings = ReadSettings(catalogue=str(tmp_path / "c.ecsv"))
        path = apply_to_images(
            lambda images: images.table.copy(), tmp_path / "p", settings, tmp_path / "t.parquet", command="x"
        )
    table = read_table(path)
    assert list(table["id"]) == [*map(str, IDS), "stray"]
    assert table["flag"][2] == int(Flag.UNREADABLE) and "No image" in table["flag_text"][2]
    assert (
        table["flag"][3] == int(Flag.NOT_LISTED) and table["flag_text"][3] == "The catalogue has no row of this image."
    )
    assert np.ma.is_masked(table["z"][3])
    assert len(said) == 3 and "2 rows have an image, 1 has none; 1 image has no row" in said[0]
    assert any(sentence.startswith("1 of 4 images could not be read") for sentence in said)
    assert any("3 of 3 images have no known PSF" in sentence for sentence in said)
    assert table.meta["provenance"]["catalogue_match"] == said[0] and table.meta["provenance"]["notices"] == said


def test_mosaics_are_still_cut_by_position(tmp_path):
    """Also where the numbers of rows are those of the tiles."""
    for k in range(3):
        cutout(tmp_path / "p" / f"{k}.fits", k, 200, RA[k], DEC[k])
    images = read(tmp_path, Table({"id": [0, 1, 2], "ra": RA[::-1], "dec": DEC[::-1]}))
    assert images.pixels.shape == (3, 16, 16) and "mosaic_x" in images.table.colnames
    files = [name.rpartition("/")[2] for name in images.table["file"]]
    assert dict(zip(images.table["id"], files, strict=True)) == {"0": "2.fits", "1": "1.fits", "2": "0.fits"}
    assert open_images(tmp_path / "p", ReadSettings(catalogue=str(tmp_path / "c.ecsv"))).facts["catalogue_match"]


def test_the_user_decides(tmp_path):
    for k in range(3):
        cutout(tmp_path / "p" / f"{IDS[k]}.fits", k, 48, RA[k], DEC[k])
    table = Table({"id": IDS, "ra": RA, "dec": DEC})
    assert read(tmp_path, table, match="position").pixels.shape == (3, 16, 16)
    assert read(tmp_path, table, match="name").pixels.shape == (3, 48, 48)
    with pytest.raises(UsageError, match="names the images"):
        read(tmp_path, Table({"id": ["a", "b", "c"], "ra": RA, "dec": DEC}), match="name")


def test_the_originals_are_found_again(tmp_path):
    for k in range(3):
        cutout(tmp_path / "p" / f"{IDS[k]}.fits", k)
    images = read(tmp_path, Table({"id": IDS}))
    again = SourceImages(images.table, tmp_path / "p", ReadSettings(catalogue=str(tmp_path / "c.ecsv")))
    assert [again[row][5, 5] for row in range(3)] == [0, 1, 2]


def test_array_columns_are_kept_as_lists(tmp_path):
    cutout(tmp_path / "p" / "a.fits", 1)
    images = read(tmp_path, Table({"id": ["a"], "mags": [[1.5, 2.5]], "a4": [0.1]}))
    assert images.table["mags"][0] == "[1.5, 2.5]" and images.table["input_a4"][0] == 0.1


def test_hats_with_positions_in_other_columns_than_ra(tmp_path):
    folder = tmp_path / "hats" / "dataset" / "Norder=0" / "Dir=0"
    folder.mkdir(parents=True)
    rows = {"objectId": [1], "meanLon": [150.0], "meanLat": [2.0], "ra": [13.0], "dec": [2.0]}
    pq.write_table(pa.table(rows), folder / "Npix=4.parquet")
    (tmp_path / "hats" / "hats.properties").write_text("hats_col_ra=meanLon\nhats_col_dec=meanLat\n")
    cutout(tmp_path / "p" / "mosaic.fits", 1, 64, 150.0, 2.0)
    images = read_images(tmp_path / "p" / "mosaic.fits", ReadSettings(catalogue=str(tmp_path / "hats"), cutout_size=16))
    assert list(images.table["id"]) == ["1"] and images.table["mosaic_x"][0] == pytest.approx(31.5)
    assert list(images.table["input_ra"]) == [13.0]


# --- other sources than folders


def _set(tmp_path):
    write_images(ImageSet(PIXELS, Table({"id": IDS_TEXT})), tmp_path / "s", command="x")
    return tmp_path / "s"


def _list(tmp_path):
    for k in range(3):
        fits.PrimaryHDU(PIXELS[k]).writeto(tmp_path / f"g{k}.fits")
    Table({"id": IDS_TEXT, "file": [f"g{k}.fits" for k in range(3)]}).write(tmp_path / "list.csv")
    return tmp_path / "list.csv"


def _cube(tmp_path):
    fits.PrimaryHDU(PIXELS).writeto(tmp_path / "cube.fits")
    return tmp_path / "cube.fits"


def _hdf5(tmp_path):
    with h5py.File(tmp_path / "cube.h5", "w") as file:
        file["images"] = PIXELS
    return tmp_path / "cube.h5"


def _parquet(tmp_path):
    rows = [{"array": p.tolist()} for p in PIXELS]
    pq.write_table(pa.table({"image": [[row] for row in rows], "object_id": IDS_TEXT}), tmp_path / "i.parquet")
    return tmp_path / "i.parquet"


IDS_TEXT = [str(number) for number in IDS]
PIXELS = np.random.default_rng(3).normal(0, 1, (3, 32, 32)).astype(np.float32)
SOURCES = {"set": _set, "list of files": _list, "cube": _cube, "HDF5": _hdf5, "Parquet": _parquet}


@pytest.mark.parametrize("kind", SOURCES)
def test_rows_go_with_images_of_any_source(tmp_path, kind):
    source = SOURCES[kind](tmp_path)
    names = [f"cube#{k}" for k in range(3)] if kind in ("cube", "HDF5") else IDS_TEXT
    table = Table({"id": [names[2], names[0], "absent"], "mag": [3.0, 1.0, 9.0]})
    table.write(tmp_path / "c.ecsv")
    settings = ReadSettings(catalogue=str(tmp_path / "c.ecsv"))
    images = read_images(source, settings)
    rows = {identity: k for k, identity in enumerate(images.table["id"])}
    assert len(images) == 4 and set(rows) == {*names, "absent"}
    assert [images.table["mag"][rows[names[k]]] for k in (0, 2)] == [1.0, 3.0]
    assert images.table["flag"][rows[names[1]]] == Flag.NOT_LISTED
    assert images.table["flag"][rows["absent"]] == Flag.UNREADABLE
    again = SourceImages(images.table[[name for name in WHERE if name in images.table.colnames]], source, settings)
    for k, name in enumerate(names):
        np.testing.assert_array_equal(images.pixels[rows[name]], PIXELS[k])
        np.testing.assert_array_equal(again[rows[name]], PIXELS[k])


def test_rows_go_with_other_names_of_the_images_of_a_set(tmp_path):
    """An id of the catalogue is a part of that of the set; several rows may have one image."""
    source = _set(tmp_path)
    table = Table({"galaxy": ["a", "b", "c", "d"], "objid": [*IDS, IDS[0]]})
    table.write(tmp_path / "c.ecsv")
    images = read_images(source, ReadSettings(catalogue=str(tmp_path / "c.ecsv"), id="galaxy"))
    assert list(images.table["id"]) == ["a", "d", "b", "c"]
    assert list(images.table["image_id"]) == [IDS_TEXT[k] for k in (0, 0, 1, 2)]
    again = SourceImages(images.table, source, ReadSettings(catalogue=str(tmp_path / "c.ecsv"), id="galaxy"))
    np.testing.assert_array_equal(again[2], PIXELS[1])
    with pytest.raises(UsageError, match="names the images"):
        Table({"id": ["x"]}).write(tmp_path / "d.ecsv")
        read_images(source, ReadSettings(catalogue=str(tmp_path / "d.ecsv")))


def test_ids_that_look_like_planes_go_with_their_own_rows(tmp_path):
    """A list in which one file is a cube, so that its planes are b#0 and b#1, and another has the id b#0."""
    cube = np.random.default_rng(1).normal(size=(2, 24, 24)).astype("f4")
    fits.PrimaryHDU(cube).writeto(tmp_path / "cube.fits")
    fits.PrimaryHDU(cube[0] + 5).writeto(tmp_path / "c.fits")
    Table({"id": ["b", "b#0"], "file": ["cube.fits", "c.fits"]}).write(tmp_path / "list.csv")
    Table({"id": ["b#0", "b"], "z": [0.5, 0.1]}).write(tmp_path / "catalogue.csv")
    settings = ReadSettings(catalogue=str(tmp_path / "catalogue.csv"), match="name", stack=True)
    images = read_images(tmp_path / "list.csv", settings)
    assert len(images) == 3 and "row_of_the_list" not in images.table.colnames
    for pixels, row in zip(images.pixels, images.table, strict=True):
        assert row["z"] == (0.5 if np.nanmean(pixels) > 2 else 0.1)


def test_screen_keeps_the_images_of_rows(tmp_path):
    pixels = np.array([draw_galaxy(shapes.superellipse(0.6, 4), Sersic(1), radius_pix=5 + k) for k in range(3)], "f4")
    write_images(ImageSet(pixels, Table({"id": IDS_TEXT})), tmp_path / "s", command="x")
    Table({"id": ["a", "b", "c"], "objid": IDS[::-1]}).write(tmp_path / "c.ecsv")
    settings = ReadSettings(catalogue=str(tmp_path / "c.ecsv"), id="id")
    screen_run(tmp_path / "s", tmp_path / "run", read_settings=settings)
    best = read_images(tmp_path / "run" / "best")
    for identity, image in zip(best.table["id"], best.pixels, strict=True):
        np.testing.assert_array_equal(image, pixels["cba".index(identity)])


def test_maps_without_an_image_are_flagged_beside_a_catalogue_and_said_beside_mosaics(tmp_path):
    cutout(tmp_path / "p" / f"{IDS[0]}.fits", 0)
    cutout(tmp_path / "p" / f"{IDS[1]}.weight.fits", 0)
    table = read(tmp_path, Table({"id": IDS[:1]})).table
    assert list(table["flag"]) == [0, Flag.NOT_AN_IMAGE] and "weight" in table["flag_text"][1]
    cutout(tmp_path / "m" / "tile.fits", 0, 200, RA[0], DEC[0])
    cutout(tmp_path / "m" / "gone.weight.fits", 0, 200, RA[0], DEC[0])
    Table({"ra": RA[:1], "dec": DEC[:1]}).write(tmp_path / "d.ecsv")
    said = []
    with listening(said.append):
        read_images(tmp_path / "m", ReadSettings(catalogue=str(tmp_path / "d.ecsv"), cutout_size=16))
    assert said == [f"Passed over, maps of no mosaic in '{tmp_path / 'm'}': gone.weight.fits."]
    (tmp_path / "m" / "tile.fits").unlink()
    assert list(read_images(tmp_path / "m").table["flag"]) == [Flag.NOT_AN_IMAGE]


@pytest.mark.parametrize("how", ["cutouts", "list", "mosaic"])
def test_columns_that_are_renamed_are_said(tmp_path, how):
    cutout(tmp_path / "p" / "a.fits", 0, 64 if how != "mosaic" else 200, RA[0], DEC[0])
    columns = {"id": ["a" if how != "mosaic" else "b"], "a4": [0.1], "flag": [7], "ra": RA[:1], "dec": DEC[:1]}
    table = Table(columns | ({"file": ["p/a.fits"]} if how == "list" else {}))
    table.write(tmp_path / "c.ecsv")
    said = []
    with listening(said.append):
        source = tmp_path / ("c.ecsv" if how == "list" else "p")
        images = read_images(source, ReadSettings(catalogue=None if how == "list" else str(tmp_path / "c.ecsv")))
    renamed = next(one for one in said if "input_NAME" in one)
    assert renamed.endswith("input_NAME: flag, a4.") and {"input_a4", "input_flag"} <= set(images.table.colnames)


def write_cube(path, planes, kind):
    path.parent.mkdir(exist_ok=True, parents=True)
    if kind == "npy":
        np.save(path.with_suffix(".npy"), planes)
    else:
        fits.PrimaryHDU(planes).writeto(path.with_suffix(".fits"))


@pytest.mark.parametrize("kind", ["npy", "fits"])
@pytest.mark.parametrize("listed", [False, True])
def test_planes_of_several_cubes_by_their_ids(tmp_path, kind, listed):
    planes = np.arange(1, 25, dtype=np.float32).reshape(24, 1, 1) * np.ones((1, 16, 16), np.float32)
    planes[:, 0, 0] = -1
    write_cube(tmp_path / "p" / "one", planes[:12], kind)
    write_cube(tmp_path / "p" / "two", planes[12:], kind)
    source = tmp_path / "p"
    if listed:
        source = tmp_path / "list.csv"
        Table({"file": [f"p/one.{kind}", f"p/two.{kind}"]}).write(source)
    rows = Table({"id": ["two#11", "one#0", "three#1", "two#3", "one#12"], "mag": [1.0, 2.0, 3.0, 4.0, 5.0]})
    rows.write(tmp_path / "c.ecsv")
    images = read_images(source, ReadSettings(catalogue=str(tmp_path / "c.ecsv")))
    table, lost = images.table, images.table["flag"] & int(Flag.UNREADABLE) > 0
    value = dict(zip(table["id"], (p[5, 5] if p.size else np.nan for p in images.pixels), strict=True))
    mag = {row["id"]: row["mag"] for row in table if not np.ma.is_masked(row["mag"])}
    assert (value["one#0"], value["two#3"], value["two#11"]) == (1, 16, 24)
    assert mag == {"two#11": 1, "one#0": 2, "three#1": 3, "two#3": 4, "one#12": 5}
    assert set(table["id"][lost]) == {"three#1", "one#12"}  # rows without an image
    assert len(table) == 24 + 2 and len(set(table["id"])) == len(table)
    assert np.sum(table["flag"] & int(Flag.NOT_LISTED) > 0) == 21


def test_sources_of_mosaics_have_such_ids_too(tmp_path):
    for name in ("one", "two"):
        cutout(tmp_path / "p" / f"{name}.fits", 1, side=64, ra=RA[0], dec=DEC[0])
    images = read(tmp_path, Table({"id": ["one#0", "one#1", "two#0"], "ra": [RA[0]] * 3, "dec": [DEC[0]] * 3}))
    assert [pixels.shape for pixels in images.pixels] == [(16, 16)] * 3
