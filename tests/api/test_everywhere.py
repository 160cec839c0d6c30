"""Every command is a function, and takes what people have."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from astropy.table import Table
from astropy.wcs import WCS

import emeraldcut
from emeraldcut.cli import COMMANDS, GROUPS, WITHOUT_SUMMARY, load, main
from emeraldcut.errors import UsageError
from emeraldcut.nbody import Snapshot
from emeraldcut.networks.train import TrainedNetwork
from emeraldcut.runs import Run
from tests.api.test_given import galaxy


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_function_with_an_example_or_a_page(name):
    function = getattr(emeraldcut, name)
    assert callable(function) and inspect.getdoc(function)


@pytest.mark.parametrize("settings", sorted({one for command in COMMANDS.values() for one in command.settings}))
def test_all_settings_can_be_imported_from_the_top(settings):
    assert getattr(emeraldcut, settings.partition(":")[2]) is load(settings)


@pytest.mark.parametrize("name", ["measure", "classify", "compare", "screen", "clean", "radial_profiles"])
def test_every_stage_takes_a_seed(name):
    stage = getattr(emeraldcut, name)
    assert len(stage(galaxy(), seed=1)) >= 1
    for wrong in (-1, 1.5, "a", True):
        with pytest.raises(UsageError, match="seed expects a whole number"):
            stage(galaxy(), seed=wrong)


def field() -> np.ndarray:
    pixels = np.random.default_rng(4).normal(size=(300, 320))
    for x, y in ((60, 80), (200, 150), (250, 240)):
        pixels[y : y + 48, x : x + 48] += galaxy() - np.random.default_rng(0).normal(size=(48, 48))
    return pixels


def sky() -> WCS:
    found = WCS(naxis=2)
    found.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    found.wcs.crval, found.wcs.crpix, found.wcs.cdelt = [10.0, 20.0], [160.5, 150.5], [-1e-4, 1e-4]
    return found


@pytest.mark.parametrize("kind", ["array", "CCDData", "NDData", "HDU", "HDUList", "list", "path", "paths", "masked"])
def test_detect_takes_mosaics_of_any_kind(kind, tmp_path):
    fits.writeto(tmp_path / "m.fits", field())
    expected = emeraldcut.detect(tmp_path / "m.fits")
    given = {
        "array": field(), "CCDData": CCDData(field(), unit="adu"), "NDData": NDData(field()),
        "HDU": fits.ImageHDU(field()), "HDUList": fits.HDUList([fits.PrimaryHDU(field())]), "list": [field(), field()],
        "path": str(tmp_path / "m.fits"), "paths": [tmp_path / "m.fits"],
        "masked": np.ma.array(field(), mask=np.zeros((300, 320), bool)),
    }[kind]  # fmt: skip
    found = emeraldcut.detect(given)
    assert len(expected) == 3 and len(found) == 3 * (1 + (kind == "list"))
    np.testing.assert_allclose(found["x"][:3], expected["x"])
    assert set(found["file"]) == {"list": {"0", "1"}, "path": {str(tmp_path / "m.fits")},
                                  "paths": {str(tmp_path / "m.fits")}}.get(kind, {"0"})  # fmt: skip


def test_detect_knows_the_sky_of_an_object_and_writes(tmp_path):
    found = emeraldcut.detect(CCDData(field(), unit="adu", wcs=sky()), output=tmp_path / "c.ecsv")
    there = sky().pixel_to_world(found["x"], found["y"])
    np.testing.assert_allclose(there.ra.deg, found["ra"].to_value("deg"), atol=1e-6)
    assert len(emeraldcut.read_table(tmp_path / "c.ecsv")) == 3
    with pytest.raises(FileExistsError):
        emeraldcut.detect(field(), output=tmp_path / "c.ecsv")
    with pytest.raises(UsageError, match=r"arrays \(ny, nx\).*received ndarray of shape \(3, 9, 9\)"):
        emeraldcut.detect(np.zeros((3, 9, 9)))
    with pytest.raises(UsageError, match="did you mean 'min_area_pix'"):
        emeraldcut.detect(field(), min_area=3)


@pytest.mark.slow
def test_screen_writes_images_in_memory_and_goes_on(tmp_path):
    run = emeraldcut.screen([galaxy(0), galaxy(1)], output=tmp_path / "run", prevalence=0.02)
    assert (tmp_path / "run" / "report.html").exists() and len(list(run.folder.glob("images_*"))) == 1
    with pytest.raises(FileExistsError, match="finished run"):
        emeraldcut.screen([galaxy(0), galaxy(1)], output=tmp_path / "run", prevalence=0.02)
    (tmp_path / "run" / "manifest.json").unlink()  # as if it had been stopped
    again = emeraldcut.screen([galaxy(0), galaxy(1)], output=tmp_path / "run", prevalence=0.02)
    assert len(list(again.folder.glob("images_*"))) == 1
    written = emeraldcut.review(again, static=True, number=2)
    assert written[0].is_file() or written[0].is_dir()
    with pytest.raises(UsageError, match="did you mean 'classes'"):
        emeraldcut.review(again, clases=("a", "b"))


def test_pages_say_what_they_expect_of_what_is_in_memory():
    shapes = emeraldcut.measure(galaxy())
    for function in (emeraldcut.report, emeraldcut.review):
        with pytest.raises(UsageError, match="received Result. Give the stage an `output`"):
            function(shapes)


def test_convert_takes_a_table_in_memory(tmp_path):
    table = Table({"id": ["a", "b"], "ra": [10.0, 11.0], "dec": [1.0, 2.0]})
    for name in ("t.vot", "t.csv", "t.reg"):
        assert emeraldcut.convert(table, tmp_path / name).stat().st_size > 0
    with pytest.raises(FileExistsError):
        emeraldcut.convert(table, tmp_path / "t.reg")
    with pytest.raises(UsageError, match="expects the path of images; received Table"):
        emeraldcut.convert(table, tmp_path / "m.fits", to="moc")


def test_fetch_takes_a_table_and_says_what_is_missing(tmp_path):
    with pytest.raises(UsageError, match="needs positions and a survey"):
        emeraldcut.fetch(Table({"ra": [1.0], "dec": [2.0]}), tmp_path / "out")
    with pytest.raises(UsageError, match="did you mean 'survey'"):
        emeraldcut.fetch("c.csv", tmp_path / "out", survy="X")


def test_export_writes_the_network_that_ships(tmp_path):
    folder = emeraldcut.export("screener", tmp_path / "net")
    assert (folder / "card.json").is_file()
    with pytest.raises(FileNotFoundError, match="screener"):
        emeraldcut.export("none", tmp_path / "other")


# --- what a command says at its end


def from_shell(capsys, *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    return status, *capsys.readouterr()


def test_a_summary_names_the_best_and_quiet_says_the_path_alone(tmp_path, capsys):
    np.save(tmp_path / "g.npy", np.stack([galaxy(k) for k in range(7)]))
    status, out, err = from_shell(capsys, "classify", tmp_path / "g.npy", "-o", tmp_path / "c.csv")
    assert status == 0 and out.strip() == str(tmp_path / "c.csv")
    lines = err.strip().splitlines()
    assert "7 images: 7 with results" in lines[-7] and lines[-6] == "Most likely rectangular:" and len(lines) >= 7
    p = emeraldcut.read_table(tmp_path / "c.csv")["p_rectangular"]
    assert f"p(rectangular) {max(p):.3f}" in lines[-5]
    status, out, err = from_shell(capsys, "classify", tmp_path / "g.npy", "-o", tmp_path / "d.csv", "--quiet")
    assert status == 0 and out.strip() == str(tmp_path / "d.csv") and err == ""


def test_a_set_says_how_many_images_it_has(tmp_path, capsys):
    _, out, err = from_shell(capsys, "synthesise", "--number", "3", "--size", "32", "-o", tmp_path / "set")
    assert out.strip() == str(tmp_path / "set") and "3 images. Done in" in err


def test_all_long_commands_have_a_summary():
    assert not set(WITHOUT_SUMMARY) & {name for group in list(GROUPS)[:4] for name in GROUPS[group]} - {
        "convert", "export"}  # fmt: skip


def test_the_first_sentence_of_a_page_is_its_summary(tmp_path):
    from emeraldcut.summary import summary

    page = Path(tmp_path, "report.html")
    page.write_text('<style>p { x: 1 }</style><p class="result">Of 3&nbsp;mergers <b>none</b> &lt; 2.</p><p>More.</p>')
    assert summary(str(page), 61.0) == ["Of 3 mergers none < 2. Done in 1 min 01 s."]
    page.write_text("<p>nothing")
    assert summary(str(page), 1.0) == ["Done in 1 s."]


def test_what_stages_give_says_in_one_line_what_it_is(tmp_path):
    run = Run.start(tmp_path / "run", "simulate")
    assert repr(run) == f"<Run: simulate: not finished, '{tmp_path / 'run'}'>"
    run.finish()
    assert repr(run) == f"<Run: simulate: finished, '{tmp_path / 'run'}'>"
    stars = Snapshot(np.zeros((3, 3)), np.zeros((3, 3)), np.ones(3), np.array([0, 0, 1]), np.zeros(3), time_gyr=2.5)
    assert repr(stars) == "<Snapshot at 2.5 Gyr: 2 halo, 1 disc>"
    history, card = Table({"epoch": [1, 2]}), {"classes": ["oval", "ring"], "metrics": {"accuracy": 0.9}}
    words = "TrainedNetwork(oval, ring; 2 epochs; accuracy 0.900 of what was held out)"
    assert repr(TrainedNetwork(None, card, history)) == words
