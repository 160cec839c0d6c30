"""Convert: what other programs are given is what they read, as they or libraries of others see it."""

import csv
import io
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit
from astropy.wcs import WCS
from PIL import Image

from emeraldcut import cli
from emeraldcut.data import COLUMNS, ImageSet
from emeraldcut.exchange import ConvertSettings, convert_images, convert_table
from emeraldcut.images import ReadSettings, read_images, write_images
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table, write_table
from tests.helpers import tan_wcs

LABELS = ["rectangular", "oval", "", "other", "obround"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A set of five galaxies, one without a label, and one image that cannot be used."""
    y, x = np.mgrid[:24, :24] - 11.5
    noise = np.random.default_rng(1).normal(size=(6, 24, 24))
    pixels = (noise + 50 * np.exp(-(x**2 + y**2) / 30)).astype(np.float32)
    pixels[5] = np.nan
    pixels[1, :3] = np.nan
    table = Table({"id": ["a/1", "b", "B", "c", "d", "bad"], "ra": np.arange(6) + 0.5, "dec": -np.arange(6) - 0.5})
    table["label"] = np.array([*LABELS, "oval"], dtype=object)
    table["flag"] = [0, 0, 0, 0, 0, 4]
    return write_images(ImageSet(pixels, table), tmp_path_factory.mktemp("stored") / "set", command="test")


def read_csv(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_zoobot(stored, tmp_path):
    folder = convert_images(stored, tmp_path / "z", ConvertSettings(to="zoobot")).folder
    rows = read_csv(folder / "catalog.csv")
    assert list(rows[0]) == ["id_str", "file_loc", "label"]
    assert [row["id_str"] for row in rows] == ["a/1", "b", "B", "c", "d"]
    assert [row["label"] for row in rows] == ["1", "0", "", "3", "2"]
    assert len({row["file_loc"].lower() for row in rows}) == 5
    for row in rows:
        assert Path(row["file_loc"]).is_absolute()
        with Image.open(row["file_loc"]) as image:
            assert image.mode == "RGB" and image.size == (24, 24)
            grey = np.asarray(image)[..., 0]
        assert grey[11:13, 11:13].min() > 200 and np.median(grey) < 40
    manifest = read_manifest(folder)
    assert (manifest["images"], manifest["left_out"]) == (5, 1)


def test_labels_of_others_go_through(tmp_path, stored):
    images = read_images(stored)
    images.table["label"] = np.array(["spiral"] * 6, dtype=object)
    write_images(images, tmp_path / "set", command="test")
    folder = convert_images(tmp_path / "set", tmp_path / "z", ConvertSettings(to="zoobot")).folder
    assert {row["label"] for row in read_csv(folder / "catalog.csv")} == {"spiral"}
    images.table.remove_column("label")
    write_images(images, tmp_path / "bare", command="test")
    folder = convert_images(tmp_path / "bare", tmp_path / "y", ConvertSettings(to="zoobot")).folder
    assert list(read_csv(folder / "catalog.csv")[0]) == ["id_str", "file_loc"]
    folder = convert_images(tmp_path / "bare", tmp_path / "x", ConvertSettings(to="anomalymatch")).folder
    assert not (folder / "labeled_data.csv").exists()


def test_hyrax(stored, tmp_path):
    folder = convert_images(stored, tmp_path / "h", ConvertSettings(to="hyrax")).folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a second table
        catalog = Table.read(folder / "catalog.fits")
    assert list(catalog["object_id"]) == [0, 1, 2, 3, 4] and list(catalog["id"]) == ["a/1", "b", "B", "c", "d"]
    truth = read_images(stored).pixels
    for row, pixels in zip(catalog, truth, strict=False):
        data = fits.getdata(folder / "images" / row["filename"], memmap=False)
        np.testing.assert_array_equal(data, pixels)
    images = read_images(stored)
    images.table["id"] = np.array(["17", "4", "2000", "5", "6", "7"], dtype=object)
    write_images(images, tmp_path / "set", command="test")
    folder = convert_images(tmp_path / "set", tmp_path / "n", ConvertSettings(to="hyrax")).folder
    assert list(read_table(folder / "catalog.fits")["object_id"]) == [17, 4, 2000, 5, 6]


def test_anomalymatch(stored, tmp_path):
    folder = convert_images(stored, tmp_path / "a", ConvertSettings(to="anomalymatch")).folder
    labels = {row["filename"]: row["label"] for row in read_csv(folder / "labeled_data.csv")}
    names = [row["filename"] for row in read_csv(folder / "metadata.csv")]
    assert [labels.get(name) for name in names] == ["anomaly", "normal", None, "normal", "normal"]
    row = read_csv(folder / "metadata.csv")[3]
    assert (row["sourceID"], float(row["ra"]), float(row["dec"])) == ("c", 3.5, -3.5)
    assert sorted(path.name for path in (folder / "images").iterdir()) == sorted(names)


def test_a_votable_of_all_columns_is_valid(tmp_path):
    from astropy.io.votable import parse_single_table, validate

    values = {str: ["a", "é & <b>"], int: [1, 2], float: [0.5, np.nan], bool: [True, False]}
    table = Table({column.name: np.array(values[column.dtype]) for column in COLUMNS})
    table["µ odd-name"], table["some"] = ["x", "y"], np.ma.MaskedArray([1, 2], mask=[0, 1])
    write_table(table, tmp_path / "t.csv")  # knows neither units nor what columns mean
    path = convert_table(tmp_path / "t.csv", tmp_path / "t.vot")
    report = io.StringIO()
    assert validate(path, output=report), report.getvalue()
    fields = {field.name: field for field in parse_single_table(path).fields}
    assert fields["ra"].ucd == "pos.eq.ra;meta.main" and str(fields["ra"].unit) == "deg"
    assert all(fields[column.name].ucd == (column.ucd or None) for column in COLUMNS)
    assert all(Unit(str(fields[column.name].unit or "")) == Unit(column.unit) for column in COLUMNS)


def shapes(path):
    from regions import Regions

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Regions.read(path, format="ds9")


def test_regions_on_the_sky_have_the_galaxys_orientation(tmp_path):
    """Along the major axis that DS9 draws, the sky position angle is the galaxy's."""
    table = Table({"id": ["a {b}", "c", "gone"], "ra": [10.0, 359.99, np.nan], "dec": [60.0, -5.0, 1.0]})
    table["radius_pix"], table["axis_ratio"], table["pixel_scale_arcsec"] = [8.0, np.nan, 1], [0.5] * 3, [0.25] * 3
    table["pa_sky_deg"] = [30.0] * 3
    table.write(tmp_path / "t.ecsv")
    first, second = shapes(convert_table(tmp_path / "t.ecsv", tmp_path / "t.reg"))
    assert (first.center.ra.deg, first.center.dec.deg) == (pytest.approx(10), pytest.approx(60))
    assert first.meta["text"] == "a _b_" and type(second).__name__ == "PointSkyRegion"
    # regions keeps the whole axes, DS9 the half ones
    assert first.width.to_value("arcsec") == pytest.approx(4) and first.height.to_value("arcsec") == pytest.approx(2)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [10, 60], [50, 50]
    wcs.wcs.cdelt = [-0.1 / 3600, 0.1 / 3600]
    ellipse = first.to_pixel(wcs)
    angle = ellipse.angle.to_value("rad")
    ends = wcs.pixel_to_world([49, 49 + np.cos(angle)], [49, 49 + np.sin(angle)])
    assert ends[0].position_angle(ends[1]).deg % 180 == pytest.approx(30, abs=0.01)


def test_regions_in_pixels_count_from_one(tmp_path):
    table = Table({"id": ["g"], "x": [10.0], "y": [20.5], "radius_pix": [6.0], "axis_ratio": [0.5]})
    table["position_angle_deg"] = [150.0]
    table.write(tmp_path / "t.ecsv")
    path = convert_table(tmp_path / "t.ecsv", tmp_path / "t.reg")
    assert "image\nellipse(11.0000000,21.5000000,6.0000,3.0000,150.000)" in path.read_text()
    (shape,) = shapes(path)
    assert (shape.center.x, shape.center.y) == (10, 20.5) and shape.angle.to_value("deg") == 150
    with pytest.raises(FileExistsError, match="--overwrite"):
        convert_table(tmp_path / "t.ecsv", path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A SAMP hub of this test's own."""
    from pyvo.samp import SAMPHubServer, conf

    monkeypatch.setattr(conf, "use_internet", False)
    lock = tmp_path / "hub.samp"
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{lock.as_uri()}")
    server = SAMPHubServer(web_profile=False, mode="single", lockfile=str(lock))
    yield server
    if server.is_running:
        server.stop()


@pytest.mark.filterwarnings("ignore")  # of the hub's threads, when it stops
def test_programs_that_listen_are_sent_the_table(tmp_path, hub, capsys):
    from pyvo.samp import SAMPIntegratedClient

    Table({"id": ["g"], "ra": [1.0], "dec": [2.0]}).write(tmp_path / "t.ecsv")
    words = ["convert", str(tmp_path / "t.ecsv"), "--send", "--overwrite", "-o"]
    assert cli.main([*words, str(tmp_path / "t.ecsv")]) == 2 and "end in .vot" in capsys.readouterr().err
    assert cli.main([*words, str(tmp_path / "t.vot")]) == 1 and "no SAMP hub runs" in capsys.readouterr().err
    hub.start()
    assert cli.main([*words, str(tmp_path / "t.vot")]) == 1 and "no program" in capsys.readouterr().err
    topcat, heard = SAMPIntegratedClient(name="topcat"), []
    topcat.connect()
    try:
        topcat.bind_receive_notification("table.load.votable", lambda *said: heard.append(said[4]))
        assert cli.main([*words, str(tmp_path / "t.vot")]) == 0
        deadline = time.monotonic() + 5
        while not heard and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        topcat.disconnect()
    assert heard[0]["url"] == (tmp_path / "t.vot").as_uri() and heard[0]["name"] == "t.vot"
    assert list(Table.read(tmp_path / "t.vot")["ra"]) == [1.0]


@pytest.mark.filterwarnings("ignore")
def test_a_table_with_any_name_is_sent(tmp_path, hub):
    from pyvo.samp import SAMPIntegratedClient

    Table({"id": ["g"], "ra": [1.0], "dec": [2.0]}).write(tmp_path / "t.ecsv")
    hub.start()
    topcat, heard = SAMPIntegratedClient(name="topcat"), []
    topcat.connect()
    try:
        topcat.bind_receive_notification("table.load.votable", lambda *said: heard.append(said[4]))
        convert_table(tmp_path / "t.ecsv", tmp_path / "é → galaxies.vot", ConvertSettings(send=True))
        deadline = time.monotonic() + 5
        while not heard and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        topcat.disconnect()
    assert heard[0]["url"] == (tmp_path / "é → galaxies.vot").as_uri() and heard[0]["name"] == "e  galaxies.vot"


def test_a_table_of_results_leads_to_its_images(tmp_path, monkeypatch, stored):
    """`file` in results is relative to where the program ran, not to the table."""
    monkeypatch.chdir(tmp_path)
    convert_images(stored, "h", ConvertSettings(to="hyrax"))
    (tmp_path / "run").mkdir()
    write_table(read_images("h").table, "run/candidates.parquet")
    assert cli.main(["convert", "run/candidates.parquet", "--to", "zoobot", "-o", "z"]) == 0
    assert len(read_csv(tmp_path / "z" / "catalog.csv")) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{set}/table.parquet", "-o", "{tmp}/t.doc"], ".parquet"),
        (["{tmp}/none.csv", "-o", "{tmp}/t.reg"], "regions need ra and dec"),
        (["{set}", "--to", "topcat", "-o", "{tmp}/x"], "zoobot, hyrax, anomalymatch"),
        (["{set}", "--to", "zoobot", "-o", "{set}"], "finished run"),
        (["{tmp}/images", "--to", "hyrax", "-o", "{tmp}"], "holds files already"),
        (["{tmp}/gone", "--to", "zoobot", "-o", "{tmp}/x"], "no file or folder"),
    ],
)
def test_wrong_input_gets_one_sentence(words, said, stored, tmp_path, capsys):
    (tmp_path / "none.csv").write_text("id\n1\n")
    (tmp_path / "images").mkdir()
    fits.PrimaryHDU(np.eye(16)).writeto(tmp_path / "images" / "mine.fits")
    assert cli.main(["convert", *[word.format(set=stored, tmp=tmp_path) for word in words]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and len(err.strip().splitlines()) == 1


def test_an_ellipse_lies_on_the_measured_galaxy(tmp_path):
    """Eight pixels off the middle of its image, not at the catalogue's position."""
    from emeraldcut.isophotes.measure import galaxy_position

    wcs = tan_wcs((64, 64), 10.0, 60.0, 30.0, 0.4)
    images = tmp_path / "off.fits"
    fits.PrimaryHDU(np.eye(64, dtype=np.float32), wcs.to_header()).writeto(images)
    table = read_images(images).table
    table["x"], table["y"] = [40.0], [26.0]
    table["galaxy_ra"], table["galaxy_dec"] = galaxy_position(table, [(64, 64)])
    table["radius_pix"], table["axis_ratio"], table["pa_sky_deg"] = [5.0], [0.6], [30.0]
    table.write(tmp_path / "t.ecsv")
    (shape,) = shapes(convert_table(tmp_path / "t.ecsv", tmp_path / "t.reg"))
    x, y = wcs.world_to_pixel(shape.center)
    assert (float(x), float(y)) == (pytest.approx(40, abs=0.01), pytest.approx(26, abs=0.01))


def test_images_become_fits_with_their_place_on_the_sky(tmp_path):
    wcs = tan_wcs((32, 32), 10.0, 20.0, 25.0)
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32)
    fits.PrimaryHDU(pixels, wcs.to_header()).writeto(tmp_path / "in" / "5853498713190525696.fits")
    folder = convert_images(tmp_path / "in", tmp_path / "f", ConvertSettings(to="fits")).folder
    table = read_table(folder / "table.fits")
    assert list(table["id"]) == ["5853498713190525696"]
    with fits.open(folder / table["filename"][0]) as units:
        np.testing.assert_array_equal(units[0].data, pixels)
        written = WCS(units[0].header)
    corners = np.array([[0, 0], [31, 31], [0, 31]], dtype=float)
    np.testing.assert_allclose(written.all_pix2world(corners, 0), wcs.all_pix2world(corners, 0), atol=1e-7)
    hyrax = convert_images(tmp_path / "in", tmp_path / "h", ConvertSettings(to="hyrax")).folder
    assert read_table(hyrax / "catalog.fits")["object_id"].tolist() == [5853498713190525696]


def test_columns_that_mean_something_to_hyrax_go_by_other_names(tmp_path):
    images = ImageSet(np.random.default_rng(1).normal(size=(1, 16, 16)).astype(np.float32), Table({"id": ["7"]}))
    images.table["object_id"], images.table["filter"] = ["mine"], ["r"]
    write_images(images, tmp_path / "set", command="x")
    catalog = read_table(
        convert_images(tmp_path / "set", tmp_path / "h", ConvertSettings(to="hyrax")).folder / "catalog.fits"
    )
    assert (
        catalog["object_id"][0] == 7 and catalog["input_object_id"][0] == "mine" and catalog["input_filter"][0] == "r"
    )


@pytest.mark.parametrize("how", ["cube", "files", "mosaic"])
def test_bands_become_extensions(tmp_path, how):
    wcs, rng = tan_wcs((32, 32), 10.0, 20.0, 25.0), np.random.default_rng(1)
    planes = {band: rng.normal(size=(32, 32)).astype(np.float32) for band in "grz"}
    (tmp_path / "in").mkdir()
    if how == "files":
        for band, plane in planes.items():
            fits.PrimaryHDU(plane, wcs.to_header()).writeto(tmp_path / "in" / f"7_{band}.fits")
    else:
        header = wcs.to_header()
        header["BANDS"] = "grz"
        fits.PrimaryHDU(np.array(list(planes.values())), header).writeto(tmp_path / "in" / "7.fits")
    settings = ReadSettings()
    if how == "mosaic":
        Table({"id": ["7"], "ra": [10.0], "dec": [20.0]}).write(tmp_path / "c.ecsv")
        settings = ReadSettings(catalogue=str(tmp_path / "c.ecsv"), cutout_size=32, match="position")
    folder = convert_images(tmp_path / "in", tmp_path / "f", ConvertSettings(to="fits"), settings).folder
    with fits.open(folder / "images" / "7.fits") as units:
        assert [unit.name for unit in units] == ["PRIMARY", "G", "R", "Z"] and units[0].header["FILTER"] == "g,r,z"
        for band, plane in planes.items():
            np.testing.assert_array_equal(units[band].data, plane)
            assert units[band].header["FILTER"] == band and WCS(units[band].header).has_celestial
        combined = units[0].data.copy()
    np.testing.assert_array_equal(read_images(folder / "images").pixels[0], combined)  # one galaxy again
    one = read_images(folder / "images", ReadSettings(band="r"))
    np.testing.assert_array_equal(one.pixels[0], planes["r"])
    hyrax = convert_images(tmp_path / "in", tmp_path / "h", ConvertSettings(to="hyrax"), settings).folder
    with fits.open(hyrax / "images" / "7.fits") as units:
        assert len(units) == 1
