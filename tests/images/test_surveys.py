"""Files as surveys ship them: masks by their bits, maps beside pictures, bands, PSFs, WCS, stretches, endings."""

import bz2
import lzma

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from PIL import Image

from emeraldcut.data import Flag, ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.images import ReadSettings, read_images, write_images
from emeraldcut.images.apply import reading_facts
from emeraldcut.images.planes import Role, kind_of_name
from emeraldcut.images.source_images import SourceImages
from emeraldcut.tables.arrow import to_arrow
from tests.helpers import tan_wcs

SIDE = 40
RNG = np.random.default_rng(20)
NOISE = RNG.normal(0, 1, (SIDE, SIDE)).astype(np.float32)
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
LIGHT = (200 * np.exp(-np.hypot(X, Y / 0.6) / 4)).astype(np.float32)
GALAXY = LIGHT + NOISE
SKY = tan_wcs((SIDE, SIDE), scale_arcsec=0.2).to_header()


def unit(array, name="", header=None, **cards):
    made = fits.ImageHDU(np.asarray(array), header, name=name)
    for key, value in cards.items():
        made.header[key.replace("__", " ")] = value
    return made


def written(path, *units, primary=None, **cards):
    first = fits.PrimaryHDU(primary)
    first.header.update(cards)
    fits.HDUList([first, *units]).writeto(path, overwrite=True)
    return path


def read(path, **settings):
    return read_images(path, ReadSettings(**settings))


def places(tmp_path, **columns):
    Table(columns).write(tmp_path / "places.ecsv", overwrite=True)
    return str(tmp_path / "places.ecsv")


def masked_pixels(path, **settings):
    images = read(path, **settings)
    assert len(images) == 1
    return {(int(x), int(y)) for y, x in np.argwhere(np.isnan(images.pixels[0]))}, images.table


# --- mask bits


def bits_mask(kind="i4", **values):
    """A mask with one value at each place "x_y"."""
    mask = np.zeros((SIDE, SIDE), kind)
    for place, value in values.items():
        x, y = map(int, place.strip("p").split("_"))
        mask[y, x] = value
    return mask


def test_mask_planes_are_known_by_the_cards_of_hsc_and_rubin(tmp_path):
    mask = np.where(LIGHT > 3, 1 << 5, 0) | bits_mask(p1_2=1, p3_4=1 << 2, p5_6=1 << 8, p7_8=1 << 6)
    planes = {"HIERARCH MP_" + n: k for k, n in enumerate("BAD SAT INTRP CR EDGE DETECTED DETECTED_NEGATIVE".split())}
    planes["HIERARCH MP_NO_DATA"] = 8
    units = [unit(GALAXY, "IMAGE", SKY), unit(mask.astype("i4"), "MASK", fits.Header(planes))]
    path = written(tmp_path / "calexp.fits", *units, unit(np.ones_like(GALAXY), "VARIANCE"))
    missing, table = masked_pixels(path)
    assert missing == {(1, 2), (5, 6)} and "BAD, SAT, CR, EDGE, NO_DATA" in table["read_as"][0]
    assert masked_pixels(path, mask_bits="INTRP")[0] == {(3, 4)}
    assert (
        masked_pixels(path, mask_bits="1,256")[0] == {(1, 2), (5, 6)} and not masked_pixels(path, mask_bits="none")[0]
    )
    assert len(masked_pixels(path, mask_bits="any")[0]) > 100
    with pytest.raises(UsageError, match="SATT.*names BAD, SAT"):
        read(path, mask_bits="SATT")


SURVEYS = {
    "JWST": ({"TELESCOP": "JWST"}, "DQ", "u4", 1, 4),
    "JWST saturated": ({"TELESCOP": "JWST"}, "DQ", "u4", (1 << 31) + 1, 1 << 31),
    "HST": ({"TELESCOP": "HST", "INSTRUME": "ACS"}, "DQ", "i2", 4096, 64),
    "SDSS": ({"TELESCOP": "2.5m"}, "MASK", "i2", 2, 8),
    "MaNGA": ({"SURVEY": "MaNGA"}, "MASK", "i4", 1024, 2),
    "Legacy": ({}, "MASKBITS", "i4", 0x40, 0x1000),
    "PS1": ({"TELESCOP": "PS1"}, "MASK", "i4", 0x20, 0x4000),
    "KiDS": ({"SURVEY": "KiDS"}, "FLAG", "u1", 2, 8),
    "Euclid": ({"TELESCOP": "EUCLID"}, "3-4.E.FLG", "i4", 1, 1 << 19),
    "ZTF": ({"ORIGIN": "ZTF"}, "MASK", "i2", 128, 2),
    "unknown": ({}, "BPM", "i4", 8, 0),
}


@pytest.mark.parametrize("survey", SURVEYS)
def test_mask_bits_mean_what_the_survey_says(tmp_path, survey):
    cards, name, kind, bad, good = SURVEYS[survey]
    mask = bits_mask(kind, p1_2=bad, p3_4=good, p5_6=bad | good)
    path = written(tmp_path / "image.fits", unit(GALAXY, "SCI"), unit(mask, name), **cards)
    assert masked_pixels(path)[0] == {(1, 2), (5, 6)}


