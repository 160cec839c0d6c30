"""The careful pass opens what each row names; what it cannot read keeps the result of the first pass, and says so."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from emeraldcut.data import Flag
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import ImageSource, read_images
from emeraldcut.runs import read_manifest
from emeraldcut.runs.notices import listening
from emeraldcut.runs.run import unlock_all
from emeraldcut.screening import ScreenSettings, two_passes
from emeraldcut.tables import read_table, resumable, write_table

N, CAREFUL, LOST = 60, 24, 10


@pytest.fixture(scope="module")
def galaxies():
    return synthesise(SynthesiseSettings(number=N, snr_min=120.0, blemishes=0.0), seed=903)


@pytest.fixture(autouse=True)
def few_carefully(monkeypatch):
    chunks = ImageSource.chunks_after
    monkeypatch.setattr(two_passes, "LEAST_CAREFUL", CAREFUL)
    monkeypatch.setattr(two_passes, "CHUNK", 6)
    monkeypatch.setattr(resumable, "PART_ROWS", 20)
    monkeypatch.setattr(ImageSource, "chunks_after", lambda images, done: chunks(images, done, 16))
    yield
    unlock_all()


def folder(galaxies, path):
    path.mkdir()
    for k, pixels in enumerate(galaxies.pixels):
        fits.PrimaryHDU(pixels).writeto(path / f"g{k:03}.fits")
    return path


def after_the_first_pass(monkeypatch, do):
    """Calls `do(places)` with the indices of the images that get the careful pass, before they do."""
    highest = two_passes._highest

    def chosen(values, fraction):
        places, cut = highest(values, fraction)
        do(np.argsort(-values)[:LOST])
        return places, cut

    monkeypatch.setattr(two_passes, "_highest", chosen)


def screened(source, output, **settings):
    run = two_passes.screen_run(source, output, ScreenSettings(best=5, careful=0.01, **settings))
    return read_table(run.path("candidates.parquet")), read_manifest(run.folder), run


@pytest.mark.slow
@pytest.mark.parametrize("how", ["removed", "damaged", "emptied", "unreadable plane"])
def test_what_cannot_be_read_again_keeps_its_first_result(galaxies, tmp_path, monkeypatch, how):
    """The best of the first pass are lost before the careful one."""
    source, lost, said = folder(galaxies, tmp_path / "images"), [], []
    if how == "unreadable plane":
        source = tmp_path / "cube.fits"
        fits.PrimaryHDU(np.stack(galaxies.pixels)).writeto(source)

    def lose(places):
        lost.extend(places.tolist())
        if how == "unreadable plane":
            kept = min(lost)
            fits.PrimaryHDU(np.stack(galaxies.pixels)[:kept]).writeto(source, overwrite=True)
            return
        for path in (source / f"g{k:03}.fits" for k in places):
            if how == "removed":
                path.unlink()
            elif how == "damaged":
                path.write_bytes(path.read_bytes()[:5000])
            else:
                fits.PrimaryHDU(np.full((64, 64), np.nan, np.float32)).writeto(path, overwrite=True)

    first, _, _ = screened(source, tmp_path / "whole")
    after_the_first_pass(monkeypatch, lose)
    with listening(said.append):
        table, facts, run = screened(source, tmp_path / "run")
    assert len(table) == N
    flagged = (np.asarray(table["flag"]) & int(Flag.FIRST_PASS_ONLY)) != 0
    number = int(flagged.sum())
    assert number >= LOST and facts["not_read_again"] == number and facts["careful"] == CAREFUL - number
    assert not np.asarray(table["careful"])[flagged].any()
    assert sum("could not be read again" in sentence and str(number) in sentence for sentence in said) == 1
    assert np.isfinite(np.ma.filled(table["score"], np.nan))[flagged].all()
    assert np.asarray(table["axis_ratio"])[flagged].all() and (np.asarray(table["rank"])[flagged] < N).all()
    assert all("careful pass" in text for text in np.asarray(table["flag_text"])[flagged])
    before = {row["id"]: row for row in first}
    for row in table[flagged]:
        assert row["p_rectangular"] == pytest.approx(before[row["id"]]["p_rectangular"], abs=1e-6)
    assert facts["sure_ranks"] <= CAREFUL - number
    assert len(read_images(run.folder / "best")) == 5


@pytest.mark.slow
def test_names_that_are_not_utf8_lose_nothing(galaxies, tmp_path):
    plain = folder(galaxies, tmp_path / "plain")
    odd = tmp_path / "odd"
    odd.mkdir()
    for path in plain.iterdir():
        (odd / os.fsdecode(b"caf\xe9" + os.fsencode(path.name))).write_bytes(path.read_bytes())
    expected, _, _ = screened(plain, tmp_path / "run")
    table, facts, run = screened(odd, tmp_path / "odd_run")
    assert facts["careful"] == CAREFUL and "not_read_again" not in facts
    for name in ("score", "similarity", "flag", "rank"):
        np.testing.assert_array_equal(np.ma.filled(table[name], -1), np.ma.filled(expected[name], -1))
    np.testing.assert_array_equal(read_images(run.folder / "best").pixels, read_images(tmp_path / "run/best").pixels)
    assert all(str(name).endswith(".fits") and "%E9" in str(name) for name in table["file_bytes"])


@pytest.mark.slow
def test_two_cubes_under_one_id(galaxies, tmp_path):
    """The kept pictures are those of their rows, though ids such as b#5 name other planes of other files."""
    for name, rows in (("a", slice(0, 30)), ("b", slice(30, 60))):
        fits.PrimaryHDU(np.stack(galaxies.pixels[rows])).writeto(tmp_path / f"{name}.fits")
    listed = write_table(Table({"file": ["a.fits", "b.fits"], "id": ["b#5", "b#5"]}), tmp_path / "list.csv")
    table, _, run = screened(listed, tmp_path / "run")
    best = read_images(run.folder / "best")
    for row, pixels in zip(table, best.pixels, strict=False):
        number = int(row["plane"]) + 30 * (Path(row["file"]).name == "b.fits")
        np.testing.assert_array_equal(pixels, galaxies.pixels[number])


