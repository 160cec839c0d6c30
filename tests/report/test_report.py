"""The report: what it shows is true, and it is one sound page whatever the run holds."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from emeraldcut import studies
from emeraldcut.data import Flag, ImageSet
from emeraldcut.data.columns import table_from_rows
from emeraldcut.images import write_images
from emeraldcut.nbody import Snapshot, write_snapshot
from emeraldcut.networks import load_network
from emeraldcut.report import cite, explorer, report, write_latex, write_pdf
from emeraldcut.report.cards import sky_links
from emeraldcut.report.figures import galleries, palette, plots, style
from emeraldcut.report.figures.comparison import alike, compare_with_references
from emeraldcut.report.figures.pictures import Picture, galaxy_pictures, png, stretch
from emeraldcut.report.latex import escaped
from emeraldcut.runs import Run, provenance
from emeraldcut.screening import CompletenessSettings
from emeraldcut.similarity import CompareSettings
from emeraldcut.tables import read_table, write_table

HALF_LIGHT = 1.678  # half-light radius of an exponential profile in scale lengths
VOID = {"meta", "img", "br", "link", "hr", "input"}


def elliptical_radius(x, y, centre, axis_ratio, angle_deg):
    """Distance from the centre in units of pixels along the major axis."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    dx, dy = x - centre[0], y - centre[1]
    return np.hypot(dx * cos + dy * sin, (dy * cos - dx * sin) / axis_ratio)


def galaxy(shape=(64, 64), centre=None, radius=8.0, axis_ratio=0.6, angle_deg=30.0, noise=1.0, peak=300.0, seed=1):
    """An exponential galaxy on ellipses, with sky 10 and Gaussian noise: (ny, nx)."""
    ny, nx = shape
    centre = ((nx - 1) / 2, (ny - 1) / 2) if centre is None else centre
    y, x = np.mgrid[0:ny, 0:nx]
    rho = elliptical_radius(x, y, centre, axis_ratio, angle_deg)
    light = peak * np.exp(-HALF_LIGHT * rho / radius)
    return (10 + light + noise * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def rows(ids, **columns) -> Table:
    """Candidates in order, with made-up numbers."""
    n = len(ids)
    table = Table({"id": np.array(ids, dtype=object)})
    table["axis_ratio"], table["snr"], table["radius_pix"] = (
        np.full(n, 0.61),
        np.full(n, 123.4),
        np.full(n, 8.0),
    )
    table["a4"], table["a4_err"] = np.linspace(-0.0712, -0.01, n), np.full(n, 0.0098)
    table["a6"], table["a6_err"] = np.zeros(n), np.full(n, 0.0099)
    table["p_rectangular"] = np.linspace(0.87654, 0.0000001, n)
    table["similarity"], table["reference"] = np.full(n, 0.456), np.array(["emerald"] * n, dtype=object)
    table["class"] = np.array(["rectangular"] + ["oval"] * (n - 1), dtype=object)
    table["score"], table["rank"] = np.linspace(0.789, 0.2, n), np.arange(1, n + 1)
    table["flag"], table["flag_text"] = np.zeros(n, dtype=int), np.array([""] * n, dtype=object)
    for name, values in columns.items():
        table[name] = values
    return table


def make_run(folder, table, pixels=None, references=True, **facts):
    """A finished run folder as `screen` leaves it; `pixels` are the images of the first candidates."""
    run = Run.start(folder, "screen", seed=7)
    write_table(table, run.path("candidates.parquet"))
    if pixels is not None:
        write_images(ImageSet(pixels, table[: len(pixels)]), run.path("best"), command="screen")
    if references:
        emerald = ImageSet([galaxy((41, 41))], Table({"id": ["emerald"]}))
        write_images(emerald, run.path("references"), command="screen")
    run.finish(**({"images": len(table), "expected_rectangular": 2.34, "settings.prevalence": 0.01} | facts))
    return run.folder


class Checker(HTMLParser):
    """Collects what a page holds and whether its tags close in order."""

    def __init__(self, html):
        super().__init__()
        self.stack, self.ids, self.links, self.loads = [], [], [], []
        self.tags, self.words, self.images, self.scripts = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.tags.append(tag)
        if "id" in facts:
            self.ids.append(facts["id"])
        if tag == "a":
            self.links.append(facts.get("href") or facts.get("xlink:href"))
        else:
            self.loads += [facts[k] for k in ("src", "href", "xlink:href", "srcset", "data") if facts.get(k)]
        if tag == "img":
            self.images.append(facts)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-3:]}"
        self.stack.pop()

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts.append(data.strip())
        elif "style" not in self.stack:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def checked_text(html: str) -> Checker:
    """A page whose tags close, that runs nothing but our own program, and loads nothing."""
    page = Checker(html)
    assert page.stack == []
    assert len(page.ids) == len(set(page.ids))
    if page.scripts:  # the rows, which have only letters of base64, and our own program; nothing of the data runs
        packed, program = page.scripts
        assert re.fullmatch("[A-Za-z0-9+/=]+", packed) and program == explorer.script().strip()
    assert page.tags.count("script") == len(page.scripts)
    assert all(value.startswith(("data:image/", "#")) for value in page.loads)
    assert not re.search(r"url\(\s*['\"]?(?!#)|@import", html)
    return page


