"""The columns of all tables: their order, type, unit and meaning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Column as TextColumn
from astropy.table import MaskedColumn, Table
from numpy.typing import ArrayLike

from emeraldcut.data.flags import SENTENCES


class Column(NamedTuple):
    """The meaning of one column: `dtype` is str, int, float or bool; `ucd` is its IVOA descriptor, if it has one."""

    name: str
    dtype: type
    unit: str
    description: str
    ucd: str = ""


_BOXY = "boxy negative, disky positive"

COLUMNS = (
    # The contract's columns, in the contract's order.
    Column("id", str, "", "Identifier, unique within one table", "meta.id;meta.main"),
    Column("file", str, "", "File that the image was read from", "meta.id;meta.file"),
    Column("label", str, "", "Known class: oval, rectangular, obround or other", "meta.code.class"),
    Column("p_oval", float, "", "Probability that the galaxy is oval", "stat.probability"),
    Column("p_rectangular", float, "", "Probability that the galaxy is rectangular", "stat.probability"),
    Column("p_obround", float, "", "Probability that the galaxy is obround", "stat.probability"),
    Column("p_other", float, "", "Probability that it is none of the three", "stat.probability"),
    Column("axis_ratio", float, "", "Minor over major axis, in (0, 1]", "phys.angSize;arith.ratio"),
    Column("position_angle_deg", float, "deg", "Major axis, counter-clockwise from +x", "pos.posAng"),
    Column("radius_pix", float, "pix", "Half-light semi-major axis", "phys.angSize.smajAxis"),
    Column("snr", float, "", "Signal-to-noise ratio inside the half-light ellipse", "stat.snr"),
    Column("a3", float, "", "Cosine term of order 3 of the isophote, over its radius; theta = 0: major axis"),
    Column("a4", float, "", f"Cosine term of order 4 (a4/a), {_BOXY}; the sign of b4 in photutils >= 2"),
    Column("a4_err", float, "", "Standard error of a4", "stat.error"),
    Column("a6", float, "", "Cosine term of order 6 of the isophote, over its radius"),
    Column("a6_err", float, "", "Standard error of a6", "stat.error"),
    Column("a8", float, "", "Cosine term of order 8 of the isophote, over its radius"),
    Column("a8_err", float, "", "Standard error of a8", "stat.error"),
    Column("similarity", float, "", "Similarity to the reference, 1 for identical"),
    Column("similarity_p", float, "", "Chance that an ordinary galaxy is as similar", "stat.probability"),
    Column("reference", str, "", "Reference image that the galaxy is most like", "meta.ref"),
    Column("score", float, "", "Orders candidates: higher is more likely rectangular"),
    Column("rank", int, "", "Place in the order of candidates, from 1", "meta.number"),
    Column("flag", int, "", "Bit mask of what is wrong; 0 is good", "meta.code.qual"),
    Column("flag_text", str, "", "The flag in sentences", "meta.note"),
    # Further measurements and metadata.
    Column("ra", float, "deg", "Right ascension of the image centre, ICRS", "pos.eq.ra;meta.main"),
    Column("dec", float, "deg", "Declination of the image centre, ICRS", "pos.eq.dec;meta.main"),
    Column("hdu", int, "", "FITS unit that the image is in, where the file holds several; the primary unit is 0"),
    Column("plane", int, "", "Place of the image in the cube, array or table that its file holds, from 0"),
    Column("set_row", int, "", "Row of the image in the emeraldcut image set that it was read from, from 0"),
    Column("file_bytes", str, "", "The path of the file, percent-encoded, where its bytes are not UTF-8"),
    Column("image_id", str, "", "Identifier of the image in its source, where id is the catalogue's", "meta.id"),
    Column("image_ra", float, "deg", "Right ascension of the image centre by its WCS, where ra is the catalogue's"),
    Column("image_dec", float, "deg", "Declination of the image centre by its WCS, where dec is the catalogue's"),
    Column("galaxy_ra", float, "deg", "Right ascension of the measured galaxy, ICRS", "pos.eq.ra"),
    Column("galaxy_dec", float, "deg", "Declination of the measured galaxy, ICRS", "pos.eq.dec"),
    Column("pa_sky_deg", float, "deg", "Major axis from north through east", "pos.posAng"),
    Column("x", float, "pix", "Centre of the galaxy along x, first pixel is 0", "pos.cartesian.x"),
    Column("y", float, "pix", "Centre of the galaxy along y, first pixel is 0", "pos.cartesian.y"),
    Column("mosaic_x", float, "pix", "Catalogue position in the mosaic along x, first pixel is 0"),
    Column("mosaic_y", float, "pix", "Catalogue position in the mosaic along y, first pixel is 0"),
    Column("detected_area_pix", float, "pix2", "Pixels of the source above the threshold", "phys.angArea"),
    Column("detected_flux", float, "", "Light of the source there, counts", "phot.count"),
    Column("pixel_scale_arcsec", float, "arcsec", "Side of a pixel on the sky", "instr.scale;instr.pixel"),
    Column("psf_fwhm_pix", float, "pix", "Full width at half maximum of the PSF", "instr.det.psf"),
    Column("psf_fwhm_arcsec", float, "arcsec", "Full width at half maximum of the PSF", "instr.det.psf"),
    Column("psf_file", str, "", "File of the PSF", "meta.id;meta.file"),
    Column("background", float, "", "Sky level, counts per pixel", "instr.background"),
    Column("sky_sigma", float, "", "Standard deviation of the sky noise, counts per pixel", "stat.stdev"),
    Column("noise_sigma", float, "", "Noise per pixel that the image's own map of it states, counts", "stat.stdev"),
    Column("bands", str, "", "Bands that the image is made of", "instr.bandpass"),
    Column("stretched", bool, "", "A picture for the eye: snr, radius_pix, brightness are not those of the light"),
    Column("read_as", str, "", "How the file was read: mask bits, noise map, PSF, what was passed over", "meta.note"),
    Column("noise_removed", float, "", "Noise that cleaning removed, counts per pixel", "stat.stdev"),
    Column("cd11", float, "deg", "Local WCS matrix: degrees towards east per pixel along x"),
    Column("cd12", float, "deg", "Local WCS matrix: degrees towards east per pixel along y"),
    Column("cd21", float, "deg", "Local WCS matrix: degrees towards north per pixel along x"),
    Column("cd22", float, "deg", "Local WCS matrix: degrees towards north per pixel along y"),
    Column("network", str, "", "Network that gave the probabilities", "meta.id"),
    Column("class", str, "", "Most probable class if all were equally frequent", "meta.code.class"),
    Column("possible", str, "", "Classes that the true one is among in nine of ten cases, at any snr"),
    Column("typical", float, "", "Fraction of known galaxies that are at least as unusual", "stat.probability"),
    Column("saturated", float, "", "Area of a plateau at the highest level over that of the half-light ellipse"),
    Column("edge_width", float, "", "Radii between 0.6 and 0.2 of the highest level, over that at 0.4; of stars small"),
    Column("spikes", float, "", "Light of narrow rays in 4 or 6 directions over the light between them"),
    Column("edge_pix", float, "pix", "Distance over which the light falls from 0.6 to 0.2 of its highest level"),
    Column("grain_pix", float, "pix", "Size of the grains of the noise: f in an image that was enlarged f times"),
    Column("band_agreement", float, "", "S/N in the second of three bands of a colour picture over that in the first"),
    Column("trusted", bool, "", "No flag says that the measurements cannot be trusted"),
    Column("why", str, "", "What changed the odds behind the score most, as factors on those of a typical image"),
    Column("careful", bool, "", "Whether the image had the careful pass: PSF correction, similarity"),
    Column("p_boxy", float, "", "Probability that the galaxy is boxy, a4 < -0.03", "stat.probability"),
    Column("axis_ratio_err", float, "", "Standard error of axis_ratio", "stat.error"),
    Column("position_angle_err_deg", float, "deg", "Standard error of position_angle_deg", "stat.error"),
    Column("a3_err", float, "", "Standard error of a3", "stat.error"),
    Column("b3", float, "", "Sine term of order 3 of the isophote, over its radius"),
    Column("isophote_radius_pix", float, "pix", "Semi-major axis of the isophote", "phys.angSize.smajAxis"),
    Column("band", str, "", "Which of the bands that the image is made of", "instr.bandpass"),
    Column("colour_mag", float, "mag", "Magnitude in the first band less that in the second", "phot.color"),
    Column("colour_err_mag", float, "mag", "Standard error of colour_mag", "stat.error"),
    Column("brightness", float, "", "Mean light on the isophote, counts per pixel", "phot.count"),
    Column("brightness_err", float, "", "Standard error of brightness", "stat.error"),
    Column("light_inside", float, "", "Light inside the isophote, counts: the growth curve", "phot.count"),
    Column("surface_brightness_mag_arcsec2", float, "mag/arcsec2", "Surface brightness on the isophote", "phot.mag.sb"),
    Column("surface_brightness_err_mag_arcsec2", float, "mag/arcsec2", "Its standard error", "stat.error"),
    Column("isophote_pixels", int, "", "Pixels that the isophote was fitted to", "meta.number"),
    Column("isophote_binning", int, "", "Side of the squares of pixels whose means the isophote was fitted to"),
    Column("coverage", float, "", "Fraction of the isophote's area that has data"),
    Column("stop_reason", str, "", "Why the fit of the isophote ended: converged, or what it lacked"),
    Column("x_err", float, "pix", "Standard error of x", "stat.error"),
    Column("y_err", float, "pix", "Standard error of y", "stat.error"),
    Column("similarity_oriented", float, "", "Raw cosine at the best rotation and mirror image of the reference"),
    Column("turn_deg", float, "deg", "Rotation of the reference at which that is reached, from +x to +y"),
    Column("mirrored", bool, "", "Whether the reference was mirrored there"),
    Column("b3_err", float, "", "Standard error of b3", "stat.error"),
    Column("b4_sin", float, "", "Sine term of order 4 of the isophote, over its radius"),
    Column("b4_sin_err", float, "", "Standard error of b4_sin", "stat.error"),
    Column("b6_sin", float, "", "Sine term of order 6 of the isophote, over its radius"),
    Column("b6_sin_err", float, "", "Standard error of b6_sin", "stat.error"),
    Column("b8_sin", float, "", "Sine term of order 8 of the isophote, over its radius"),
    Column("b8_sin_err", float, "", "Standard error of b8_sin", "stat.error"),
    Column("a4_polar", float, "", f"a4 as photutils and IRAF have it: of the polar angle, along the ellipse; {_BOXY}"),
    Column("a4_polar_err", float, "", "Standard error of a4_polar", "stat.error"),
    Column("a4_bender", float, "", f"a4/a of Bender & Moellenhoff: radial, of the polar angle; {_BOXY}"),
    Column("a4_bender_err", float, "", "Standard error of a4_bender", "stat.error"),
    Column("a4_inner", float, "", "a4 between 0.3 and 0.8 half-light radii"),
    Column("a4_inner_err", float, "", "Standard error of a4_inner", "stat.error"),
    Column("a4_outer", float, "", "a4 between 1.25 and 2.5 half-light radii"),
    Column("a4_outer_err", float, "", "Standard error of a4_outer", "stat.error"),
    Column("a4_slope", float, "", "Change of a4 over a factor e in radius"),
    Column("a4_slope_err", float, "", "Standard error of a4_slope", "stat.error"),
    Column("a4_extreme", float, "", "a4 of the isophote where it is farthest from 0, freed of chance"),
    Column("a4_extreme_err", float, "", "Standard error of a4_extreme", "stat.error"),
    Column("a4_extreme_radius_pix", float, "pix", "Semi-major axis of that isophote"),
    Column("boxy_zones", str, "", "What a4_inner and a4_outer say, such as: boxy outside, disky inside"),
    Column("boxy_kind", str, "", "What a4 and a6 say: elliptical, disky, boxy, rectangular or obround"),
    Column("residual", float, "", "Scatter about the fitted model that is not noise, over the light"),
    # Verdicts of reviewers.
    Column("verdict", str, "", "What most reviewers say it is; unsure where two answers are as frequent"),
    Column("verdict_fraction", float, "", "Fraction of reviewers with the most frequent answer", "stat.probability"),
    Column("verdicts", int, "", "Number of reviewers with a verdict", "meta.number"),
    Column("reviewers", str, "", "Their names, separated by commas"),
    Column("review_notes", str, "", "What they noted", "meta.note"),
    # The truth of synthetic galaxies.
    Column("kind", str, "", "Shape, or kind of object, that was drawn"),
    Column("shape", str, "", "Outline that was drawn"),
    Column("exponent", float, "", "Exponent of the superellipse; 2 is an ellipse, larger is boxier"),
    Column("sersic_index", float, "", "Sersic index of the light profile"),
    Column("truth_axis_ratio", float, "", "True minor over major axis"),
    Column("truth_position_angle_deg", float, "deg", "True major axis, ccw from +x", "pos.posAng"),
    Column("truth_x_pix", float, "pix", "True centre along x, first pixel is 0", "pos.cartesian.x"),
    Column("truth_y_pix", float, "pix", "True centre along y, first pixel is 0", "pos.cartesian.y"),
    Column("truth_radius_pix", float, "pix", "True half-light semi-major axis", "phys.angSize.smajAxis"),
    Column("truth_a3", float, "", "True cosine term of order 3 of the outline"),
    Column("truth_a4", float, "", f"True cosine term of order 4 of the outline, {_BOXY}"),
    Column("truth_b4_sin", float, "", "True sine term of order 4 of the outline"),
    Column("truth_a6", float, "", "True cosine term of order 6 of the outline"),
    Column("truth_a8", float, "", "True cosine term of order 8 of the outline"),
    Column("truth_snr", float, "", "True signal-to-noise ratio inside the half-light isophote", "stat.snr"),
    Column("scored", bool, "", "False in the grey zone between two classes"),
    Column("galaxy", str, "", "Galaxy that the image shows; images of one galaxy stay together in a split"),
    Column("merger", str, "", "Merger simulation that the image comes from"),
    Column("mass_ratio", float, "", "Mass of the heavier progenitor over that of the other"),
    Column("gas_fraction", float, "", "Part of the progenitors' discs that is gas"),
    Column("orbit_number", int, "", "Number of the orbit in its suite"),
    Column("time_gyr", float, "Gyr", "Time since the simulation began", "time.duration"),
    Column("separation_kpc", float, "kpc", "Distance of the progenitors' centres"),
    Column("stacked", int, "", "Snapshots that are laid on top of each other"),
    Column("view", int, "", "Number of the viewing direction"),
    Column("view_theta_deg", float, "deg", "Polar angle of the direction to the camera in the simulation"),
    Column("view_phi_deg", float, "deg", "Azimuth of the direction to the camera in the simulation"),
    Column("view_roll_deg", float, "deg", "Angle by which the image is then turned, counter-clockwise"),
    Column("distance_mpc", float, "Mpc", "Distance of the galaxy", "pos.distance"),
    Column("kpc_per_pix", float, "kpc", "Length that a pixel shows"),
    Column("zero_point_mag", float, "mag", "Magnitude of one count", "phot.mag;arith.zp"),
    Column("truth_mag", float, "mag", "True magnitude of all stars", "phot.mag"),
    Column("truth_axis_ratio_err", float, "", "Standard error of truth_axis_ratio, of few particles", "stat.error"),
    Column("truth_a3_err", float, "", "Standard error of truth_a3, of few particles", "stat.error"),
    Column("truth_a4_err", float, "", "Standard error of truth_a4, of few particles", "stat.error"),
    Column("truth_b4_sin_err", float, "", "Standard error of truth_b4_sin, of few particles", "stat.error"),
    Column("truth_a6_err", float, "", "Standard error of truth_a6, of few particles", "stat.error"),
    Column("truth_a8_err", float, "", "Standard error of truth_a8, of few particles", "stat.error"),
    Column("model", str, "", "Suite of mergers that a simulated galaxy is of"),
    Column("orbit", int, "", "Number of the orbit in its suite"),
    Column("merged_gyr", float, "Gyr", "Time since when the centres have stayed together", "time.duration"),
    Column("phase", str, "", "relaxed, merging, or a galaxy alone"),
    Column("since_merging_gyr", float, "Gyr", "Time since the merging", "time.duration"),
    Column("image_quality", str, "", "Image quality of a view: clear (no noise), noisy, or cleaned"),
    Column("class_network", str, "", "Class that the network gives, other where it gives none", "meta.code.class"),
    Column("class_isophotes", str, "", "Class that the measured harmonics say", "meta.code.class"),
    Column("cos_inclination", float, "", "Of the line of sight to the axis of the orbit, without sign"),
    Column("boxy_around_disky", bool, "", "Boxy isophotes at 1.5 to 2.5 half-light radii, disky ones at 0.3 to 0.7"),
    Column("merger_seed", int, "", "Seed of the suite that the merger is of"),
    Column("seed", int, "", "Seed of the random numbers behind the image"),
)

BY_NAME = {column.name: column for column in COLUMNS}


def describe_columns(table: Table) -> Table:
    """A copy of `table` whose known columns come first, in the order of `COLUMNS`, with units and descriptions.

    Unknown columns follow unchanged.
    """
    known = [name for name in BY_NAME if name in table.colnames]
    described = table[known + [name for name in table.colnames if name not in BY_NAME]]
    for name in known:
        spec = BY_NAME[name]
        described[name].info.description = spec.description
        if spec.unit:
            described[name].info.unit = spec.unit
    return described


# Columns that stages compute; a user's column of the same name is renamed.
RESULTS = frozenset(
    [
        "p_oval",
        "p_rectangular",
        "p_obround",
        "p_other",
        "axis_ratio",
        "axis_ratio_err",
        "position_angle_deg",
        "position_angle_err_deg",
        "pa_sky_deg",
        "galaxy_ra",
        "galaxy_dec",
        "radius_pix",
        "snr",
        "a3",
        "a3_err",
        "a4",
        "a4_err",
        "a6",
        "a6_err",
        "a8",
        "a8_err",
        "b3",
        "b3_err",
        "b4_sin",
        "b4_sin_err",
        "b6_sin",
        "b6_sin_err",
        "b8_sin",
        "b8_sin_err",
        "a4_polar",
        "a4_polar_err",
        "a4_bender",
        "a4_bender_err",
        "a4_inner",
        "a4_inner_err",
        "a4_outer",
        "a4_outer_err",
        "a4_slope",
        "a4_slope_err",
        "a4_extreme",
        "a4_extreme_err",
        "a4_extreme_radius_pix",
        "boxy_zones",
        "p_boxy",
        "boxy_kind",
        "residual",
        "saturated",
        "edge_width",
        "spikes",
        "edge_pix",
        "grain_pix",
        "band_agreement",
        "trusted",
        "why",
        "similarity",
        "similarity_p",
        "similarity_oriented",
        "turn_deg",
        "mirrored",
        "reference",
        "score",
        "rank",
        "careful",
        "class",
        "network",
        "x",
        "y",
        "background",
        "hdu",
        "plane",
        "set_row",
        "file_bytes",
    ]
)


def numbers(column: ArrayLike, missing: float = np.nan) -> np.ndarray:
    """A column as plain floats (n,) without its unit, `missing` where it is masked."""
    values: Any = getattr(column, "value", column)
    if hasattr(values, "unmasked"):  # of astropy's `Masked`, as columns with units of a QTable are
        values = np.ma.MaskedArray(values.unmasked, values.mask)
    return np.ma.filled(np.ma.asarray(values, dtype=float), missing)


def free_name(name: str, taken: Iterable[str]) -> str:
    """`name`, with a number at its end if that is taken."""
    taken = set(taken)
    return next(free for free in chain([name], (f"{name}_{n}" for n in count(2))) if free not in taken)


def keep_apart(table: Table) -> Table:
    """A user's table in which each column that a stage would overwrite is renamed to `input_NAME`.

    Columns with more than one value per row become lists in text, as in JSON.
    """
    kept = table.copy(copy_data=False)
    for name in kept.colnames:
        if kept[name].ndim > 1:
            values, mask = np.ma.getdata(kept[name]), np.ma.getmaskarray(kept[name])
            values = np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values
            texts = [
                json.dumps(np.where(m, np.array(None), v).tolist(), default=str)
                for v, m in zip(values, mask, strict=True)
            ]
            kept.replace_column(name, TextColumn(texts, dtype=object, name=name))
        if name in RESULTS:
            kept.rename_column(name, free_name(f"input_{name}", kept.colnames))
    return kept


def set_flags_apart(table: Table) -> Table:
    """`table` with columns `flag` and `flag_text` as `input_flag` and `input_flag_text`, unless they are ours."""
    names = [name for name in ("flag", "flag_text") if name in table.colnames]
    if names and not _are_our_flags(table):
        for name in names:
            table.rename_column(name, free_name(f"input_{name}", table.colnames))
    return table


def _are_our_flags(table: Table) -> bool:
    """Whether `flag_text` says in sentences, in every row, what is wrong by `flag`."""
    if not {"flag", "flag_text"} <= set(table.colnames) or table["flag"].dtype.kind not in "iu":
        return False
    flags = [int(flag) for flag in np.ma.filled(table["flag"], 0)]
    texts = np.ma.filled(table["flag_text"], "")
    said = {flag: [SENTENCES[bit] for bit in SENTENCES if flag & bit] for flag in set(flags)}
    pairs = zip(flags, texts, strict=True)
    return all(all(part in str(text) for part in said[flag]) and bool(text) == bool(flag) for flag, text in pairs)


def table_from_rows(rows: Sequence[Mapping[str, Any]], *, unknown: Any = "") -> Table:
    """A table from one mapping of column values per row; missing values and None are masked.

    Columns without any value are filled with `unknown`, which sets their type.
    """
    table = Table()
    for name in dict.fromkeys(name for row in rows for name in row):
        given = [row.get(name) for row in rows]
        missing = np.array([value is None for value in given], dtype=bool)
        first = next((value for value in given if value is not None), unknown)
        fill = "" if isinstance(first, str) else np.asarray(first).dtype.type(0)
        filled = [fill if value is None else value for value in given]
        values = np.array(filled, dtype=object if isinstance(first, str) else None)
        table[name] = MaskedColumn(values, mask=missing) if missing.any() else values
    return table
