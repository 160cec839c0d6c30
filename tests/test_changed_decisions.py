"""Commands that were interrupted, and then a file that decides their result was replaced: one sentence names it."""

import os
import re
from shutil import copytree

import h5py
import numpy as np
import pytest
from astropy.io import fits

from emeraldcut import cli
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import ImageSource
from emeraldcut.networks import load_network
from emeraldcut.runs.run import unlock_all
from emeraldcut.screening import two_passes
from emeraldcut.tables import resumable

COMMANDS = {
    "classify": "classify images --network network -o t.parquet",
    "compare": "compare images --reference reference.fits -o t.parquet",
    "measure": "measure images --psf psf.fits -o t.parquet",
    "screen with a network": "screen images --network network -o run",
    "screen with a reference": "screen images --reference reference.fits -o run",
    "screen with a PSF": "screen images --psf psf.fits -o run",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Images, a network, a reference and a PSF; work in parts of 8 rows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for k, pixels in enumerate(synthesise(SynthesiseSettings(number=40, size=48), seed=1).pixels):
        fits.PrimaryHDU(pixels).writeto(f"images/g{k:02}.fits")
    copytree(load_network("screener").folder, "network")
    fits.PrimaryHDU(synthesise(SynthesiseSettings(number=1, classes=("rectangular",)), seed=2).pixels[0]).writeto(
        "reference.fits"
    )
    fits.PrimaryHDU(np.exp(-np.hypot(*np.mgrid[-7:8, -7:8]) / 2).astype("f4")).writeto("psf.fits")
    chunks = ImageSource.chunks_after
    for name, value in (("LEAST_CAREFUL", 16), ("CHUNK", 8)):
        monkeypatch.setattr(two_passes, name, value)
    monkeypatch.setattr(resumable, "PART_ROWS", 8)
    monkeypatch.setattr(ImageSource, "chunks_after", lambda images, done: chunks(images, done, 8))
    yield tmp_path
    unlock_all()


def replace(path):
    """Other content in a file, of the same name, size and time."""
    before = os.stat(path)
    if path.endswith(".h5"):
        with h5py.File(path, "r+") as file:
            arrays = []
            file.visititems(lambda name, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
            arrays[0][...] = arrays[0][...] * 1.01
    else:
        with fits.open(path, mode="update") as units:
            units[0].data[5, 5] += 1
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size


@pytest.mark.slow
@pytest.mark.parametrize("what", COMMANDS)
def test_a_replaced_file_is_named(what, place, monkeypatch, capsys):
    words = COMMANDS[what].split()
    changed = next(word for word in words if word in ("network", "reference.fits", "psf.fits"))
    go_on = resumable.ResumableTable.append
    calls = []

    def interrupted(self, *arguments, **more):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return go_on(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(resumable.ResumableTable, "append", interrupted)
        assert cli.main(words) == 130
    unlock_all()  # as when its process has ended
    capsys.readouterr()
    replace("network/model.weights.h5" if changed == "network" else changed)
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(f"the content of '[^']*{re.escape(changed)}' has changed", error)
    assert "--overwrite" in error