def checked(folder) -> Checker:
    """Writes the report of a run and checks all that holds of any report."""
    path = report(folder)
    assert path == folder / "report.html"
    page = checked_text(path.read_text(encoding="utf-8"))
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= set(page.ids) | {""}
    assert {value[1:] for value in page.loads if value.startswith("#")} <= set(page.ids)
    assert all(image["alt"] for image in page.images)
    assert "nan" not in page.text.lower().split()
    assert not list(folder.glob(".*"))  # no temporary file is left
    return page


def unpacked(page: Checker) -> dict:
    """The rows of the table of a page."""
    return json.loads(gzip.decompress(base64.b64decode(page.scripts[0])))


# --- the whole page


def test_report_says_what_the_run_found(tmp_path):
    table = rows([f"g{i}" for i in range(30)])
    table["flag"][0] = int(Flag.NEIGHBOUR)
    table["pixel_scale_arcsec"] = 0.2
    folder = make_run(tmp_path / "run", table, [galaxy(seed=i) for i in range(5)])
    page = checked(folder)
    above = int((table["score"] > 0.5).sum())
    assert "The best candidate among 30 images is g0 (score 0.79, a4/a = −0.071 ± 0.010 )." in page.text
    assert f"). {above} images score above 0.5. The scores of all images" in page.text
    assert "add up to 2.3 rectangular galaxies" in page.text
    assert "prevalence of 1 %" in page.text
    assert "0.877" in page.text and "0.46" in page.text and "1.60″" in page.text
    assert page.text.count("neighbour") >= 2 and "A neighbour overlaps the galaxy" in page.text
    assert [f"rank-{k}" in page.ids for k in (1, 5, 6)] == [True, True, False]
    assert len(page.images) == 4 * 5 + 2 * 2  # five cards, and the best match with its reference
    assert page.tags.count("figure") == 5 + 2 * 5  # plots, and reference and residual of each card
    from matplotlib.image import imread

    for name in ("best.png", "best_match.png"):
        picture = imread(folder / "figures" / name)
        assert min(picture.shape[:2]) > 150 and picture[..., :3].std() > 0.05


@pytest.mark.slow
def test_report_of_a_run_is_the_same_twice(tmp_path):
    folder = make_run(tmp_path, rows(["a", "b"]), [galaxy(), galaxy(seed=2)])
    first = report(folder).read_bytes()
    assert report(folder).read_bytes() == first


@pytest.mark.slow
def test_class_counts_and_links_of_points_are_in_the_plots():
    table = rows([f"g{i}" for i in range(50)])
    assert re.findall(r">(\d+)</text>", plots.plot_classes(table))[-4:] == ["49", "1", "0", "0"]
    linked = set(re.findall(r'xlink:href="#rank-(\d+)"', plots.plot_axis_ratio(table, [1, 2, 7])))
    assert linked == {"1", "2", "7"}
    drawn = plots.plot_axis_ratio(table, [1]) + plots.plot_scores(table) + plots.plot_sixth(table, [])
    assert "#0102" not in drawn and "currentColor" in drawn and "var(--accent)" in drawn


def test_large_tables_make_small_plots():
    rng = np.random.default_rng(0)
    n = 30_000
    table = rows([str(i) for i in range(n)], a6=rng.normal(size=n) / 50, a4=rng.normal(size=n) / 50)
    assert len(plots.plot_axis_ratio(table, [1])) + len(plots.plot_sixth(table, [1])) < 1_000_000


def test_numbers_in_plots_are_whole():
    """What is drawn is rounded to a hundredth of a point; what is written is not."""
    svg = style.svg_of("ticks", lambda axes: (axes.plot([0, 1], [0, 0.1]), axes.set_yticks([0, 0.025, 0.075])))
    assert re.findall(r">(0\.\d+)</text>", svg)[-3:] == ["0.000", "0.025", "0.075"]
    assert not re.search(r"<[^>]*\.\d{3}", re.sub(r"<!--.*?-->", "", svg))


# --- runs that lack something


@pytest.mark.parametrize("missing", ["manifest.json", "candidates.parquet"])
def test_a_folder_without_a_finished_run_is_an_error(tmp_path, missing):
    folder = make_run(tmp_path, rows(["a"]), [galaxy()])
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=missing):
        report(folder)
    assert not (folder / "report.html").exists()


def test_one_image_without_references_and_with_little_known(tmp_path):
    table = rows(["only"])["id", "score", "rank", "flag", "flag_text"]
    folder = make_run(tmp_path, table, [galaxy()], references=False, expected_rectangular=None)
    page = checked(folder)
    assert "The best candidate among 1 image is only (score 0.79). 1 image scores above 0.5." in page.text
    assert "Its reference" not in page.text and "The best 1 candidate " in page.text
    assert "half-light radius" not in page.text and "S/N" not in page.text.split("What the numbers mean")[0]


def test_nothing_could_be_scored(tmp_path):
    masked = MaskedColumn(np.zeros(2), mask=True)
    unreadable = np.full(2, int(Flag.UNREADABLE))
    table = rows(["a", "b"], flag=unreadable)
    for name in ("score", "a4", "a6", "p_rectangular"):
        table[name] = masked.copy()
    page = checked(make_run(tmp_path, table, [np.zeros((0, 0), np.float32)] * 2))
    assert "None of 2 images could be scored" in page.text
    assert "The file could not be read." in page.text
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_a_run_without_a_set_of_images(tmp_path):
    page = checked(make_run(tmp_path, rows(["a", "b", "c"]), None, references=False))
    assert "The best candidate among 3 images is a" in page.text
    assert "no candidate with a score and an image" in page.text


