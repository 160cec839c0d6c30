"""Columns as surveys and programs name them, in the units that they state: where a position is, it is found."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table

from emeraldcut.errors import UsageError
from emeraldcut.runs.notices import listening
from emeraldcut.tables import read_catalogue, read_table
from emeraldcut.tables.catalogues import with_pixels

RA, DEC = np.array([150.1, 350.25]), np.array([2.2, -35.5])


def catalogue(tmp_path, table, ending=".ecsv", **columns):
    form = {"format": "votable"} if ending == ".vot" else {}
    table.write(tmp_path / f"c{ending}", overwrite=True, **form)
    return read_catalogue(tmp_path / f"c{ending}", columns)


def is_right(table):
    return np.allclose(table["ra"], RA, rtol=0, atol=1e-6) and np.allclose(table["dec"], DEC, rtol=0, atol=1e-6)


@pytest.mark.parametrize("unit", ["deg", "rad", "arcmin", "arcsec", "mas", "hourangle", "uarcsec"])
@pytest.mark.parametrize("ending", [".ecsv", ".fits", ".vot"])
def test_every_unit_of_an_angle(tmp_path, unit, ending):
    table = QTable({"ra": (RA * u.deg).to(unit), "dec": (DEC * u.deg).to(unit)})
    if ending != ".ecsv" and unit == "hourangle":
        pytest.skip("the format has no such unit")
    assert is_right(catalogue(tmp_path, Table(table), ending))


@pytest.mark.parametrize("word", ["degrees", "Degree", "DEG", "radians", "RAD", "hours", "h"])
def test_units_in_words(tmp_path, word):
    factor = {"r": np.radians(1), "h": 1 / 15}.get(word[0].lower(), 1.0)
    table = Table({"ra": RA * factor, "dec": DEC * (1 if word[0] == "h" else factor)})
    rows = fits.table_to_hdu(table)
    for number in (1, 2):
        if number == 1 or word[0] != "h":
            rows.header[f"TUNIT{number}"] = word
    rows.writeto(tmp_path / "c.fits")
    assert is_right(read_catalogue(tmp_path / "c.fits"))


def test_a_unit_that_is_no_angle_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="column 'ra' .* 'km', which is not the unit of an angle"):
        catalogue(tmp_path, Table({"ra": Column(RA, unit="km"), "dec": DEC}))


@pytest.mark.parametrize(
    "names",
    [
        "right_ascension declination object_id", "Right_Ascension Declination Name", "coord_ra coord_dec objectId",
        "raMean decMean objID", "raStack decStack objID", "TARGET_RA TARGET_DEC TARGETID",
        "ALPHAWIN_J2000 DELTAWIN_J2000 NUMBER", "RA_ICRS DE_ICRS Source", "ra dec coadd_objects_id",
        "s_ra s_dec target_name", "RAJ2000 DECJ2000 main_id", "alphaModel_J2000 deltaModel_J2000 CATAID",
        "RAJ2000 DEJ2000 2MASS_designation", "RA DEC COADD_OBJECT_ID", "gal_ra gal_dec iauname",
        "RIGHT_ASCENSION_PSF_FITTING DECLINATION_PSF_FITTING OBJECT_ID", "RAmean DEmean objID", "i_ra i_dec object_id",
        "RA_CIRC DEC_CIRC ID_1", "FIBERRA FIBERDEC FIBER_ID", "plug_ra plug_dec SPECOBJID", "IFURA IFUDEC mangaid",
        "ra_gaia dec_gaia KIDS_ID", "RAJ2000_1 DEJ2000_1 WISEA_ID",
    ],
)  # fmt: skip
def test_names_of_surveys(tmp_path, names):
    ra, dec, identity = names.split()
    table = catalogue(tmp_path, Table({ra: RA, dec: DEC, identity: [12345678901234567, 2]}))
    assert is_right(table)
    if identity not in ("Source", "2MASS_designation"):
        assert list(table["id"]) == ["12345678901234567", "2"]


@pytest.mark.parametrize(
    "names",
    ["pmra pmdec", "e_ra e_dec", "ra_err dec_err", "delta_ra delta_dec", "ra_ivar dec_ivar", "ra_offset dec_offset"],
)
def test_what_belongs_to_a_position_is_none(tmp_path, names):
    ra, dec = names.split()
    assert "ra" not in catalogue(tmp_path, Table({ra: RA, dec: DEC})).colnames
    both = Table({"ra_gaia": RA, "dec_gaia": DEC, ra: [1.0, 2.0], dec: [1.0, 2.0]})
    assert is_right(catalogue(tmp_path, both))
    two = Table({"ra_a": RA, "dec_a": DEC, "ra_b": RA, "dec_b": DEC})
    assert "ra" not in catalogue(tmp_path, two).colnames  # which of them is meant?


def test_identifiers_of_places_and_groups_are_not_those_of_objects(tmp_path):
    for name in ("BRICKID", "field_id", "tileId", "GroupID", "parent_id"):
        assert "id" not in catalogue(tmp_path, Table({"ra": RA, "dec": DEC, name: [1, 2]})).colnames
    assert "id" not in catalogue(tmp_path, Table({"ra": RA, "dec": DEC, "plate_mjd_fibre_id": [1, 1]})).colnames
    assert "id" not in catalogue(tmp_path, Table({"ra": RA, "dec": DEC, "one_id": [1, 2], "two_id": [1, 2]})).colnames


def test_hours_minutes_and_seconds_in_columns(tmp_path):
    """As VizieR has them, with the sign in a column of its own."""
    columns = {"RAh": [10, 23], "RAm": [0, 21], "RAs": [24.0, 0.0], "DE-": ["+", "-"], "DEd": [2, 35], "DEm": [12, 30]}
    assert is_right(catalogue(tmp_path, Table(columns | {"DEs": [0.0, 0.0]})))


def test_it_is_said_that_angles_could_be_radians(tmp_path):
    said = []
    with listening(said.append):
        catalogue(tmp_path, Table({"coord_ra": np.radians(RA), "coord_dec": np.radians(DEC)}))
        catalogue(tmp_path, Table({"coord_ra": RA, "coord_dec": DEC}))
        catalogue(tmp_path, Table({"coord_ra": np.radians(RA) * u.rad, "coord_dec": np.radians(DEC) * u.rad}))
    assert len(said) == 1 and "could be radians" in said[0]


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ("RA (deg),Dec (deg)", 1), ("RA [deg],DEC [deg]", 1), ("ra_rad,dec_rad", np.radians(1)),
        ("RA (rad),Dec (rad)", np.radians(1)), ("ra_deg,dec_deg", 1), ("raDeg,decDeg", 1), ("RA(J2000),DEC(J2000)", 1),
    ],
)  # fmt: skip
def test_units_in_names(tmp_path, header, factor):
    rows = [f"{a!r},{b!r}" for a, b in zip((RA * factor).tolist(), (DEC * factor).tolist(), strict=True)]
    (tmp_path / "c.csv").write_text("\n".join([header, *rows]))
    assert is_right(read_catalogue(tmp_path / "c.csv"))


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ("10:00:24,23:21:00", "2:12:00,-35:30:00"), ("10 00 24,23 21 00", "+02 12 00,-35 30 00"),
        ("10h00m24s,23h21m00s", "2d12m,-35d30m"), ("150.1 deg,350.25 deg", "2.2 deg,-35.5 deg"),
        ("150.1d,350.25d", "2.2d,\u221235.5d"),
    ],
)  # fmt: skip
def test_angles_in_words(tmp_path, ra, dec):
    assert is_right(catalogue(tmp_path, Table({"RA": ra.split(","), "Dec": dec.split(",")})))


def test_right_ascension_in_text_of_degrees_that_are_stated(tmp_path):
    table = Table(
        {"ra": Column(["150:06:00", "350:15:00"], unit="deg"), "dec": Column(["2:12:0", "-35:30:0"], unit="deg")}
    )
    assert is_right(catalogue(tmp_path, table))


def test_ucds(tmp_path):
    """Names that say nothing, as in answers of services."""
    document = f"""<VOTABLE version="1.3"><RESOURCE><TABLE>
      <FIELD name="a" datatype="double" ucd="pos.eq.ra;meta.main" unit="deg"/>
      <FIELD name="b" datatype="double" ucd="pos.eq.dec;meta.main" unit="deg"/>
      <FIELD name="c" datatype="long" ucd="meta.id;meta.main"/>
      <DATA><TABLEDATA><TR><TD>{RA[0]}</TD><TD>{DEC[0]}</TD><TD>5</TD></TR>
      <TR><TD>{RA[1]}</TD><TD>{DEC[1]}</TD><TD>6</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""
    (tmp_path / "c.vot").write_text(document)
    table = read_catalogue(tmp_path / "c.vot")
    assert is_right(table) and list(table["id"]) == ["5", "6"]
    rows = fits.table_to_hdu(Table({"a": RA, "b": DEC}))
    rows.header["TUCD1"], rows.header["TUCD2"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    rows.writeto(tmp_path / "c.fits")
    assert is_right(read_catalogue(tmp_path / "c.fits"))


@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
@pytest.mark.parametrize("ending", [".ecsv", ".fits", ".parquet"])
def test_columns_of_coordinates(tmp_path, frame, ending):
    if ending == ".parquet":
        pytest.importorskip("pandas")
    sky = SkyCoord(RA, DEC, unit="deg").transform_to(frame)
    table = catalogue(tmp_path, QTable({"id": ["A", "B"], "sky_centroid": sky, "area": [1, 2] * u.pix**2}), ending)
    assert is_right(table) and list(table["area"]) == [1, 2]


def test_galactic_longitude_and_latitude(tmp_path):
    sky = SkyCoord(RA, DEC, unit="deg").galactic
    assert is_right(catalogue(tmp_path, Table({"GLON": sky.l.deg, "GLAT": sky.b.deg})))


@pytest.mark.parametrize(
    ("names", "origin"),
    [("X_IMAGE Y_IMAGE", 1), ("XWIN_IMAGE YWIN_IMAGE", 1), ("xcentroid ycentroid", 0), ("x_centroid y_centroid", 0),
     ("x y", 0), ("slot_Centroid_x slot_Centroid_y", 0), ("XCENTER YCENTER", 1), ("xcenter ycenter", 0),
     ("X_IMAGE_DBL Y_IMAGE_DBL", 1), ("bx by", 0)],
)  # fmt: skip
def test_pixels_and_their_origin(names, origin):
    x, y = names.split()
    table = with_pixels(Table({x: [10.0, 20.0], y: [30.0, 40.0]}), {})
    assert list(table["x"]) == [10 - origin, 20 - origin] and list(table["y"]) == [30 - origin, 40 - origin]


def test_columns_that_the_user_names(tmp_path):
    values = {"ra": [1.0, 2.0], "dec": [3.0, 4.0], "id": [1, 2], "lon": RA, "lat": DEC, "survey_no": ["x", "y"]}
    table = catalogue(tmp_path, Table(values), ra="lon", dec="LAT", id="survey_no")
    assert is_right(table) and list(table["id"]) == ["x", "y"]
    assert list(table["input_ra"]) == [1, 2] and list(table["input_id"]) == [1, 2]
    with pytest.raises(UsageError, match="no column 'alpha'; it has ra, dec"):
        catalogue(tmp_path, Table(values), ra="alpha")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".fits", ".vot", ".ecsv"])
