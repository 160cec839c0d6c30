"""Stages over all images of a source: into one table, gone on with where it was stopped; into one new set."""

from dataclasses import dataclass
from functools import partial
from unittest.mock import Mock, call

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from emeraldcut.data import Flag, ImageSet
from emeraldcut.images import NoImagesError, ReadSettings, apply_to_images, map_images, read_images, write_images
from emeraldcut.runs import Run
from emeraldcut.settings import Settings, setting
from emeraldcut.tables import read_table, resumable

NUMBER = 1200  # images, in chunks of 512


@dataclass(frozen=True, kw_only=True)
class BrightnessSettings(Settings):
    factor: float = setting(1.0, "what sums are multiplied by", above=0)


def brightness(images, settings):
    """A stage as a user would write it."""
    table = images.table["id", "flag"]
    table["brightness"] = [settings.factor * float(np.nansum(image)) for image in images.pixels]
    return table


def interrupted(images, settings):
    if "600" in images.table["id"]:
        raise KeyboardInterrupt
    return brightness(images, settings)


def halved(images):
    return ImageSet(np.asarray(images.pixels) / 2, images.table)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    pixels = np.ones((NUMBER, 9, 9), np.float32) * np.arange(NUMBER)[:, None, None]
    table = Table({"id": np.array([str(k) for k in range(NUMBER)], dtype=object)})
    return write_images(ImageSet(pixels, table), tmp_path_factory.mktemp("apply") / "set", command="test")


def applied(stored, path, stage=brightness, factor=1.0, **more):
    settings = BrightnessSettings(factor=factor)
    stage = partial(stage, settings=settings)
    return apply_to_images(stage, stored, ReadSettings(), path, command="brighten", settings=settings, **more)


@pytest.mark.parametrize("ending", [".parquet", ".ecsv", ".csv"])
def test_every_image_has_its_row(stored, tmp_path, ending):
    progress = Mock()
    path = applied(stored, tmp_path / f"t{ending}", factor=2.0, progress=progress)
    table = read_table(path)
    np.testing.assert_allclose(table["brightness"], 2.0 * 81 * np.arange(NUMBER), rtol=1e-6)
    assert progress.mock_calls == [call.begin(NUMBER), call.advance(512), call.advance(512), call.advance(176)]
    assert path == tmp_path / f"t{ending}" and not list(tmp_path.glob(".*"))
    if ending == ".ecsv":
        facts = table.meta["provenance"]
        assert (facts["command"], facts["settings.factor"], facts["settings.limit"]) == ("brighten", 2.0, None)
        assert facts["input_1"] == str(stored)


def test_what_was_stopped_goes_on(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "PART_ROWS", 100)
    with pytest.raises(KeyboardInterrupt):
        applied(stored, tmp_path / "t.parquet", interrupted)
    assert (tmp_path / ".t.parquet.unfinished").is_dir() and not (tmp_path / "t.parquet").exists()
    with pytest.raises(FileExistsError, match="a table of `brighten` with other settings"):
        applied(stored, tmp_path / "t.parquet", factor=3.0)
    progress, seen = Mock(), []

    def watched(images, settings):
        seen.extend(images.table["id"])
        return brightness(images, settings)

    path = applied(stored, tmp_path / "t.parquet", watched, progress=progress)
    assert seen == [str(k) for k in range(512, NUMBER)]
    assert progress.mock_calls == [call.begin(NUMBER), call.advance(512), call.advance(512), call.advance(176)]
    whole = applied(stored, tmp_path / "whole.parquet")
    assert path.stat().st_size == pytest.approx(whole.stat().st_size, rel=0.1)
    assert list(read_table(path)["brightness"]) == list(read_table(whole)["brightness"])
    assert not (tmp_path / ".t.parquet.unfinished").exists()


@pytest.mark.slow
def test_workers_give_the_same(stored, tmp_path):
    one, two = (read_table(applied(stored, tmp_path / f"{jobs}.parquet", jobs=jobs)) for jobs in (1, 2))
    assert list(one["brightness"]) == list(two["brightness"]) and list(one["id"]) == list(two["id"])


def test_an_existing_table_is_kept_unless_told(stored, tmp_path):
    (tmp_path / "t.csv").write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite"):
        applied(stored, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "mine"
    assert len(read_table(applied(stored, tmp_path / "t.csv", overwrite=True))) == NUMBER


def test_a_source_of_which_nothing_can_be_used(tmp_path):
    (tmp_path / "bad.fits").write_bytes(b"no image")
    with pytest.raises(NoImagesError, match="none of the 1 images can be used; '.*t.csv' says why"):
        applied(tmp_path / "bad.fits", tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv")["flag"][0] == int(Flag.UNREADABLE)
    with pytest.raises(NoImagesError, match="no usable images"):
        map_images(halved, tmp_path / "bad.fits", ReadSettings(), tmp_path / "out", command="halve")


def test_files_of_a_folder_and_rows_of_a_table_are_counted_beforehand(tmp_path):
    for name in "abc":
        fits.PrimaryHDU(np.arange(81, dtype=np.float32).reshape(9, 9)).writeto(tmp_path / f"{name}.fits")
    Table({"file": ["a.fits", "b.fits"]}).write(tmp_path / "list.csv")
    for source, number in ((tmp_path, 3), (tmp_path / "list.csv", 2)):
        progress = Mock()
        applied(source, tmp_path / f"{number}.ecsv", progress=progress)
        assert progress.mock_calls == [call.begin(number), call.advance(number)]
    progress = Mock()
    stage = partial(brightness, settings=BrightnessSettings())
    apply_to_images(stage, tmp_path, ReadSettings(limit=1), tmp_path / "1.csv", command="brighten", progress=progress)
    assert progress.mock_calls == [call.begin(1), call.advance(1)]


def test_images_from_images(stored, tmp_path):
    progress = Mock()
    run = map_images(halved, stored, ReadSettings(limit=600), tmp_path / "out", command="halve", progress=progress)
    assert isinstance(run, Run) and run.manifest["images"] == 600 and run.manifest["command"] == "halve"
    assert progress.mock_calls == [call.begin(600), call.advance(512), call.advance(88)]
    np.testing.assert_allclose(np.stack(read_images(run).pixels)[:, 0, 0], np.arange(600) / 2)
    with pytest.raises(FileExistsError, match="finished run"):
        map_images(halved, stored, ReadSettings(), tmp_path / "out", command="halve")
    with pytest.raises(ValueError, match="a folder of their own"):
        map_images(halved, stored, ReadSettings(), stored, command="halve", overwrite=True)
