"""Every block of code in README and docs runs, or is marked as one that does not, with the reason.

The mark is a comment before the block: `<!-- not run: REASON -->`, or `<!-- not run where "PATTERN": REASON -->` for
the lines in which this regular expression is found. Commands of marked blocks are still read by their parsers. Cells of
tutorials run when the site is built.
"""

import re
import shlex
import shutil
import tomllib
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import emeraldcut
from emeraldcut import cli
from emeraldcut.nbody import write_snapshot
from emeraldcut.search import read_target
from tests.helpers import ROOT, plummer, snapshot, tan_wcs

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")]
PAGES += sorted(page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts)
MARK = re.compile(r'<!-- not run(?: where "([^"]+)")?: ([^>]+?) -->\s*$')
FENCED = re.compile(r"^(```|:::+)(?P<language>[^\n]*)\n(?P<text>.*?)^\1 *$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}\S[^\n]*\n(?: {4,}[^\n]*\n)*)+")
OWN = ("sh", "python", "toml", "text", "")  # languages that are known; others are a mistake


class Block(NamedTuple):
    language: str
    text: str
    skip: str | None  # lines in which this is found are not run, all for ""; None for no mark
    reason: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of code of a page, fenced ones and indented ones; a tutorial's cells and directives are left out."""
    text, found = page.read_text(encoding="utf-8"), []
    places = [(m.start(), m["language"].strip(), m["text"]) for m in FENCED.finditer(text)]
    blank = FENCED.sub(lambda m: re.sub(r"[^\n]", "#", m[0]), text)
    places += [(m.start(), "sh", re.sub(r"^    ", "", m[0], flags=re.MULTILINE)) for m in INDENTED.finditer(blank)]
    for start, language, content in sorted(places):
        if not language.startswith("{"):
            mark = MARK.search(text[:start])
            skip = None if mark is None else mark[1] or ""
            found.append(Block(language, content, skip, mark[2] if mark else ""))
    return found


def lines_of(text: str) -> list[str]:
    """The commands of a block of shell, without comments; continued lines are one."""
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    parts = [
        re.sub(r"^for .*?; do (.*); done$", r"\1", re.sub(r"(?:^|\s)#.*", "", line)) for line in joined.splitlines()
    ]
    return [part.strip() for part in parts if part.strip()]


BLOCKS = [(page, block) for page in PAGES for block in blocks_of(page)]
COMMANDS = [(page, line) for page, block in BLOCKS if block.language == "sh" for line in lines_of(block.text)]
OF_OURS = [(page, line) for page, line in COMMANDS if line.startswith("emeraldcut ")]


def name_of(value):
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else None


@pytest.mark.parametrize("page, line", OF_OURS, ids=lambda value: name_of(value) or value)
def test_commands_on_pages_are_understood(page, line):
    """Also those that are not run."""
    words = shlex.split(line)[1:]
    name = cli.SPELLINGS.get(words[0], words[0])
    if words[0] != "--version":
        command = cli.COMMANDS[name]
        classes = [cli.load(cls) for cls in command.settings]
        cli.command_parser(name, command, classes).parse_args(words[1:])


def test_other_programs_are_in_marked_blocks():
    """What is neither ours nor Python cannot be run here, so the block says why."""
    unmarked = [
        (page.name, line)
        for page, block in BLOCKS
        if block.language == "sh" and block.skip is None
        for line in lines_of(block.text)
        if not line.startswith("emeraldcut ")
    ]
    assert not unmarked, "put a comment <!-- not run: REASON --> before the block"