@pytest.mark.slow
def test_sizes_missing_pixels_blank_images_and_masked_values(tmp_path):
    holed = galaxy((50, 90))
    holed[:, :20] = np.nan
    holed[24:27, 44:47] = np.nan
    pixels = [
        galaxy((300, 280), radius=30.0),
        holed,
        np.full((32, 32), 5, np.float32),
        galaxy((9, 200), radius=3.0),
    ]
    table = rows(["large", "holed", "blank", "strip"])
    table["a4"] = MaskedColumn(table["a4"], mask=[False, True, True, False])
    table["snr"] = [10.0, np.nan, np.inf, 3.0]
    page = checked(make_run(tmp_path, table, pixels))
    assert {"rank-1", "rank-2", "rank-3", "rank-4"} <= set(page.ids)
    assert page.text.count("–") >= 4


def test_a_page_says_when_nothing_convinces(tmp_path):
    page = checked(make_run(tmp_path, rows(["a", "b"], score=[0.41, 0.2]), [galaxy()]))
    assert "No convincing rectangular galaxy among 2 images: none scores above 0.5." in page.text
    assert "The highest-ranked is a (score 0.41," in page.text and "score above" not in page.text


@pytest.mark.slow
def test_a_page_shows_what_can_be_trusted_and_says_what_it_leaves_out(tmp_path):
    """The first image scores highest, but its flags say not to trust it."""
    table = rows(["star", "a", "b"], score=[0.99, 0.8, 0.3], trusted=[False, True, True])
    table["flag"][0] = int(Flag.UNRESOLVED)
    facts = {"found": 1, "found_untrusted": 1, "expected_true": [0.8, 1, 1], "expected_false": [0.2, 0, 0]}
    facts |= {"forecast_true": [3, 1, 5], "forecast_false": [0.5, 0, 1], "thresholds": {"0.85": 0.41}}
    facts |= {"above": {"0.85": 1}, "ranks_to_inspect": {"0.5": 2, "0.8": 2, "0.9": 3}}
    folder = make_run(tmp_path, table[[1, 2, 0]], [galaxy(), galaxy(seed=2)], **facts)
    write_table(table, folder / "candidates.parquet", overwrite=True)
    page = checked(folder)
    assert "The best candidate among 3 images is a (score 0.80," in page.text
    assert "1 image scores above 0.5; by their scores about 0.8 of them should be rectangular" in page.text
    assert "Not shown: 1 image above it whose quality flags say not to trust" in page.text
    assert "Forecast before looking at the images" in page.text and "score ≥ 0.41: 1 image" in page.text
    assert "do not trust" in page.text


HOSTILE = "<script>alert('x')</script>\"&amp;$id é星"


def test_names_are_text_wherever_they_stand(tmp_path):
    table = rows([HOSTILE], label=[HOSTILE], reference=[HOSTILE], ra=[12.5], dec=[-3.0])
    facts = {"input_1": f"/data/{HOSTILE}", "settings.network": HOSTILE}
    folder = make_run(tmp_path / "a<b>", table, [galaxy()], **facts)
    (folder / "settings.toml").write_text(f'network = "{HOSTILE}"')
    (folder / "notes.json").write_text(json.dumps({
        "title": HOSTILE, "paragraphs": [HOSTILE],
        "figures": [{"file": "../../etc/passwd", "caption": HOSTILE}],
        "table": {"columns": [HOSTILE], "rows": [[HOSTILE]], "caption": HOSTILE},
    }))  # fmt: skip
    page = checked(folder)
    assert page.text.count(HOSTILE) >= 9 and unpacked(page)["columns"][1]["values"] == [HOSTILE]
    assert len([link for link in page.links if link.startswith("https://")]) == 5


def test_bytes_in_file_names_that_are_not_utf8(tmp_path):
    assert "bad" in checked(make_run(tmp_path, rows(["a"]), [galaxy()], input_1="/data/bad\udcff.fits")).text


@pytest.mark.slow
def test_notes_come_first_with_table_and_pictures(tmp_path):
    folder = make_run(tmp_path, rows(["a"]), [galaxy()])
    galleries.field_figure(
        galaxy((80, 120)), Table({"id": ["a"], "x": [40.0], "y": [50.0], "planted": [True]}),
        Table({"id": ["a"], "rank": [1]}), folder / "figures" / "field.png",
    )  # fmt: skip
    (folder / "notes.json").write_text(json.dumps({
        "title": "A known answer", "paragraphs": ["Eight were planted."],
        "table": {"columns": ["look", "rank"], "rows": [["cosine", 31]], "caption": "Ranks"},
        "figures": [{"file": "figures/field.png", "caption": "The field."}],
    }))  # fmt: skip
    page = checked(folder)
    words = ("A known answer", "Eight were planted", "cosine", "The field.", "best match")
    order = [page.text.index(part) for part in words]
    assert order == sorted(order)
    assert page.images[0]["alt"] == "The field."
    assert page.images[0]["src"].startswith("data:image/png;base64,")


@pytest.mark.slow
def test_twenty_large_and_noisy_candidates_make_a_page_below_4_mb(tmp_path):
    pixels = [galaxy((400, 400), radius=40.0, noise=20.0, seed=i) for i in range(20)]
    folder = make_run(tmp_path, rows([f"g{i}" for i in range(25)]), pixels)
    checked(folder)
    assert (folder / "report.html").stat().st_size < 4_000_000