def test_des_and_self_describing_and_inverted_masks(tmp_path):
    path = written(tmp_path / "tile.fits", unit(GALAXY, "SCI"), unit(bits_mask(p1_2=4, p3_4=32), "MSK", DES_EXT="MASK"))
    assert masked_pixels(path)[0] == {(1, 2)}
    named = unit(bits_mask(p1_2=1, p3_4=2), "MASK", MSKNAM00="DETECTOR", MSKVAL00=1, MSKNAM01="CONV.POOR", MSKVAL01=2)
    assert masked_pixels(written(tmp_path / "named.fits", unit(GALAXY, "SCI"), named))[0] == {(1, 2)}
    good = np.ones((SIDE, SIDE), "u1")
    good[2, 1] = 0
    assert masked_pixels(written(tmp_path / "good.fits", unit(GALAXY, "SCI"), unit(good, "GPM")))[0] == {(1, 2)}
    bits = bits_mask("f4", p1_2=3)
    assert masked_pixels(written(tmp_path / "f.fits", unit(GALAXY, "SCI"), unit(bits, "MASK")), mask_bits="2")[0] == {
        (1, 2)
    }


def test_of_bits_for_single_bands_those_of_the_image_count(tmp_path):
    mask = bits_mask(p1_2=0x40, p3_4=0x80)  # ALLMASK_R, ALLMASK_Z
    (tmp_path / "brick").mkdir()
    written(tmp_path / "brick" / "legacysurvey-0001m002-image-r.fits", primary=GALAXY)
    written(tmp_path / "brick" / "legacysurvey-0001m002-maskbits.fits", unit(mask, "MASKBITS"))
    assert masked_pixels(tmp_path / "brick")[0] == {(1, 2)}


# --- maps beside the picture


@pytest.mark.parametrize("name", ["GOOD_MASK", "VALID", "goodpix", "VALID_MASK"])
def test_masks_of_good_pixels(tmp_path, name):
    good = np.ones((SIDE, SIDE), "u1")
    good[2, 1] = 0
    path = written(tmp_path / "image.fits", unit(GALAXY, "SCI", SKY), unit(good, name, SKY))
    assert masked_pixels(path)[0] == {(1, 2)}