def test_equal_names_are_an_error_that_lists_them(tmp_path, ending):
    path = tmp_path / f"c{ending}"
    if ending == ".csv":
        path.write_text("id,ra,dec,ra\n1,2,3,4\n")
    elif ending == ".parquet":
        pq.write_table(pa.Table.from_arrays([pa.array([1.0])] * 3, names=["ra", "dec", "ra"]), path)
    elif ending == ".fits":
        columns = [fits.Column(name, "D", array=[1.0]) for name in ("ra", "dec", "b")]
        rows = fits.BinTableHDU.from_columns(columns)
        rows.writeto(path)
        path.write_bytes(path.read_bytes().replace(b"TTYPE3  = 'b       '", b"TTYPE3  = 'ra      '"))
    elif ending == ".vot":
        fields = "".join(f'<FIELD name="{name}" datatype="double"/>' for name in ("ra", "dec", "ra"))
        path.write_text(f'<VOTABLE version="1.3"><RESOURCE><TABLE>{fields}<DATA><TABLEDATA><TR><TD>1</TD><TD>2</TD>'
                        "<TD>3</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>")  # fmt: skip
    else:
        path.write_text("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: ra, datatype: float64}\n"
                        "# - {name: dec, datatype: float64}\n# - {name: ra, datatype: float64}\n"
                        "ra dec ra\n1 2 3\n")  # fmt: skip
    with pytest.raises(UsageError, match="several columns have the same name: 'ra'"):
        read_table(path)