def test_the_page_links_to_the_whole_table(tmp_path):
    folder = make_run(tmp_path, rows(["a", "b"]), [galaxy(), galaxy(seed=3)])
    page = checked(folder)
    files = [link for link in page.links if not link.startswith(("#", "https://"))]
    assert files and all((folder / name).exists() for name in files)
    assert list(read_table(folder / files[-1])["id"]) == ["a", "b"]


# --- colours


def luminance(colour):
    """Relative luminance of #rrggbb, WCAG 2."""
    c = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_words_stand_out_from_what_is_behind_them():
    pairs = [(ink, paper) for ink in ("ink", "muted", "accent", "bad") for paper in ("paper", "card", "wash")]
    pairs += [("warn", "warn-wash"), ("on-accent", "accent")]
    for colours in (palette.LIGHT, palette.LIGHT | palette.DARK):
        for ink, paper in pairs:
            bright, dim = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ink, paper)


# --- pictures


@pytest.mark.parametrize("shape, centre, radius", [((64, 64), (30.0, 34.0), 8.0), ((430, 500), (260.0, 200.0), 45.0)])
def test_isophotes_lie_on_the_ellipses_that_were_drawn(shape, centre, radius):
    image = galaxy(shape, centre, radius=radius, noise=0.3)
    picture = galaxy_pictures(ImageSet([image], Table({"id": ["a"]})))[0].cutout
    factor = 1 if radius < 10 else 3
    brightest = np.argwhere(picture.values == 1).mean(axis=0)[::-1]  # of the pixels shown, x and y
    for line, times in zip(picture.isophotes, (1, 2), strict=True):
        assert np.allclose(line[:-1].mean(axis=0), brightest, atol=0.6)
        rho = elliptical_radius(*line.T, line[:-1].mean(axis=0), 0.6, 30.0) * factor
        assert np.allclose(rho, times * radius, rtol=0.05)


def test_own_frame_makes_ellipses_circles_and_shows_2_5_half_light_radii():
    picture = galaxy_pictures(ImageSet([galaxy(noise=0.3)], Table({"id": ["a"]})))[0].framed
    n = len(picture.values)
    for lines in (picture.isophotes, picture.ellipses):
        for line, times in zip(lines, (1, 2), strict=True):
            assert np.allclose(np.hypot(*(line - (n - 1) / 2).T), times * n / 5, rtol=0.02)


@pytest.mark.parametrize("scale, bar, words", [(None, 20.0, "20 pix"), (0.2, 10.0, "2″"), (1.3, 20 / 1.3, "20″")])
def test_scale_bar(scale, bar, words):
    table = Table({"id": ["a"]}) if scale is None else Table({"id": ["a"], "pixel_scale_arcsec": [scale]})
    picture = galaxy_pictures(ImageSet([galaxy()], table))[0].cutout
    assert picture.values.shape == (64, 64)
    assert (picture.bar_pix, picture.bar_text) == (pytest.approx(bar), words)


def test_png_has_the_first_row_at_the_bottom_and_missing_pixels_transparent():
    from matplotlib.image import imread

    values = np.array([[0.0, 0.5, 1.0], [0.2, np.nan, 0.2], [0.0, 0.0, 0.0]])
    pixels = imread(BytesIO(png(Picture(values, [], []))))
    assert pixels.shape == (3, 3, 4)
    assert pixels[1, 1, 3] == 0 and pixels[..., 3].sum() == 8
    light = pixels[..., :3].sum(axis=2)
    assert light[2, 0] < light[2, 1] < light[2, 2] and light[0, 2] == light[2, 0]


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
@settings(max_examples=20, deadline=None)
def test_stretch_keeps_the_order_the_range_and_missing_pixels(seed, sigma, sky):
    values = sky + sigma * np.random.default_rng(seed).exponential(20, size=(12, 12))
    values[3, 4] = np.nan
    shown = stretch(values, sky, sigma)
    assert np.isnan(shown[3, 4]) and np.nanmin(shown) >= 0 and np.nanmax(shown) == 1
    order = np.argsort(values.ravel())[:-1]
    assert (np.diff(shown.ravel()[order]) >= 0).all()


def test_a_gallery_has_the_references_that_its_candidates_name(tmp_path):
    from matplotlib.image import imread

    candidates = galaxy_pictures(ImageSet([galaxy(seed=2)], rows(["c"])))
    references = galaxy_pictures(ImageSet([galaxy()] * 2, Table({"id": ["emerald", "unnamed"]})))
    alone = imread(galleries.draw_gallery(candidates, references[1:], tmp_path / "new" / "alone.png"))
    beside = imread(galleries.draw_gallery(candidates, references, tmp_path / "beside.png"))
    assert beside.shape[1] == 2 * alone.shape[1]


@given(st.floats(0, 359.999), st.floats(-90, 90))
@settings(max_examples=20, deadline=None)
def test_links_hold_the_place_on_the_sky(ra, dec):
    found = {}
    for name, url in sky_links(ra, dec).items():
        query = parse_qs(urlsplit(url).query)
        joint = (query.get("target") or query.get("Coord") or query.get("coordinates") or [""])[0].split()
        place = joint or query["ra"] + query["dec"]
        found[name] = [float(number.rstrip("d")) for number in place]
    assert len(found) == 5
    assert np.allclose(list(found.values()), [ra, dec], atol=1e-6)