@pytest.mark.parametrize(
    "maps",
    [
        ["ERR", "CON", "WHT", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT"],  # JWST i2d
        ["MSK", "WGT"],  # DES
        ["RMS", "FLAG", "SEGM"],
        ["BPM", "SIGMA", "BACKGROUND", "MODEL", "RESIDUAL"],
        ["ERR", "DQ", "WCSDVARR", "D2IMARR"],  # HST flc
        ["ERROR", "COVERAGE", "EXPOSURE", "SRCMASK"],
        ["BKGSUB_RMS", "SEGMENTATION_MAP", "SNR", "NPOINTS", "DEBLEND", "EFFGAIN", "HITMAP"],
    ],
)
def test_maps_are_no_galaxies(tmp_path, maps):
    flat = {name: np.ones_like(GALAXY) if name not in ("MSK", "FLAG", "BPM", "DQ") else bits_mask() for name in maps}
    path = written(tmp_path / "file.fits", unit(GALAXY, "SCI", SKY), *(unit(flat[name], name, SKY) for name in maps))
    images = read(path)
    assert list(images.table["id"]) == ["file"] and images.table["flag"][0] == 0
    np.testing.assert_array_equal(images.pixels[0], GALAXY)
    assert all(name in images.table["read_as"][0] for name in maps)


def test_maps_are_known_by_the_cards_of_units(tmp_path):
    two = np.full_like(GALAXY, 2.0)
    cases = [({"EXTTYPE": "VARIANCE"}, 2**0.5), ({"IMTYPE": "invvar"}, 2**-0.5), ({"BUNIT": "DN**2"}, 2**0.5),
             ({"HDUCLAS2": "ERROR", "HDUCLAS3": "RMSE"}, 2.0)]  # fmt: skip
    for cards, sigma in cases:
        path = written(tmp_path / "file.fits", unit(two, "", **cards), primary=GALAXY)
        images = read(path)
        assert len(images) == 1 and images.table["noise_sigma"][0] == pytest.approx(sigma)


def test_what_states_the_noise_in_counts_counts_before_weights(tmp_path):
    for order in (["ERR", "WHT"], ["WHT", "ERR"]):
        maps = {"ERR": np.full_like(GALAXY, 3.0), "WHT": np.ones_like(GALAXY)}
        path = written(tmp_path / "drz.fits", unit(GALAXY, "SCI"), *(unit(maps[name], name) for name in order))
        assert read(path).table["noise_sigma"][0] == pytest.approx(3)


def test_unknown_planes_are_asked_about(tmp_path):
    path = written(
        tmp_path / "a.fits", unit(GALAXY, "SCI", SKY), unit(GALAXY + 1, "WEIRD"), unit(GALAXY, "SCI_BKSUB", SKY)
    )
    images = read(path)
    assert len(images) == 1 and "passed over WEIRD, SCI_BKSUB" in images.table["read_as"][0]
    np.testing.assert_array_equal(read(path, image_extension="weird").pixels[0], GALAXY + 1)
    np.testing.assert_array_equal(read(path, hdu=2).pixels[0], GALAXY + 1)
    assert len(read(path, stack=True)) == 3
    table = read(path, hdu=7).table
    assert table["flag"][0] == Flag.NOT_AN_IMAGE and "1 (SCI), 2 (WEIRD)" in table["flag_text"][0]
    table = read(written(tmp_path / "b.fits", unit(GALAXY, "FOO"), unit(GALAXY, "BAR"))).table
    assert len(table) == 1 and table["flag"][0] == Flag.NOT_AN_IMAGE
    assert "FOO, BAR" in table["flag_text"][0] and "--image-extension" in table["flag_text"][0]
    assert len(read(written(tmp_path / "c.fits", unit(GALAXY, "CCD1"), unit(GALAXY, "CCD2")))) == 2
    only_map = written(tmp_path / "d.fits", unit(GALAXY, "CHI2"), unit(GALAXY, "SEGM"))
    assert "CHI2" in read(only_map).table["flag_text"][0] and read(only_map, hdu=1).table["flag"][0] == 0
    with pytest.raises(UsageError, match="either"):
        ReadSettings(hdu=1, image_extension="SCI")


NAMES = {
    "KiDS": ("KiDS_DR4.0_140.0_0.5_r_sci", "KiDS_DR4.0_140.0_0.5_r_wei", "KiDS_DR4.0_140.0_0.5_r_msk"),
    "SWarp": ("coadd", "coadd.weight", "coadd.flag"),
    "HST": ("hlsp_x_f160w_v1.0_drz", "hlsp_x_f160w_v1.0_wht", "hlsp_x_f160w_v1.0_bpm"),
    "Legacy": ("legacysurvey-1p2-image-r", "legacysurvey-1p2-invvar-r", "legacysurvey-1p2-maskbits"),
    "PS1": ("rings.v3.skycell.1.2.stk.r.unconv", "rings.v3.skycell.1.2.stk.r.unconv.wt",
            "rings.v3.skycell.1.2.stk.r.unconv.mask"),
    "Euclid": ("EUC_MER_BGSUB-MOSAIC-VIS_TILE101-AB_20240101T1.0Z_00.00",
               "EUC_MER_MOSAIC-VIS-RMS_TILE101-CD_20240102T1.0Z_00.00",
               "EUC_MER_MOSAIC-VIS-FLAG_TILE101-EF_20240103T1.0Z_00.00"),
    "GAMA": ("G265911fitim", "G265911sigma", "G265911mskim"),
    "WISE": ("a-w1-int-3", "a-w1-unc-3", "a-w1-msk-3"),
    "unWISE": ("unwise-0000p000-w1-img-m", "unwise-0000p000-w1-std-m", "unwise-0000p000-msk"),
    "Spitzer": ("SPITZER_I1_1_maic", "SPITZER_I1_1_munc", "SPITZER_I1_1_mmsk"),
    "VISTA": ("v2010_st_tl", "v2010_st_tl_conf", "v2010_st_tl_mask"),
}  # fmt: skip


@pytest.mark.parametrize("survey", NAMES)
def test_maps_in_files_of_their_own(tmp_path, survey):
    image, noise, mask = NAMES[survey]
    folder = tmp_path / "folder"
    folder.mkdir()
    written(folder / f"{image}.fits", primary=GALAXY, header=None, **dict(SKY))
    written(folder / f"{noise}.fits", primary=np.ones_like(GALAXY))
    written(folder / f"{mask}.fits", primary=bits_mask(p1_2=64 if survey == "Legacy" else 1))
    written(folder / "other.fits", primary=GALAXY)
    images = read(folder)
    assert sorted(images.table["id"]) == sorted([image, "other"]) and not images.table["flag"].any()
    row = list(images.table["id"]).index(image)
    assert np.argwhere(np.isnan(images.pixels[row])).tolist() == [[2, 1]]
    assert "noise from" in images.table["read_as"][row]
    centre = places(tmp_path, ra=[150.0], dec=[2.0])
    cut = read(folder, catalogue=centre, cutout_size=SIDE)
    assert cut.table["file"][0].endswith(f"{image}.fits") and np.isnan(cut.pixels[0][2, 1])


def test_a_noise_map_is_never_the_sky_and_a_lonely_map_is_a_flagged_row(tmp_path):
    written(tmp_path / "field_rms.fits", primary=np.sqrt(25 + LIGHT), **dict(SKY))  # sorts before the image
    written(tmp_path / "field_sci.fits", primary=GALAXY, **dict(SKY))
    written(tmp_path / "field_chi2.fits", primary=LIGHT, **dict(SKY))
    written(tmp_path / "gone.weight.fits", primary=np.ones_like(GALAXY))
    table = read(tmp_path).table
    assert list(table["id"]) == ["field_sci", "gone.weight"] and table["flag"][1] == Flag.NOT_AN_IMAGE
    assert "weight" in table["flag_text"][1] and "field_chi2.fits" in table["read_as"][0]
    cut = read(tmp_path, catalogue=places(tmp_path, ra=[150.0], dec=[2.0]), cutout_size=16)
    np.testing.assert_array_equal(cut.pixels[0], GALAXY[12:28, 12:28])
    assert read(tmp_path / "gone.weight.fits").table["flag"][0] == Flag.NO_DATA  # it was asked for


def test_files_whose_objects_are_named_like_maps_are_images(tmp_path):
    for name in ("noise_1", "sky-17", "ngc_std", "exp"):
        written(tmp_path / f"{name}.fits", primary=GALAXY)
    written(tmp_path / "galaxy.fits", primary=GALAXY)
    assert len(read(tmp_path)) == 5 and not read(tmp_path).table["flag"].any()


@pytest.mark.parametrize("name, role, holds", [
    ("VAR_POISSON", Role.OTHER, ""), ("BKG_RMS", Role.NOISE, "deviation"), ("R_INVVAR", Role.NOISE, "inverse variance"),
    ("INV_VAR", Role.NOISE, "inverse variance"), ("IMAGE_MASK", Role.MASK, ""), ("3-4.E.SCI", Role.SCIENCE, ""),
    ("weight_map", Role.NOISE, "weight"), ("WCSDVARR", Role.OTHER, ""), ("NGC4342", Role.UNKNOWN, ""),
])  # fmt: skip
def test_names_of_planes(name, role, holds):
    kind = kind_of_name(name)
    assert kind.role is role and (role is Role.SCIENCE or kind.holds == holds)


# --- bands


def grz(scales=(1.0, 2.0, 3.0), sigmas=(1.0, 2.0, 4.0)):
    rng = np.random.default_rng(5)
    return np.array([s * LIGHT + rng.normal(0, n, LIGHT.shape) for s, n in zip(scales, sigmas, strict=True)], "f4")


def shape_of_light(pixels):
    """Axis ratio from second moments of the bright part."""
    good = np.isfinite(pixels) & (np.hypot(X, Y) < 14)
    w = np.where(good, pixels, 0.0)
    return float(np.sqrt((w * Y**2).sum() / (w * X**2).sum()))


def test_a_cube_of_bands_is_one_galaxy(tmp_path):
    cube = grz()
    written(tmp_path / "cutout.fits", primary=cube, **dict(SKY), BANDS="grz")
    images = read(tmp_path / "cutout.fits")
    assert list(images.table["id"]) == ["cutout"] and images.table["bands"][0] == "g,r,z"
    weights = np.array([1, 1 / 4, 1 / 16])
    expected = np.einsum("k,kij->ij", weights / weights.sum(), cube)
    np.testing.assert_allclose(images.pixels[0], expected, atol=0.15 * 200)
    assert shape_of_light(images.pixels[0]) == pytest.approx(shape_of_light(LIGHT), abs=0.02)
    np.testing.assert_array_equal(read(tmp_path / "cutout.fits", band="r").pixels[0], cube[1])
    assert read(tmp_path / "cutout.fits", band="g,z").table["bands"][0] == "g,z"
    assert len(read(tmp_path / "cutout.fits", stack=True)) == 3
    table = read(tmp_path / "cutout.fits", band="w1").table
    assert table["flag"][0] == Flag.NOT_AN_IMAGE and "g, r, z" in table["flag_text"][0]


@pytest.mark.parametrize(
    "cards",
    [
        {"BAND0": "g", "BAND1": "r", "BAND2": "z"},
        {"FILTER1": "g", "FILTER2": "r", "FILTER3": "z"},
        {"BANDS": "g,r,z"},
        dict(SKY),
    ],
)
def test_how_bands_are_known(tmp_path, cards):
    assert len(read(written(tmp_path / "cube.fits", primary=grz(), **cards))) == 1


def test_a_stack_of_galaxies_stays_one(tmp_path):
    assert len(read(written(tmp_path / "no_wcs.fits", primary=grz()))) == 3
    many = np.repeat(GALAXY[None], 12, axis=0)
    assert len(read(written(tmp_path / "many.fits", primary=many, **dict(SKY)))) == 12
    spectrum = read(written(tmp_path / "ifu.fits", primary=many, **dict(SKY), CTYPE3="WAVE")).table
    assert len(spectrum) == 1 and "12 wavelengths" in spectrum["flag_text"][0]
    stokes = read(written(tmp_path / "iqu.fits", primary=grz(), **dict(SKY), CTYPE3="STOKES"))
    np.testing.assert_array_equal(stokes.pixels[0], grz()[0])


@pytest.mark.parametrize("gap", [np.nan, 0.0])
def test_an_unobserved_band_does_not_void_the_others(tmp_path, gap):
    cube = grz()
    cube[1] = gap
    images = read(written(tmp_path / "c.fits", primary=cube, **dict(SKY), BANDS="grz"))
    assert images.table["flag"][0] == 0 and images.table["bands"][0] == "g,z"
    assert np.isfinite(images.pixels[0]).all() and "no data in band r" in images.table["read_as"][0]


def test_pixels_that_one_band_lacks_come_from_the_others(tmp_path):
    cube = grz(sigmas=(0.1, 0.1, 0.1))
    whole = read(written(tmp_path / "whole.fits", primary=cube, **dict(SKY), BANDS="grz")).pixels[0]
    cube[2, 18:22, 22:30] = np.nan
    part = read(written(tmp_path / "part.fits", primary=cube, **dict(SKY), BANDS="grz")).pixels[0]
    assert np.isfinite(part).all()
    np.testing.assert_allclose(part[18:22, 22:30], whole[18:22, 22:30], rtol=0.03)  # their own average is half of it


def test_units_of_one_wcs_are_bands_with_their_own_maps(tmp_path):
    cube, sigmas = grz(), (1.0, 2.0, 4.0)
    units = []
    for band, plane, sigma in zip("grz", cube, sigmas, strict=True):
        units += [
            unit(plane, f"IMAGE_{band}", SKY, FILTER=band),
            unit(np.full_like(plane, sigma**-2), f"INVVAR_{band}", SKY),
        ]
    images = read(written(tmp_path / "c.fits", *units))
    weights = np.array([1, 1 / 4, 1 / 16])
    np.testing.assert_allclose(
        images.pixels[0], np.einsum("k,kij->ij", weights / weights.sum(), cube), rtol=1e-4, atol=1e-3
    )
    assert images.table["bands"][0] == "g,r,z"
    assert images.table["noise_sigma"][0] == pytest.approx(weights.sum() ** -0.5)
    where = places(tmp_path, ra=[150.0], dec=[2.0])
    cut = read(tmp_path / "c.fits", catalogue=where, cutout_size=SIDE)
    np.testing.assert_allclose(cut.pixels[0], images.pixels[0], rtol=1e-5)
    np.testing.assert_array_equal(
        read(tmp_path / "c.fits", catalogue=where, cutout_size=SIDE, band="z").pixels[0], cube[2]
    )


@pytest.mark.parametrize("packed", [False, True])
def test_mosaics_of_bands(tmp_path, packed):
    cube = grz()
    header = fits.Header(dict(SKY) | {"BANDS": "grz"})
    hdu = (
        fits.CompImageHDU(cube, header, quantize_level=0, compression_type="GZIP_2")
        if packed
        else unit(cube, "SCI", header)
    )
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "m.fits")
    where = places(tmp_path, ra=[150.0], dec=[2.0])
    cut = read(tmp_path / "m.fits", catalogue=where, cutout_size=20, band="r")
    np.testing.assert_array_equal(cut.pixels[0], cube[1, 10:30, 10:30])
    assert read(tmp_path / "m.fits", catalogue=where, cutout_size=20).table["bands"][0] == "g,r,z"