def test_languages_are_known():
    assert not [(page.name, block.language) for page, block in BLOCKS if block.language not in OWN]


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z]+)`", page.read_text())}
    named |= {line.split()[1] for _, line in COMMANDS if line.startswith("make ")}
    assert named and named <= targets


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    """What the pages take for granted: cutouts, tiles, catalogues, a run, snapshots."""
    folder = tmp_path_factory.mktemp("materials")
    galaxies = emeraldcut.synthesise(6, size=48, snr_min=60, classes=("oval", "rectangular"), seed=5)
    (folder / "cutouts").mkdir()
    names = [f"galaxy{k}" for k in range(len(galaxies))]
    for name, pixels in zip(names, galaxies.pixels, strict=True):
        wcs = tan_wcs(pixels.shape, ra=150 + len(list((folder / "cutouts").iterdir())) / 1e3)
        fits.writeto(folder / "cutouts" / f"{name}.fits", pixels, wcs.to_header())
    _tiles(folder, galaxies.pixels)
    Table({"id": names, "ra": 150 + np.arange(6) / 1e3, "dec": np.full(6, 2.0)}).write(folder / "sources.ecsv")
    emeraldcut.measure(galaxies, output=folder / "shapes.ecsv")
    emeraldcut.screen(folder / "cutouts", output=folder / "run")
    merger = folder / "run" / "ratio1-gas0-orbit000"
    merger.mkdir(parents=True)
    write_snapshot(snapshot(plummer(3000, 0), np.zeros((3000, 3))), merger / "snapshot_0000.hdf5")
    shutil.copy(merger / "snapshot_0000.hdf5", folder / "cutout_523.hdf5")
    (folder / "snapshots").mkdir()
    shutil.copy(merger / "snapshot_0000.hdf5", folder / "snapshots" / "remnant.hdf5")
    return folder


def _tiles(folder, stamps):
    """Two tiles of one sky with the galaxies in them, and the catalogue of these."""
    rng = np.random.default_rng(0)
    (folder / "tiles").mkdir()
    ra, dec = [], []
    for k in range(2):
        sky, wcs = rng.normal(0, 1, (160, 200)), tan_wcs((160, 200), ra=150 + k * 0.05)
        for n, (x, y) in enumerate([(40, 40), (100, 90), (150, 50)]):
            sky[y - 24 : y + 24, x - 24 : x + 24] += stamps[3 * k + n]
            place = wcs.pixel_to_world(x, y)
            ra.append(place.ra.deg), dec.append(place.dec.deg)
        fits.writeto(folder / "tiles" / f"tile{k}.fits", sky.astype(np.float32), wcs.to_header())
    shutil.copytree(folder / "tiles", folder / "mosaics")
    names = [f"galaxy{k}" for k in range(6)]
    Table({"id": names, "ra": ra, "dec": dec}).write(folder / "survey.fits")


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.skip != "" for block in blocks_of(page))], ids=name_of
)
def test_blocks_run(page, materials, tmp_path, monkeypatch, capsys):
    """In their order, in a folder that has what the page takes for granted; with one worker instead of several."""
    shutil.copytree(materials, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    for block in blocks_of(page):
        if block.skip == "":
            continue
        if block.language == "python":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(re.sub(r"\bjobs=\d+", "jobs=1", block.text), {"__name__": "__main__"})
        elif block.language == "toml":
            check_toml(block.text, tmp_path)
        for line in lines_of(block.text) if block.language == "sh" else []:
            if block.skip is None or not re.search(block.skip, line):
                assert run_line(line) == 0, (line, capsys.readouterr().err)


def run_line(line):
    """The exit status of a command; what an earlier one wrote to the same place is removed."""
    words = re.sub(r"(--jobs|-j) \d+", "--jobs 1", line)
    words = shlex.split(words)[1:]
    if "--output" in words and (output := Path(words[words.index("--output") + 1])).exists():
        shutil.rmtree(output) if output.is_dir() else output.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cli.main(words)


def check_toml(text, folder):
    """It is TOML; and what describes a target is one."""
    values = tomllib.loads(text)
    if "isophote" in values:
        (folder / "mine.toml").write_text(text)
        assert read_target(str(folder / "mine.toml")).constraints


def test_blocks_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n\n    emeraldcut demo   # a comment\n    emeraldcut detect a \\\n      --output b\n\n"
        "<!-- not run: no server -->\n```sh\nmake it\n```\n\n- item\n\n"
        '<!-- not run where "--send": nobody listens -->\n\n    emeraldcut report run\n\n```{note}\nno code\n```\n'
    )
    indented, fenced, partly = blocks_of(page)
    assert lines_of(indented.text) == ["emeraldcut demo", "emeraldcut detect a --output b"] and indented.skip is None
    assert (fenced.language, fenced.skip, fenced.reason) == ("sh", "", "no server")
    assert partly.skip == "--send" and lines_of(partly.text) == ["emeraldcut report run"]