# --- files of other programs


def ldac(path, *extensions):
    """As SExtractor writes FITS_LDAC: before each table of objects one with the header of the image."""
    units = [fits.PrimaryHDU()]
    for table in extensions:
        head = fits.BinTableHDU.from_columns([fits.Column("Field Header Card", "80A", array=["SIMPLE  = T"])])
        head.name, body = "LDAC_IMHEAD", fits.table_to_hdu(table)
        body.name = "LDAC_OBJECTS"
        units += [head, body]
    fits.HDUList(units).writeto(path)


@pytest.mark.parametrize("ending", [".fits", ".cat", ".ldac"])
def test_fits_ldac(tmp_path, ending):
    objects = Table({"NUMBER": [1, 2], "ALPHA_J2000": RA, "DELTA_J2000": DEC})
    ldac(tmp_path / f"one{ending}", objects)
    table = read_catalogue(tmp_path / f"one{ending}")
    assert is_right(table) and list(table["id"]) == ["1", "2"]
    ldac(tmp_path / f"two{ending}", objects[:1], objects[1:])  # of an image with two chips
    assert is_right(read_catalogue(tmp_path / f"two{ending}"))


def test_ascii_head_of_sextractor(tmp_path):
    (tmp_path / "test.cat").write_text(
        "#   1 NUMBER                 Running object number\n"
        "#   2 X_IMAGE                Object position along x                                    [pixel]\n"
        "#   3 Y_IMAGE                Object position along y                                    [pixel]\n"
        "#   4 ALPHA_J2000            Right ascension of barycenter (J2000)                      [deg]\n"
        "#   5 DELTA_J2000            Declination of barycenter (J2000)                          [deg]\n"
        f"         1    41.0000    46.0000 {RA[0]:11.7f} {DEC[0]:+11.7f}\n"
        f"         2    73.0000    69.0000 {RA[1]:11.7f} {DEC[1]:+11.7f}\n"
    )
    table = read_catalogue(tmp_path / "test.cat")
    assert is_right(table) and list(table["id"]) == ["1", "2"] and list(with_pixels(table, {})["x"]) == [40, 72]