def test_bands_of_arrays(tmp_path):
    five = np.stack([f * LIGHT + NOISE for f in (0, 0, 0.3, 1, 1)], -1).astype("f4")
    with h5py.File(tmp_path / "ugriz.h5", "w") as file:
        file["images"] = np.stack([five, five])
        file["images"].attrs["bands"] = list("ugriz")
    images = read(tmp_path / "ugriz.h5")
    assert len(images) == 2 and images.table["bands"][0] == "u,g,r,i,z"
    assert images.pixels[0].max() > 0.3 * LIGHT.max()
    np.testing.assert_array_equal(read(tmp_path / "ugriz.h5", band="i").pixels[1], five[..., 3])
    with h5py.File(tmp_path / "first.h5", "w") as file:
        file["images"] = np.moveaxis(np.stack([five, five]), -1, 1)
    np.testing.assert_array_equal(read(tmp_path / "first.h5").pixels[0], images.pixels[0])
    grey = np.clip(GALAXY + 20, 0, 255).astype("u1")
    with h5py.File(tmp_path / "grey.h5", "w") as file:
        file["images"] = np.stack([grey] * 3)[..., None]
    np.testing.assert_array_equal(read(tmp_path / "grey.h5").pixels[1], grey)
    np.save(tmp_path / "five.npy", five)
    np.testing.assert_array_equal(read(tmp_path / "five.npy").pixels[0], images.pixels[0])