@pytest.mark.parametrize("axis_ratio", [0.5, 0.7, 0.95])
def test_isophotes_of_a_box_are_drawn_as_a_box(axis_ratio):
    from emeraldcut.galaxies import draw_galaxy, shapes
    from emeraldcut.galaxies.profiles import Sersic

    light = draw_galaxy(shapes.superellipse(axis_ratio, 5), Sersic(1), radius_pix=8, position_angle_deg=30)
    noise = np.random.default_rng(0).normal(0, light.max() / 300, light.shape)
    framed = galaxy_pictures(ImageSet([(light + noise).astype(np.float32)], Table({"id": ["a"]})))[0].framed
    (x, y), middle = framed.isophotes[0].T, (len(framed.values) - 1) / 2
    radius, angle = np.hypot(x - middle, y - middle), np.arctan2(y - middle, x - middle)
    assert 2 * np.mean(radius[:-1] * np.cos(4 * angle[:-1])) / radius.mean() < -0.06  # 96 even angles


# --- what cards show besides the pictures


def box(exponent, axis_ratio=0.6, seed=0, size=64):
    """A superellipse of light in noise: (ny, nx), and its true a4."""
    from emeraldcut.galaxies import draw_galaxy, shapes
    from emeraldcut.galaxies.profiles import Sersic

    outline = shapes.superellipse(axis_ratio, exponent)
    light = draw_galaxy(outline, Sersic(1), size=size, radius_pix=8, position_angle_deg=30)
    noise = np.random.default_rng(seed).normal(0, light.max() / 1000, light.shape)
    return (light + noise).astype(np.float32), shapes.harmonics(outline)["a4"]


def test_profiles_are_the_true_ones_and_a_galaxy_less_itself_is_nothing():
    image, a4 = box(3.5)
    table = Table({"id": ["a"], "reference": ["itself"]})
    (found,) = compare_with_references(
        ImageSet([image], table), ImageSet([image], Table({"id": ["itself"]})), rows(["a"])
    )
    inner = (found.profile.radius > 0.7) & (found.profile.radius < 2)
    assert inner.sum() > 5
    assert np.allclose(found.profile.a4[inner], a4, atol=0.01)
    assert (found.profile.a4_err[inner] < 0.01).all()
    assert np.array_equal(found.profile.a4, found.of_reference.a4, equal_nan=True)
    assert np.allclose(found.residual.values, 0.5, atol=1e-6)  # the middle of its colours
    (other,) = compare_with_references(
        ImageSet([galaxy()], table), ImageSet([image], Table({"id": ["itself"]})), rows(["a"])
    )
    assert np.abs(other.residual.values - 0.5).max() > 0.1


def test_a_galaxy_without_a_reference_or_an_image_with_nothing_has_less_to_compare():
    table = Table({"id": ["a", "b"], "reference": ["gone", "gone"]})
    images = ImageSet([galaxy(), np.full((32, 32), 5, np.float32)], table)
    first, second = compare_with_references(images, None, rows(["a", "b"]))
    assert first.profile is not None and first.reference is None and second.profile is None


def test_look_alikes_have_the_same_harmonics_within_the_errors():
    table = rows(["a", "twin", "far", "vague", "useless"])
    table["a4"], table["a4_err"] = [-0.07, -0.068, 0.02, -0.07, -0.07], [0.005, 0.005, 0.005, 0.5, 0.005]
    table["flag"][4] = int(Flag.NO_GALAXY)
    assert alike(table, table[0]) == (1, 3, 2)
    table["a4"] = MaskedColumn(table["a4"], mask=[True] + [False] * 4)
    assert alike(table, table[0]) == ()
    assert alike(rows(["alone"]), rows(["alone"])[0]) == ()


def test_isophotes_of_which_only_the_light_is_known_are_not_drawn():
    """An SVG path with "nan" is an error of the page."""
    images = ImageSet([galaxy((96, 96), radius=14.0)], rows(["a"], reference=["a"]))
    (found,) = compare_with_references(images, images, images.table)
    assert found.profile is not None and found.of_reference is not None
    for one in (found.profile, found.of_reference):
        assert len(one.radius) > 3 and np.isfinite([one.radius, one.a4, one.a4_err]).all()


@pytest.mark.slow
def test_cards_show_profiles_residuals_classes_and_look_alikes(tmp_path):
    table = rows([f"g{i}" for i in range(8)], similarity_p=np.full(8, 0.0123))
    for name, value in (("oval", 0.2), ("obround", 0.05), ("other", 0.25)):
        table[f"p_{name}"] = np.full(8, value)
    folder = make_run(tmp_path, table, [galaxy(seed=i) for i in range(3)])
    page = checked(folder)
    html = (folder / "report.html").read_text()
    assert html.count('class="profile"') == 3 and html.count("<figcaption>residual</figcaption>") == 3
    assert html.count('class="classes"') == 3 and "0.250" in page.text and "0.012" in page.text
    assert page.text.count("Most alike:") == 3 and "Expected yield" in html and "Similarity p-values" in html


# --- other runs


def pictured(tmp_path, ids, **columns):
    """A set of images in a folder, as `synthesise` leaves it."""
    images = [box(2 + i % 4, seed=i)[0] for i in range(len(ids))]
    table = Table({"id": np.array(ids, dtype=object), **columns})
    return write_images(ImageSet(images, table), tmp_path / "set", command="synthesise", seed=3).folder