@pytest.mark.slow
def test_a_run_that_was_stopped_notices_what_changed(galaxies, tmp_path, monkeypatch):
    """Stopped in the careful pass; then the best image of all is exchanged for the worst."""
    source, careful = folder(galaxies, tmp_path / "images"), two_passes._careful_pass
    whole, _, _ = screened(source, tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stopping(images, calls=[], **rest):  # noqa: B006
        calls.append(1)
        if len(calls) == 3:
            raise Stopped
        return careful(images, **rest)

    monkeypatch.setattr(two_passes, "_careful_pass", stopping)
    with pytest.raises(Stopped):
        screened(source, tmp_path / "run")
    monkeypatch.setattr(two_passes, "_careful_pass", careful)
    best, worst = (Path(str(whole["file"][k])) for k in (0, N - 1))
    best.write_bytes(worst.read_bytes())
    table, _, _ = screened(source, tmp_path / "run")
    undisturbed, _, _ = screened(source, tmp_path / "undisturbed")
    assert list(table["id"]) == list(undisturbed["id"]) and list(table["id"]) != list(whole["id"])
    for name in ("score", "similarity", "flag"):
        np.testing.assert_array_equal(np.ma.filled(table[name], -1), np.ma.filled(undisturbed[name], -1))


@pytest.mark.slow
def test_equal_ids_take_time_in_proportion():
    from time import process_time

    from emeraldcut.images.readers import unique_ids

    def seconds(number):
        unique, begun = unique_ids(), process_time()
        names = {unique("galaxy") for _ in range(number)}
        assert len(names) == number
        return process_time() - begun

    assert min(map(seconds, (200_000, 200_000))) < 30 * max(min(map(seconds, (20_000, 20_000))), 1e-3)