def test_bands_of_parquet(tmp_path):
    rows = [
        {"band": f"des-{b}", "array": p.tolist(), "ivar": np.full_like(p, b != "r").tolist(), "scale": 0.3}
        for b, p in zip("grz", grz(), strict=True)
    ]
    pq.write_table(pa.table({"image": [rows]}), tmp_path / "x.parquet")
    images = read(tmp_path / "x.parquet")
    assert images.table["bands"][0] == "des-g,des-z" and images.table["flag"][0] == 0
    np.testing.assert_array_equal(read(tmp_path / "x.parquet", band="z").pixels[0], grz()[2])


# --- WCS and facts of headers


def facts(path, **cards):
    return read(written(path, primary=GALAXY, **cards)).table


def test_defaults_of_wcslib_are_no_facts(tmp_path):
    path = tmp_path / "x.fits"
    on_sky = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    at = {"CRVAL1": 150.1, "CRVAL2": 2.2, "CRPIX1": 20.5, "CRPIX2": 20.5}
    assert not {"ra", "pixel_scale_arcsec"} & set(facts(path, **on_sky).colnames)
    empty = on_sky | dict.fromkeys(("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"), 0.0) | {"CDELT1": 1.0, "CDELT2": 1.0}
    assert not {"ra", "pixel_scale_arcsec"} & set(facts(path, **empty).colnames)
    assert "ra" not in facts(path, **{name: at[name] for name in at}, CDELT1=-5e-5, CDELT2=5e-5).colnames
    table = facts(path, **on_sky, **at, PIXSCALE=0.2)
    assert (
        table["pixel_scale_arcsec"][0] == 0.2
        and table["ra"][0] == pytest.approx(150.1)
        and "cd11" not in table.colnames
    )
    assert "ra" not in facts(path, **on_sky, **(at | {"CRPIX1": 1.0})).colnames
    table = facts(path, **on_sky, CDELT1=-5e-5, CDELT2=5e-5)
    assert table["pixel_scale_arcsec"][0] == pytest.approx(0.18, rel=1e-5) and "ra" not in table.colnames
    words = at | {"CRVAL1": "unknown", "CRVAL2": "unknown"}
    assert "ra" not in facts(path, **on_sky, **words, CDELT1=-5e-5, CDELT2=5e-5).colnames
    for zero in ({"CDELT1": 0.0, "CDELT2": 0.0}, dict.fromkeys(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), 0.0)):
        table = facts(path, **on_sky, **at, **zero)
        assert "pixel_scale_arcsec" not in table.colnames and "states no pixel scale" in table["read_as"][0]
    by_pc = {"PC1_1": -5e-5, "PC2_2": 5e-5, "PC1_2": 0.0, "PC2_1": 0.0}
    assert facts(path, **on_sky, **at, **by_pc)["pixel_scale_arcsec"][0] == pytest.approx(0.18, rel=1e-5)