@pytest.mark.slow
def test_tables_of_measure_compare_and_classify_have_pages_with_their_images(tmp_path):
    import emeraldcut

    ids = [HOSTILE, "../../up", "plain"]
    folder = pictured(tmp_path, ids)
    images = emeraldcut.read_images(folder)
    for command, made in (
        ("measure", emeraldcut.measure(images)), ("compare", emeraldcut.compare(images)),
        ("classify", emeraldcut.classify(images)),
    ):  # fmt: skip
        facts = provenance(command, CompareSettings() if command == "compare" else None, 0, [folder])
        path = write_table(made, tmp_path / f"{command}.parquet", provenance=facts)
        page = report(path)
        assert page == tmp_path / f"{command}.report.html"
        read = checked_text(page.read_text())
        assert read.text.count(HOSTILE) >= 1 and "../../up" in read.text
        assert len(read.images) == 3 * (4 if command == "compare" else 2)
        assert not any("up" in (link or "") for link in read.links)
    write_table(made, tmp_path / "bare.csv")
    assert "not where they were" in Checker(report(tmp_path / "bare.csv").read_text()).text
    write_table(Table({"id": ["a"]}), tmp_path / "other.csv")
    with pytest.raises(ValueError, match="has no column"):
        report(tmp_path / "other.csv")


