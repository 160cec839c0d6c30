"""Work that was stopped, whose input was then changed: the same table as undisturbed, or a sentence that names it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.images import ImageSource, ReadSettings, apply_to_images, write_images
from emeraldcut.runs import stamps
from emeraldcut.runs.run import unlock_all
from emeraldcut.settings import Settings, setting
from emeraldcut.tables import read_table, resumable, write_table

SIDE, N = 16, 60
PIXELS = np.random.default_rng(3).normal(100, 10, (N, SIDE, SIDE)).astype(np.float32)
OTHER = np.random.default_rng(4).normal(100, 10, (N, SIDE, SIDE)).astype(np.float32)


def mean(images):
    """A stage that is quick."""
    means = [float(np.nanmean(p)) if np.size(p) and np.isfinite(p).any() else -1.0 for p in images.pixels]
    return Table({"id": images.table["id"], "mean": means, "flag": images.table["flag"]})


class Stopped(Exception):
    pass


def stopping(images):
    """The same, which is stopped two thirds on."""
    if stopping.left == 0:
        raise Stopped
    stopping.left -= 1
    return mean(images)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    chunks = ImageSource.chunks_after
    monkeypatch.setattr(resumable, "PART_ROWS", 8)
    monkeypatch.setattr(ImageSource, "chunks_after", lambda images, done: chunks(images, done, 4))
    yield
    unlock_all()


def write_fits(path, array, **header):
    fits.PrimaryHDU(array, fits.Header(header)).writeto(path, overwrite=True)


# --- sources, and how they change; each gives the source and how it is read


def folder(path):
    path.mkdir()
    for k in range(N):
        write_fits(path / f"{k:03}.fits", PIXELS[k])
    return path, ReadSettings()


def rewritten(path):
    write_fits(path / "005.fits", OTHER[5])


def rewritten_to_the_same_size_and_second(path):
    before = (path / "005.fits").stat()
    write_fits(path / "005.fits", OTHER[5])
    os.utime(path / "005.fits", ns=(before.st_mtime_ns, before.st_mtime_ns + 1))


def removed(path):
    (path / "005.fits").unlink()


def added(path):
    write_fits(path / "004a.fits", OTHER[5])


def added_at_the_end(path):
    write_fits(path / "zzz.fits", OTHER[5])


def turned_into_a_cube(path):
    write_fits(path / "005.fits", OTHER[:3])


def given_a_mask(path):
    write_fits(path / "005_mask.fits", (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 2).astype(np.int16))


def damaged(path):
    (path / "005.fits").write_bytes(b"damaged")


def cubes(path):
    path.mkdir()
    for k in range(6):
        write_fits(path / f"{k}.fits", PIXELS[10 * k : 10 * k + 10])
    return path, ReadSettings()


def fewer_planes(path):
    write_fits(path / "1.fits", PIXELS[10:16])


def more_planes(path):
    write_fits(path / "1.fits", PIXELS[10:26])


def one_cube(path):
    write_fits(path.with_suffix(".fits"), PIXELS)
    return path.with_suffix(".fits"), ReadSettings()


def another_cube(path):
    write_fits(path.with_suffix(".fits"), np.concatenate([OTHER[:1], PIXELS]))


def with_masks(path):
    folder(path)
    given_a_mask(path)
    return path, ReadSettings()


def other_mask(path):
    write_fits(path / "005_mask.fits", (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 3).astype(np.int16))


def hdf5(path, pixels=PIXELS):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["images"] = pixels
    return path.with_suffix(".h5"), ReadSettings()


def other_hdf5(path):
    hdf5(path, OTHER)


def parquet(path, pixels=PIXELS):
    rows = [[{"band": "r", "array": image.tolist()}] for image in pixels]
    pq.write_table(pa.table({"image": rows}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet"), ReadSettings()


def other_parquet(path):
    parquet(path, OTHER)


def text_maps(path, pixels=PIXELS):
    path.mkdir(exist_ok=True)
    (path / "2df.dat").write_text("".join(f"{value:.6e}\n" for value in pixels.ravel()))
    return path / "2df.dat", ReadSettings(text_map_size=SIDE)


def other_text_maps(path):
    text_maps(path, OTHER)


def stored(path, pixels=PIXELS):
    images = ImageSet(pixels, Table({"id": [f"s{k}" for k in range(len(pixels))]}))
    write_images(images, path, command="test", overwrite=True)
    return path, ReadSettings()


def other_set(path):
    stored(path, OTHER[:50])


def mosaic(path, seed=1):
    field = np.random.default_rng(seed).normal(size=(200, 210)).astype(np.float32)
    write_fits(path.with_suffix(".fits"), field)
    x, y = np.random.default_rng(0).uniform(20, 180, (2, N))
    listed = path.with_name("positions.ecsv")
    if not listed.exists():
        write_table(Table({"id": [f"p{k}" for k in range(N)], "x": x, "y": y}), listed)
    return path.with_suffix(".fits"), ReadSettings(catalogue=str(listed), cutout_size=SIDE)


def other_mosaic(path):
    mosaic(path, seed=2)


def list_of_files(path):
    folder(path)
    files = [f"source/{k:03}.fits" for k in range(N)]
    return write_table(Table({"file": files}), path.with_name("list.csv")), ReadSettings()


DONE_AGAIN = [
    *((folder, how) for how in (rewritten, rewritten_to_the_same_size_and_second, removed, added, added_at_the_end)),
    *((folder, how) for how in (turned_into_a_cube, given_a_mask, damaged)),
    (cubes, fewer_planes),
    (cubes, more_planes),
    (one_cube, another_cube),
    (with_masks, other_mask),
    (hdf5, other_hdf5),
    (parquet, other_parquet),
    (text_maps, other_text_maps),
    (stored, other_set),
    (mosaic, other_mosaic),
    (list_of_files, rewritten),
    (list_of_files, removed),
]


def stop_early(source, settings, output, left=10):
    stopping.left = left
    with pytest.raises(Stopped):
        apply_to_images(stopping, source, settings, output, command="mean")


@pytest.mark.slow
@pytest.mark.parametrize(("make", "change"), DONE_AGAIN, ids=lambda f: f.__name__)
def test_changed_images_are_done_again(make, change, tmp_path):
    source, settings = make(tmp_path / "source")
    stop_early(source, settings, tmp_path / "t.parquet")
    change(tmp_path / "source")
    resumed = read_table(apply_to_images(mean, source, settings, tmp_path / "t.parquet", command="mean"))
    undisturbed = read_table(apply_to_images(mean, source, settings, tmp_path / "u.parquet", command="mean"))
    assert list(resumed["id"]) == list(undisturbed["id"])
    for name in ("mean", "flag"):
        np.testing.assert_array_equal(resumed[name], undisturbed[name])


def test_only_what_follows_a_change_is_done_again(tmp_path):
    """Of 60 images 40 were done; the 21st has changed, in the third part of 8."""
    source, settings = folder(tmp_path / "source")
    stop_early(source, settings, tmp_path / "t.parquet")
    write_fits(source / "020.fits", OTHER[0])
    done = []
    counting = lambda images: done.extend(images.table["id"]) or mean(images)  # noqa: E731
    apply_to_images(counting, source, settings, tmp_path / "t.parquet", command="mean")
    assert done == [f"{k:03}" for k in range(16, N)]


def test_nothing_is_done_again_without_a_change(tmp_path):
    for make in (folder, cubes, hdf5, stored, mosaic, list_of_files):
        place = tmp_path / make.__name__
        place.mkdir()
        source, settings = make(place / "source")
        stop_early(source, settings, place / "t.parquet")
        done = []
        counting = lambda images, done=done: done.extend(images.table["id"]) or mean(images)  # noqa: E731
        apply_to_images(counting, source, settings, place / "t.parquet", command="mean")
        assert len(done) == N - 40, make.__name__


# --- decisions


@dataclass(frozen=True, kw_only=True)
class MeanSettings(Settings):
    """What decides, besides the images."""

    network: str = setting("screener", "a name or a folder", reads=True)
    reference: tuple[str, ...] = setting((), "files", reads=True)
    factor: float = setting(1.0, "a number")


def refusal(source, read_settings, output, settings=None):
    with pytest.raises(FileExistsError) as refused:
        apply_to_images(mean, source, read_settings, output, command="mean", settings=settings)
    return str(refused.value)


def stop_with(source, read_settings, output, settings):
    stopping.left = 5
    with suppress(Stopped):
        apply_to_images(stopping, source, read_settings, output, command="mean", settings=settings)


def test_a_changed_decision_is_refused_by_name(tmp_path):
    source, read_settings = folder(tmp_path / "source")
    network, reference, output = tmp_path / "net", tmp_path / "ref.fits", tmp_path / "t.parquet"
    network.mkdir()
    (network / "model.weights.h5").write_bytes(b"old")
    write_fits(reference, PIXELS[0])
    settings = MeanSettings(network=str(network), reference=(str(reference),))
    stop_with(source, read_settings, output, settings)
    (network / "model.weights.h5").write_bytes(b"new")
    assert f"the content of '{network}' has changed" in refusal(source, read_settings, output, settings)
    (network / "model.weights.h5").write_bytes(b"old")
    before = reference.stat()
    write_fits(reference, OTHER[0])
    os.utime(reference, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same name, size and time
    assert f"the content of '{reference}' has changed" in refusal(source, read_settings, output, settings)
    write_fits(reference, PIXELS[0])
    changed = MeanSettings(network=str(network), reference=(str(reference),), factor=2)
    assert "factor was 1.0, now it is 2.0" in refusal(source, read_settings, output, changed)
    path = apply_to_images(mean, source, read_settings, output, command="mean", settings=settings)
    assert len(read_table(path)) == N


def test_a_changed_catalogue_is_refused_by_name(tmp_path):
    source, settings = mosaic(tmp_path / "source")
    stop_early(source, settings, tmp_path / "t.parquet")
    catalogue = read_table(settings.catalogue)
    catalogue["x"][3] += 1
    write_table(catalogue, settings.catalogue, overwrite=True)
    said = refusal(source, settings, tmp_path / "t.parquet")
    assert f"the content of '{settings.catalogue}' has changed" in said and len(said.splitlines()) == 1


def test_a_changed_list_of_files_is_refused_by_name(tmp_path):
    source, settings = list_of_files(tmp_path / "source")
    stop_early(source, settings, tmp_path / "t.parquet")
    write_table(Table({"file": [f"source/{k:03}.fits" for k in reversed(range(N))]}), source, overwrite=True)
    assert f"the content of '{source}' has changed" in refusal(source, settings, tmp_path / "t.parquet")


def test_settings_that_name_files_say_so():
    """Else a change of such a file would not be noticed."""
    from emeraldcut import cli
    from emeraldcut.settings import items

    named = {"network", "reference", "negative", "psf", "progenitor", "companion", "suites"}
    for command in cli.COMMANDS.values():
        for item in (item for cls in command.settings for item in items(cli.load(cls))):
            if item.name in named and not item.choices:
                assert item.reads, (command.help, item.name)


# --- large files


def test_large_files_are_known_by_a_sample(tmp_path, monkeypatch):
    """One byte in a hundred is changed, size and time are as before."""
    monkeypatch.setattr(stamps, "LARGEST_HASHED_BYTES", 50_000)
    monkeypatch.setattr(stamps, "BLOCK_BYTES", 64)
    path, data = tmp_path / "large.fits", np.zeros(1_000_000, np.uint8)
    path.write_bytes(data.tobytes())
    stamp, facts, content = stamps.stamp_of(path), stamps.file_facts(path), stamps.content_of(path)
    assert stamp == stamps.stamp_of(path) and stamp.sample and facts["sampled_sha256"] == stamp.sample
    data[::100] = 1
    path.write_bytes(data.tobytes())
    os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))
    stamps._sample.cache_clear()
    after = stamps.stamp_of(path)
    assert after[:3] == stamp[:3] and after.sample != stamp.sample
    assert stamps.file_facts(path) != facts and stamps.content_of(path) != content


def test_the_first_and_last_byte_are_in_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "BLOCK_BYTES", 64)
    path, data = tmp_path / "large.fits", bytearray(1_000_000)
    path.write_bytes(data)
    before = stamps.sample_of(path, len(data))
    for place in (0, len(data) - 1):
        changed = bytearray(data)
        changed[place] = 1
        path.write_bytes(changed)
        assert stamps.sample_of(path, len(data)) != before


def test_the_content_of_a_folder_is_that_of_its_files(tmp_path):
    folder = tmp_path / "net"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (folder / name).write_bytes(b"1")
    before = stamps.content_of(folder)
    (folder / "sub" / "b").touch()
    assert stamps.content_of(folder) == before == stamps.content_of(Path(os.path.relpath(folder)))
    (folder / "sub" / "b").rename(folder / "sub" / "c")
    assert stamps.content_of(folder) != before