def test_what_headers_only_seem_to_say_is_said(tmp_path):
    path, on_sky = tmp_path / "x.fits", {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    assert facts(path, **on_sky)["read_as"][0] == "its WCS states no pixel scale; its WCS states no position"
    assert "HPLN-TAN, HPLT-TAN are not on" in facts(path, CTYPE1="HPLN-TAN", CTYPE2="HPLT-TAN")["read_as"][0]
    assert "PIXSIZE is no scale" in facts(path, PIXSIZE=(13.5, "[um]"))["read_as"][0]
    assert "read_as" not in facts(path).colnames  # a header that says nothing promises nothing
    rows = pa.table({"read_as": ["its WCS states no position", None], "psf_fwhm_pix": [2.0, 2.0]})
    found = reading_facts([rows])
    assert found["no_position_images"] == 1
    assert found["notices"] == ["1 of 2 images has a WCS that states no position: ra and dec are missing."]


@pytest.mark.parametrize("key, value, scale", [
    ("PIXSIZE", (13.5, "[um] pixel size"), None), ("PIXSIZE", 13.5, None),
    ("PIXSIZE", (15, "pixel size in microns"), None),
    ("PIXSIZE", (0.27, "[arcsec]"), 0.27), ("PIXSCALE", 0.263, 0.263), ("PIXSCALE", (262.0, "[mas/pix] scale"), 0.262),
    ("SECPIX1", (0.4, "arcsec per pixel"), 0.4), ("PIXSCALE", (1e-4, "[deg/pixel]"), 0.36),
    ("PLATESCL", (20.8, "arcsec/mm"), None), ("PIXSCALE", (0.015, "[mm]"), None), ("PIXSCAL1", True, None),
])  # fmt: skip
def test_scales_are_taken_with_their_units(tmp_path, key, value, scale):
    table = facts(tmp_path / "x.fits", **{key: value})
    found = table["pixel_scale_arcsec"][0] if "pixel_scale_arcsec" in table.colnames else None
    assert found == (None if scale is None else pytest.approx(scale))


@pytest.mark.parametrize("system", ["ecliptic", "supergalactic", "B1950"])
def test_other_frames_become_icrs(tmp_path, system):
    wcs = tan_wcs((SIDE, SIDE), ra=120.0, dec=30.0)
    wcs.wcs.ctype = {"ecliptic": ["ELON-TAN", "ELAT-TAN"], "supergalactic": ["SLON-TAN", "SLAT-TAN"]}.get(
        system, wcs.wcs.ctype
    )
    cards = dict(wcs.to_header()) | ({"EQUINOX": 1950.0, "RADESYS": "FK4"} if system == "B1950" else {})
    frame = {"ecliptic": BarycentricMeanEcliptic(equinox="J2000"), "supergalactic": "supergalactic", "B1950": "fk4"}[
        system
    ]
    truth = SkyCoord(120.0, 30.0, unit="deg", frame=frame).icrs
    table = facts(tmp_path / "x.fits", **{k: v for k, v in cards.items() if system == "B1950" or k != "RADESYS"})
    assert SkyCoord(table["ra"][0], table["dec"][0], unit="deg").separation(truth).arcsec < 0.05
    cut = read(tmp_path / "x.fits", catalogue=places(tmp_path, ra=[truth.ra.deg], dec=[truth.dec.deg]), cutout_size=10)
    np.testing.assert_array_equal(cut.pixels[0], GALAXY[15:25, 15:25])


def test_distortions_in_tables_are_followed(tmp_path):
    header = fits.Header(dict(SKY))
    for i in (1, 2):
        header[f"CPDIS{i}"] = "Lookup"
        for name, value in (("EXTVER", i), ("NAXES", 2), ("AXIS.1", 1), ("AXIS.2", 2)):
            header.append(fits.Card.fromstring(f"DP{i}     = '{name}: {float(value)}'"))
    tables = []
    for i in (1, 2):
        cards = {"CRVAL1": 1.0, "CRVAL2": 1.0, "CRPIX1": 1.0, "CRPIX2": 1.0, "CDELT1": 5.0, "CDELT2": 10.0}
        tables.append(unit(np.full((8, 16), 2.5 * i, "f4"), "WCSDVARR", **cards))
        tables[-1].ver = i
    path = written(tmp_path / "flc.fits", unit(GALAXY, "SCI", header), unit(np.ones_like(GALAXY), "ERR"), *tables)
    with fits.open(path) as units:
        ra, dec = WCS(units[1].header, units).all_pix2world((SIDE - 1) / 2, (SIDE - 1) / 2, 0)
    table = read(path).table
    assert len(table) == 1 and (table["ra"][0], table["dec"][0]) == (
        pytest.approx(float(ra)),
        pytest.approx(float(dec)),
    )
    assert abs(table["dec"][0] - 2.0) * 3600 > 0.5 and table["pixel_scale_arcsec"][0] == pytest.approx(0.2, rel=1e-3)
    cut = read(path, catalogue=places(tmp_path, ra=[float(ra)], dec=[float(dec)]), cutout_size=10)
    np.testing.assert_array_equal(cut.pixels[0], GALAXY[15:25, 15:25])


# --- pixels that are not linear


def test_stretches_that_headers_state_are_undone(tmp_path):
    a, offset, soft = 2.5 * np.log10(np.e), 3.0, 0.7
    stretched = a * np.arcsinh((GALAXY.astype(float) - offset) / (2 * soft))
    images = read(
        written(tmp_path / "ps1.fits", primary=stretched.astype("f4"), **dict(SKY), BSOFTEN=soft, BOFFSET=offset)
    )
    np.testing.assert_allclose(images.pixels[0], GALAXY, atol=1e-3)
    assert "linear" in images.table["read_as"][0]
    where = places(tmp_path, ra=[150.0], dec=[2.0])
    cut = read(tmp_path / "ps1.fits", catalogue=where, cutout_size=20)
    np.testing.assert_allclose(cut.pixels[0], GALAXY[10:30, 10:30], atol=1e-3)
    bright = LIGHT + 1
    magnitudes, logarithms = 22.5 - 2.5 * np.log10(bright), np.log10(bright)
    units = {"mag/arcsec2": magnitudes, "ABmag": magnitudes, "magnitude": magnitudes, "dex(Jy)": logarithms}
    for unit_of, values in (units | {"log(Msun/kpc2)": logarithms, "log10(Jy)": logarithms}).items():
        linear = read(written(tmp_path / "x.fits", primary=values.astype("f4"), BUNIT=unit_of)).pixels[0]
        np.testing.assert_allclose(linear, bright, rtol=1e-4)


def test_pictures_say_that_they_are_stretched(tmp_path):
    grey = np.clip(GALAXY + 20, 0, 255).astype("u1")
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "b.jpg")
    Image.fromarray(grey.astype("u2") * 100).save(tmp_path / "c.png")
    written(tmp_path / "d.fits", primary=GALAXY)
    table = read(tmp_path).table
    assert list(np.ma.filled(table["stretched"], False)) == [True, True, False, False] and not table["flag"].any()