@pytest.mark.slow
def test_pictures_in_colour_stay_in_colour(tmp_path):
    """A red galaxy in a JPEG file and one in a grey PNG, on the pages of a table and of a screening."""
    import emeraldcut

    (tmp_path / "pictures").mkdir()
    grey = np.clip(galaxy(peak=200), 0, 255).astype(np.uint8)
    red = np.stack([grey, grey // 2, grey // 4], axis=-1)
    PillowImage.fromarray(red).save(tmp_path / "pictures" / "red.jpg", quality=95, subsampling=0)
    PillowImage.fromarray(grey).save(tmp_path / "pictures" / "grey.png")
    emeraldcut.classify(tmp_path / "pictures", output=tmp_path / "classes.parquet")
    run = emeraldcut.screen(tmp_path / "pictures", output=tmp_path / "run")
    for path in (report(tmp_path / "classes.parquet"), run.folder / "report.html"):
        shown = {image["alt"]: image["src"] for image in checked_text(path.read_text()).images}
        colours = {}
        for name in ("red.jpg", "grey.png"):
            data = base64.b64decode(shown[f"{name[:-4]} on the sky"].partition(",")[2])
            colours[name] = np.asarray(PillowImage.open(BytesIO(data)).convert("RGB")).astype(float)
        middle = colours["red.jpg"][28:36, 28:36].mean(axis=(0, 1))
        np.testing.assert_allclose(middle[1:] / middle[0], [0.5, 0.25], atol=0.05)
        assert not np.allclose(colours["grey.png"][..., 1], colours["grey.png"][..., 0] / 2, atol=5)


def test_a_set_has_a_page_with_examples_of_every_label(tmp_path):
    labels = np.array(["oval", "rectangular", "oval", "other"], dtype=object)
    a4 = np.array([0.0, -0.07, 0.0, 0.03])
    folder = pictured(
        tmp_path, [HOSTILE, "../b", "c", "d"], label=labels, truth_a4=a4, truth_axis_ratio=np.full(4, 0.6),
        merger=np.array(["m1", "m1", "m2", HOSTILE], dtype=object), truth_snr=[20.0, 40.0, 80.0, 160.0],
    )  # fmt: skip
    page = checked(folder)
    assert "4 images: 2 oval, 1 rectangular, 1 other." in page.text
    assert len(page.images) == 4 and page.text.count(HOSTILE) == 2 and "1 (50 %)" in page.text
    assert page.tags.count("figure") == 4 + 3


def test_completeness_has_a_page(tmp_path):
    run = Run.start(tmp_path, "completeness", CompletenessSettings(), seed=1)
    cells = [(snr, size, 0.5, 4.0, 10, int(snr / 20)) for snr in (20.0, 160.0) for size in (1.5, 4.0)]
    table = Table(rows=cells, names=("snr", "radius_fwhm", "axis_ratio", "exponent", "injected", "found"))
    for name, factor in (("completeness", 0.1), ("completeness_low", 0.08), ("completeness_high", 0.12)):
        table[name] = factor * table["found"]
    write_table(table, run.path("completeness.ecsv"))
    write_table(Table({"id": ["a"], "found": [True], "flag": [64]}), run.path("injected.parquet"))
    run.finish()
    page = checked(tmp_path)
    assert "18 of 40 injected rectangular galaxies are found" in page.text
    assert "first reaches 50 % at S/N 160." in page.text
    assert page.tags.count("figure") == 2 and (tmp_path / "completeness.png").exists()


def test_a_network_has_a_page(tmp_path):
    card = load_network("screener").card
    (tmp_path / "card.json").write_text(json.dumps(card))
    page = Checker(report(tmp_path).read_text())
    assert page.stack == [] and f"{card['metrics']['accuracy']:.3f}" in page.text
    assert page.text.count("classified as") >= 4 and "Brown" not in page.text and "Guo, Chuan" in page.text


def hostile_completeness(folder):
    run = Run.start(folder, "completeness", CompletenessSettings(background=HOSTILE, network=HOSTILE), seed=1)
    cells = {"snr": [20.0], "radius_fwhm": [1.5], "axis_ratio": [0.5], "exponent": [4.0], "injected": [4], "found": [1]}
    cells |= {"completeness": [0.25], "completeness_low": [0.1], "completeness_high": [0.5]}
    write_table(Table(cells), run.path("completeness.ecsv"))
    write_table(Table({"id": [HOSTILE], "found": [True], "flag": [64]}), run.path("injected.parquet"))
    run.finish()


def hostile_network(folder):
    metrics = {"number": 9, "accuracy": 0.5, "cross_entropy": 1.0, "calibration_error": 0.1, "confusion": [[9]]}
    known = {"classes": [HOSTILE], "preprocessing": HOSTILE, "input_size": 8, "licence": HOSTILE, "metrics": metrics}
    known |= {"training": {HOSTILE: {HOSTILE: 3}}, "drawn_from": {HOSTILE: HOSTILE}, "settings": {HOSTILE: HOSTILE}}
    (folder / "card.json").write_text(json.dumps(known))


def hostile_suite(folder):
    run = Run.start(folder, "simulate", seed=1)
    names = [f"{kind} {HOSTILE.replace('/', '')}" for kind in ("merger", "alone")]  # they are names of folders
    numbers = "energy_drift angular_momentum_drift momentum_drift disc_softening_kpc star_spacing_kpc " \
        "halo_softening_kpc halo_spacing_kpc time_gyr".split()  # fmt: skip
    known = dict.fromkeys(numbers, 0.1) | {"lost": 0, "particles": 2}
    suite = [{"merger": name, "mass_ratio": ratio, "gas_fraction": 0.0, "merged_gyr": ratio} | known
             for name, ratio in zip(names, (1.0, None), strict=True)]  # fmt: skip
    write_table(table_from_rows(suite), run.path("suite.ecsv"))
    rows = {"time_gyr": [0.0, 1.0, 2.0], "separation_kpc": [9.0, 1.0, 0.1]}
    rows |= {name: np.ones(3) for name in ("energy", "kinetic", "disc_height_kpc")}
    rows |= {f"{name}_{axis}": np.ones(3) for name in ("momentum", "angular_momentum") for axis in "xyz"}
    two = np.zeros((2, 3), np.float32)
    stars = Snapshot(two, two, np.ones(2, np.float32), np.ones(2, np.int8), np.zeros(2, np.int8), 0.0)
    for name in names:
        write_table(Table(rows), run.path(f"{name}/diagnostics.ecsv"))
        write_snapshot(stars, run.path(f"{name}/snapshot_0000.hdf5"))
    alone = {"thickening": {names[1]: 1.0}, "control_a4": {names[1]: {"begin": [0.0, 0.0, 0.0, np.nan]}}}
    run.finish(**alone, disc_scale_kpc=1.0, **{"settings.engine": HOSTILE})


def test_a_suite_says_whether_gas_is_resolved_and_whether_galaxies_start_apart():
    from emeraldcut.report.pages.suite import _gas, _start

    wet = {"gas_kernel_msun": 3.6e8, "jeans_mass_msun": 1.9e8, "gas_resolved_msun_kpc3": 8e5, "mass_inside_start": 0.3}
    (said,) = _gas([wet, {"gas_kernel_msun": None}])
    assert "3.6e8 Msun" in said and "1.9e8 Msun" in said and "is not resolved where stars form" in said
    (said,) = _gas([wet | {"gas_kernel_msun": 1e8, "gas_resolved_msun_kpc3": 1.1e7}])
    assert "less than the Jeans mass" in said and "1.1e7 Msun/kpc^3" in said
    assert _gas([{"gas_kernel_msun": None}]) == _gas([{}]) == _start([{}]) == _start([{"mass_inside_start": 1.0}]) == []
    (said,) = _start([wet, {"mass_inside_start": 1.0}])
    assert said.startswith("In 1 merger of 2") and "70 %" in said


def hostile_study(folder):
    run = Run.start(folder, "study", seed=1)
    seen = [("clear", "truth"), ("noisy", "network")]
    shares = [
        {"group": group, "value": group, "phase": "relaxed", "image_quality": quality, "method": method, "class": name,
         "fraction": 0.3, "fraction_low": 0.2, "fraction_high": 0.4, "sure": 0.1, "sure_low": 0.0, "sure_high": 0.2,
         "corrected": 0.2, "corrected_low": 0.1, "corrected_high": 0.4, "mergers": 9, "orbits": 3, "images": 90,
         "power": 0.9, "power_sure": 0.1}
        for group in ("all", HOSTILE) for quality, method in seen
        for name in ("oval", "rectangular", "obround", "other")
    ]  # fmt: skip
    tested = {
        "on": "mass_ratio",
        "class": HOSTILE,
        "image_quality": "noisy",
        "method": "network",
        "p": 0.1,
        "explained": 0.2,
    }
    tested |= {f"{name}{end}": 0.1 for name in ("slope", "difference") for end in ("", "_low", "_high")}
    views = {"phase": ["relaxed"], "image_quality": ["clear"], "truth_a4": [np.nan], "merger": [HOSTILE]}
    write_table(Table(shares), run.path(studies.FRACTIONS))
    write_table(Table([tested | {"mergers": 9, "orbits": 3, "paired": True}]), run.path(studies.TESTS))
    boxy = {"group": HOSTILE, "value": HOSTILE, "phase": "relaxed", "mergers": 9, "orbits": 3, "boxy": 0.1}
    boxy |= {"boxy_low": 0.0, "boxy_high": 0.2, "boxy_early": 0.1, "power": 0.9, "power_strong": 1.0, "false_boxy": 0.0}
    write_table(Table([boxy]), run.path(studies.BOXES))
    write_table(Table({"merger": np.array([], dtype=str)}), run.path(studies.REMNANTS))
    write_table(Table(views | {"boxy_around_disky": [True]}), run.path(studies.IMAGES))
    write_table(Table({"method": np.array([], dtype=str)}), run.path(studies.ACCURACY))
    remnant = {"id": HOSTILE, "rank": 1, "similarity": 0.5, "mass_ratio": 1.0, "gas_fraction": 0.0, "label": HOSTILE}
    remnant |= {"since_merging_gyr": 1.0, "truth_a4": -0.05, "reference": HOSTILE}
    for name in (studies.CLOSEST, studies.REFERENCE):
        write_images(ImageSet([galaxy()], Table([remnant])), run.path(name), command="study")
    run.finish(mergers=9, orbits=3, snapshots=9, **{"settings.network": HOSTILE})


@pytest.mark.slow
@pytest.mark.parametrize("make", [hostile_completeness, hostile_network, hostile_suite, hostile_study])
def test_hostile_words_are_text_on_other_pages(make, tmp_path):
    """As on those of runs of `screen`, of tables and of sets, which have tests of their own."""
    make(tmp_path)
    page = Checker(report(tmp_path).read_text())
    assert page.stack == [] and "script" not in page.tags
    assert page.text.count(HOSTILE) + page.text.count(HOSTILE.replace("/", "")) >= 2


def test_names_that_lead_out_of_a_suite_are_refused(tmp_path):
    run = Run.start(tmp_path, "simulate", seed=1)
    write_table(Table({"merger": ["../elsewhere"]}), run.path("suite.ecsv"))
    run.finish()
    with pytest.raises(ValueError, match="elsewhere"):
        report(tmp_path)


# --- what to cite, LaTeX, PDF


def test_what_is_cited_is_what_was_used():
    known = cite.entries()
    assert all(entry.count("{") == entry.count("}") for entry in known.values())
    used = [*cite.METHODS.values(), *cite.BY_SETTING.values(), cite.GAS, cite.ALWAYS]
    assert {key for keys in used for key in keys} == set(known)
    sift = cite.bibliography({"command": "compare", "settings.method": "sift", "settings.reference": ["mine.fits"]})
    assert "Lowe" in sift and "Graham" not in sift
    wet = cite.bibliography({"command": "simulate", "settings.gas_fractions": [0.1]})
    assert "Aly" in wet and "Aly" not in cite.bibliography({"command": "simulate", "settings.gas_fractions": []})


def test_latex_tables_show_values_with_errors_and_hostile_names(tmp_path):
    table = rows([HOSTILE, "b_1"], ra=[12.5, np.nan], dec=[-3.0, 1.0])
    table["similarity"] = MaskedColumn(table["similarity"], mask=[False, True])
    folder = make_run(tmp_path, table, [galaxy()])
    names = [path.name for path in write_latex(folder)]
    assert names == ["galaxies.tex", "classes.tex", "flags.tex", "methods.bib"]
    text = (folder / "latex" / "galaxies.tex").read_text()
    assert r"$-0.0712 \pm 0.0098$" in text and r"b\_1" in text and r"\dots" in text and "$12.50000$" in text
    assert r"\textless{}script\textgreater{}alert('x')" in text and r"\&amp;\$id" in text
    lines = [line for line in text.splitlines() if line.endswith(r"\\") and "&" in line]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
    classes = (folder / "latex" / "classes.tex").read_text()
    assert "rectangular & 1 & $0.50_{-0.41}^{+0.41}$" in classes
    with pytest.raises(ValueError, match="--latex expects"):
        write_latex(pictured(tmp_path, ["a"]))


@given(st.text(max_size=40))
def test_escaped_text_has_no_bare_characters_of_latex(text):
    shown = re.sub(r"\\text\w+\{\}|\\[{}$&#%_]|\$-\$|\$''\$", "", escaped(text))
    assert not set(shown) & set("\\{}$&#%_~^\n\r")


@pytest.mark.slow
def test_a_pdf_needs_a_browser_and_says_so(tmp_path, monkeypatch):
    page = report(make_run(tmp_path, rows(["a"]), [galaxy()]))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs a Chromium or Chrome"):
        write_pdf(page)
    (tmp_path / "chromium").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "chromium").chmod(0o755)
    with pytest.raises(ValueError, match="ended with status 3"):
        write_pdf(page)
    assert not (tmp_path / "report.pdf").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium to print with")
def test_a_pdf_is_printed(tmp_path):
    page = report(make_run(tmp_path, rows(["a"]), [galaxy()]))
    assert write_pdf(page) == tmp_path / "report.pdf"
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF") and not list(tmp_path.glob(".report*"))


@pytest.mark.parametrize(
    "ratios, gas, said",
    [
        ([1.0, 1.0], [0.2, 0.2], "The run has one mass ratio and one gas fraction"),
        ([3.0, 3.0], [np.nan, np.nan], "The run has one mass ratio, so"),
        ([1.0, 3.0], [0.0, 0.0], "too few relaxed remnants of different mass ratios"),
        ([np.nan, np.nan], [np.nan, np.nan], "are not known"),
        ([], [], "The run has no merger"),
    ],
)
def test_a_study_says_why_it_tests_no_dependence(ratios, gas, said):
    """That all mergers are alike is said only where they are."""
    from emeraldcut.report.pages.study import _untested

    phases = ["relaxed"] * len(ratios) + ["alone"]
    table = Table({"phase": phases, "mass_ratio": [*ratios, np.nan], "gas_fraction": [*gas, 0.5]})
    assert said in _untested(table)
