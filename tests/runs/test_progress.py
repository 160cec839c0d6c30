"""Progress: what a bar shows of the stretches of work that a stage tells it of."""

import subprocess
import sys

import pytest

from emeraldcut.runs import SILENT, Bar, map_chunks
from tests.helpers import Stretches


def length(chunk):
    return len(chunk)


def test_a_bar_for_each_stretch_of_work(capsys):
    with Bar("screen") as bar:
        bar.begin(4, "images", "first pass")
        assert list(map_chunks(length, [range(3), range(1)], progress=bar)) == [3, 1]
        bar.begin(None, "epochs")
        bar.advance(loss=0.25)
        bar.write("half of it is done.")
    out, err = capsys.readouterr()
    first, second = err.split("screen: first pass")[-1], err.split("screen: ")[-1]
    assert out == "" and "4/4" in first and " images" in first
    assert "1 epochs" in second and "loss=0.25" in second and "half of it is done." in err


def test_a_silent_bar_says_nothing(capsys):
    for progress in (Bar("screen", silent=True), SILENT):
        progress.begin(2)
        assert list(map_chunks(length, [range(2)], progress=progress)) == [2]
    assert capsys.readouterr() == ("", "")


def test_stages_announce_as_much_as_they_do(tmp_path):
    from emeraldcut.galaxies import SynthesiseSettings, synthesise
    from emeraldcut.images import apply_to_images, write_images
    from emeraldcut.images.readers import ReadSettings
    from emeraldcut.isophotes import measure
    from emeraldcut.screening import screen_run

    images = write_images(synthesise(SynthesiseSettings(number=12, size=48), seed=1), tmp_path / "set", command="test")
    table = tmp_path / "t.csv"
    for work in (
        lambda told: apply_to_images(measure, images, ReadSettings(), table, command="measure", progress=told),
        lambda told: screen_run(images, tmp_path / "run", progress=told),
    ):  # fmt: skip
        told = Stretches()
        work(told)
        told.check()


# --- what libraries say of themselves


CHATTERS = """
import os, sys
from emeraldcut.runs.chatter import show_chatter, without_chatter
show_chatter(sys.argv[1] == "shown")
try:
    with without_chatter():
        os.write(2, b"I0000 port.cc:153] oneDNN is on\\n")  # as compiled code does, past Python
        print("python says", file=sys.stderr)
        assert sys.argv[1] != "fails", "what failed"
except AssertionError as error:
    print(error, file=sys.stderr)
print("after", file=sys.stderr)
import logging
logging.getLogger("somebody").warning("a warning of a library")
"""


@pytest.mark.parametrize("how, lines", [("hidden", 1), ("shown", 4), ("fails", 4)])
def test_what_libraries_write_is_shown_to_those_who_ask_or_after_an_error(how, lines):
    done = subprocess.run([sys.executable, "-c", CHATTERS, how], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == lines and "after" in done.stderr
    assert ("oneDNN" in done.stderr) == (how != "hidden")


@pytest.mark.slow
@pytest.mark.parametrize("flag, said", [([], False), (["-v"], True)])
def test_tensorflow_says_nothing_in_a_training_unless_it_is_asked(flag, said, tmp_path):
    pytest.importorskip("keras")
    make = "import sys; from emeraldcut.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["train", "--network", "thesis", "--epochs", "1", "-o", str(tmp_path / "net"), *flag]
    from emeraldcut.galaxies import SynthesiseSettings, synthesise
    from emeraldcut.images import write_images

    galaxies = synthesise(SynthesiseSettings(number=60, size=50, classes=("oval", "rectangular"), snr_min=60), seed=1)
    write_images(galaxies, tmp_path / "set", command="synthesise")
    done = subprocess.run([sys.executable, "-c", make, *words, str(tmp_path / "set")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("oneDNN" in done.stderr or "absl" in done.stderr) == said