def test_negatives_and_pages_of_tiff(tmp_path):
    import tifffile

    grey = np.clip(GALAXY + 20, 0, 255).astype("u1")
    tifffile.imwrite(tmp_path / "negative.tif", 255 - grey, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "negative.tif").pixels[0], grey)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        file.write(GALAXY, photometric="minisblack")
        file.write(GALAXY[:30, :20], photometric="minisblack")
    images = read(tmp_path / "pages.tif")
    assert [p.shape for p in images.pixels] == [(SIDE, SIDE), (30, 20)] and list(images.table["id"]) == [
        "pages#0",
        "pages#1",
    ]


def test_colour_last_fits(tmp_path):
    grey = np.clip(GALAXY + 20, 0, 255).astype("u1")
    colour = np.stack([grey, grey // 2, grey // 4], -1)
    images = read(written(tmp_path / "rgb.fits", primary=colour))
    np.testing.assert_allclose(images.pixels[0], colour @ np.array([0.299, 0.587, 0.114]), rtol=1e-5)
    assert len(images) == 1 and images.table["stretched"][0]
    linear = read(written(tmp_path / "grz.fits", primary=np.moveaxis(grz(), 0, -1), BANDS="grz"), band="r")
    np.testing.assert_array_equal(linear.pixels[0], grz()[1])


# --- files that were passed over


@pytest.mark.parametrize("ending, pack", [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed_fits_is_read_in_folders_and_as_mosaic(tmp_path, ending, pack):
    plain = written(tmp_path / "tmp.fits", primary=GALAXY, **dict(SKY)).read_bytes()
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / f"frame-b.fits{ending}").write_bytes(pack(plain))
    written(tmp_path / "frames" / "frame-a.fits", primary=GALAXY)
    images = read(tmp_path / "frames")
    assert list(images.table["id"]) == ["frame-a", "frame-b"]
    np.testing.assert_array_equal(images.pixels[1], GALAXY)
    where = places(tmp_path, ra=[150.0], dec=[2.0])
    cut = read(tmp_path / "frames" / f"frame-b.fits{ending}", catalogue=where, cutout_size=20)
    np.testing.assert_array_equal(cut.pixels[0], GALAXY[10:30, 10:30])
    (tmp_path / "frames" / f"frame-c.fits{ending}").write_bytes(pack(plain)[:-60])
    assert read(tmp_path / "frames").table["flag"][2] == Flag.UNREADABLE


def test_what_is_not_read_is_a_row_with_a_sentence(tmp_path):
    np.save(tmp_path / "a.npy", GALAXY)
    for name in ("b.asdf", "c.fits.zst", "d.npz"):
        (tmp_path / name).write_bytes(b"(\xb5/\xfd something")
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["images"] = np.stack([GALAXY])
    Image.fromarray(np.clip(GALAXY + 20, 0, 255).astype("u1")).save(tmp_path / "f.webp", lossless=True)
    table = read(tmp_path).table
    assert list(table["flag"]) == [0, 1, 1, 1, 1, 0] and all(table["flag_text"][1:5])


# --- PSF


def gaussian(fwhm, side=25):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    psf = np.exp(-4 * np.log(2) * (x**2 + y**2) / fwhm**2)
    return (psf / psf.sum()).astype("f4")


def test_psf_by_settings_columns_and_units(tmp_path):
    path = written(tmp_path / "g.fits", primary=GALAXY, **dict(SKY))
    written(tmp_path / "psf.fits", primary=3 * gaussian(3.5))
    images = read(path, psf=tmp_path / "psf.fits")
    assert images.table["psf_fwhm_pix"][0] == pytest.approx(3.5, rel=0.02)
    np.testing.assert_allclose(images.psfs[0], gaussian(3.5), atol=1e-7)
    assert read(path, psf_fwhm_pix=2.0).table["psf_fwhm_pix"][0] == 2
    assert read(path, psf_fwhm_arcsec=1.0).table["psf_fwhm_pix"][0] == pytest.approx(5, rel=1e-6)
    columns = {"file": ["g.fits"] * 3, "psf_file": ["psf.fits", "", ""], "psf_fwhm_arcsec": [0.0, 0.8, 0.0]}
    Table(columns | {"psf_fwhm_pix": [0.0, 0.0, 7.0]}).write(tmp_path / "t.ecsv")
    images = read(tmp_path / "t.ecsv")
    np.testing.assert_allclose(images.table["psf_fwhm_pix"], [3.5, 4, 7], rtol=0.02)
    assert images.psfs[0] is not None and images.psfs[1] is None
    unit_psf = read(written(tmp_path / "u.fits", unit(GALAXY, "SCI"), unit(gaussian(4.0), "PSF")))
    assert len(unit_psf) == 1 and unit_psf.table["psf_fwhm_pix"][0] == pytest.approx(4, rel=0.02)
    assert unit_psf.psfs[0].sum() == pytest.approx(1)
    with pytest.raises(UsageError, match="no PSF"):
        read(path, psf=written(tmp_path / "t.fits", fits.BinTableHDU(Table({"a": [1]}))))
    with pytest.raises(FileNotFoundError, match="PSF"):
        read(path, psf="nowhere.psf")
    with pytest.raises(UsageError, match="only one"):
        ReadSettings(psf_fwhm_pix=1.0, psf_fwhm_arcsec=1.0)


FINE = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0, "CRPIX1": 51.0, "CRPIX2": 51.0}
FINE |= {"CDELT1": -0.05 / 3600, "CDELT2": 0.05 / 3600}


@pytest.mark.parametrize(
    "image, cards",
    [
        (gaussian(14.0, 101), {"OVERSAMP": 4}),
        (gaussian(7.0, 51), {"PSF_SAMP": 0.5}),
        (gaussian(14.0, 101), {"PIXSCALE": 0.05}),
        (gaussian(14.0, 101), FINE),
        (gaussian(3.5, 24), {}),  # its peak lies between pixels
        (gaussian(3.5) * 1e-12, {"PIXSCALE": 0.2}),
        (np.where(gaussian(3.5) < 1e-6, np.nan, gaussian(3.5)), {}),
    ],
)
def test_a_psf_has_the_width_that_it_has_in_the_pixels_of_the_image(tmp_path, image, cards):
    path = written(tmp_path / "g.fits", primary=GALAXY, **dict(SKY))
    images = read(path, psf=written(tmp_path / "psf.fits", primary=image.astype("f4"), **cards))
    assert images.table["psf_fwhm_pix"][0] == pytest.approx(3.5, rel=0.025)
    assert images.psfs[0].sum() == pytest.approx(1)


def test_psf_of_psfex_changes_with_the_place(tmp_path):
    """Wider along x by a tenth for each 100 pixels: PSF = P0 + u P1 with u = (x - 101) / 100."""
    narrow, wide = gaussian(6.0, 41), gaussian(8.0, 41)
    mask = np.stack([narrow, wide - narrow, 0 * narrow])[None].astype("f4")  # 1, x, y
    cards = {"POLNAXIS": 2, "POLGRP1": 1, "POLNAME1": "X_IMAGE", "POLZERO1": 101.0, "POLSCAL1": 100.0, "POLGRP2": 1,
             "POLNAME2": "Y_IMAGE", "POLZERO2": 101.0, "POLSCAL2": 100.0, "POLNGRP": 1, "POLDEG1": 1, "PSF_FWHM": 3.0,
             "PSF_SAMP": 0.5}  # fmt: skip
    column = fits.Column("PSF_MASK", f"{mask.size}E", dim="(41,41,3)", array=mask)
    (tmp_path / "field").mkdir()
    hdu = fits.BinTableHDU.from_columns([column], fits.Header(cards), name="PSF_DATA")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "field" / "coadd.psf")
    header = tan_wcs((300, 300), scale_arcsec=0.2).to_header()
    written(tmp_path / "field" / "coadd.fits", primary=np.random.default_rng(1).normal(size=(300, 300)), **dict(header))
    where = places(tmp_path, id=["a", "b"], x=[100.0, 200.0], y=[100.0, 100.0], file=["coadd.fits"] * 2)
    header_free = written(tmp_path / "field" / "coadd.fits", primary=np.random.default_rng(1).normal(size=(300, 300)))
    cut = read(tmp_path / "field", catalogue=where, cutout_size=20)
    np.testing.assert_allclose(cut.table["psf_fwhm_pix"], [3.0, 4.0], rtol=0.04)
    assert "PSF from" in cut.table["read_as"][0] and cut.psfs[1].sum() == pytest.approx(1)
    assert read(header_free, psf=tmp_path / "field" / "coadd.psf").table["psf_fwhm_pix"][0] == pytest.approx(
        3, rel=0.04
    )


def test_sets_keep_psfs(tmp_path):
    psfs = [gaussian(3.0), None, gaussian(3.0), gaussian(5.0, 31)]
    images = ImageSet(np.stack([GALAXY] * 4), Table({"id": list("abcd")}), psfs)
    write_images([images[:3], images[3]], tmp_path / "set", command="test")
    again = read(tmp_path / "set")
    assert again.psfs[1] is None and "psf_number" not in again.table.colnames
    for k in (0, 2, 3):
        np.testing.assert_array_equal(again.psfs[k], psfs[k])


def test_images_found_again_have_their_psfs(tmp_path):
    written(tmp_path / "psf.fits", primary=gaussian(3.5))
    written(tmp_path / "g.fits", unit(GALAXY, "SCI"), unit(gaussian(4.0), "PSF"))
    images = ImageSet(np.stack([GALAXY] * 2), Table({"id": list("ab")}), [None, gaussian(3.0)])
    write_images(images, tmp_path / "set", command="test")
    for settings, fwhm in ((ReadSettings(), 4.0), (ReadSettings(psf=tmp_path / "psf.fits"), 3.5)):
        table = read_images(tmp_path / "g.fits", settings).table
        again = SourceImages(table, tmp_path / "g.fits", settings).chunk(range(1), to_arrow(table))
        np.testing.assert_allclose(again.psfs[0], gaussian(fwhm), atol=1e-6)
    table = read(tmp_path / "set").table
    again = SourceImages(table, tmp_path / "set", ReadSettings()).chunk(range(2), to_arrow(table)).load()
    assert again.psfs[0] is None
    np.testing.assert_array_equal(again.psfs[1], gaussian(3.0))


def test_manifests_say_how_files_were_read():
    rows = pa.table({"read_as": ["mask DQ", "mask DQ", None], "psf_fwhm_pix": [2.0, None, float("nan")]})
    facts_of = [reading_facts([table]) for table in (rows, pa.table({"id": ["a"]}))]
    said = [facts.pop("notices") for facts in facts_of]
    assert facts_of == [
        {"psf_unknown_images": 2, "unreadable_images": 0, "read_as": ["mask DQ"]},
        {"psf_unknown_images": 1, "unreadable_images": 0},
    ]
    assert all(len(one) == 1 and "no known PSF" in one[0] for one in said)
    assert said[0][0].startswith("2 of 3 images have") and said[1][0].startswith("1 of 1 image has")