@pytest.mark.parametrize("name", ["c.tsv", "c.txt", "c.dat", "c.csv.gz", "c.tbl", "c.ecsv.gz", "c.xml", "noending"])
def test_tables_under_other_names(tmp_path, name):
    table, path = Table({"id": ["a", "b"], "ra": RA, "dec": DEC}), tmp_path / name
    forms = {".tsv": "ascii.tab", ".dat": "ascii.commented_header", ".tbl": "ascii.ipac", ".xml": "votable"}
    form = forms.get(path.suffix, "ascii.basic")
    if name.endswith(".gz"):
        import gzip

        plain = tmp_path / name.removesuffix(".gz")
        table.write(plain, format="ascii.ecsv" if ".ecsv" in name else "ascii.csv")
        path.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        table.write(path, format=form)
    read = read_catalogue(path)
    assert is_right(read) and list(read["id"]) == ["a", "b"]


def test_columns_as_the_values_of_one_row(tmp_path):
    """The colfits of STILTS and TOPCAT."""
    columns = [
        fits.Column("id", "8A", array=[["a", "b"]], dim="(4,2)"),
        fits.Column("ra", "2D", array=[RA], unit="deg"),
        fits.Column("dec", "2D", array=[DEC], unit="deg"),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "c.colfits")
    table = read_catalogue(tmp_path / "c.colfits")
    assert is_right(table) and list(table["id"]) == ["a", "b"]


def test_a_spreadsheet_is_a_sentence(tmp_path):
    (tmp_path / "c.xlsx").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(UsageError, match="save the table as CSV"):
        read_table(tmp_path / "c.xlsx")
    with pytest.raises(UsageError, match="is a folder"):
        read_table(tmp_path)


def test_flags_of_the_user_are_kept(tmp_path):
    table = catalogue(tmp_path, Table({"id": ["a", "b"], "flag": [3, 0], "flag_text": ["saturated", "x"]}))
    assert list(table["input_flag"]) == [3, 0] and list(table["input_flag_text"]) == ["saturated", "x"]
    table = catalogue(tmp_path, Table({"id": ["a"], "flag": MaskedColumn([3], mask=[False])}))
    assert list(table["input_flag"]) == [3]
    ours = Table(
        {"id": ["a", "b"], "flag": [4, 0], "flag_text": ["All pixels are missing or have the same value.", ""]}
    )
    assert "flag" in catalogue(tmp_path, ours).colnames
