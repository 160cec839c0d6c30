"""What happens when a new user tries the obvious thing, in 15 attempts in Python and 15 in the shell, before and now?

    python benchmarks/first_attempts.py [--quick] [--before FOLDER]

FOLDER is a checkout of an earlier state of the project, for example of a `git worktree`; without it only the present
one is tried. All attempts use the same small images, which are made without the package. An attempt works if it ends
without an error and gives what was asked for, for example as many rows as there are images. With --quick the attempts
in the shell are left out. Keys of the last line:

    python, shell    attempts that work now, and of how many
    python_before, shell_before
    failed           those that do not work now
    attempts         of each way (python, shell) what became of each attempt, by state (now, before)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import record
from astropy.io import fits
from astropy.table import Table
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SIDE = 64
LIMIT_S = 600  # of all attempts in Python together, and of each in the shell
BEGIN = """
import json, sys, warnings
from pathlib import Path
import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, Cutout2D, NDData, StdDevUncertainty
import matplotlib
matplotlib.use("Agg")
warnings.simplefilter("ignore")
import emeraldcut
array = np.load("galaxies.npy")[0]
cube = np.load("galaxies.npy")
"""
PYTHON = {  # what is tried: a program that leaves `result` and what must be true of it
    "measure(array)": ("result = emeraldcut.measure(array)", "len(result) == 1"),
    "measure(array of shape (n, ny, nx))": ("result = emeraldcut.measure(cube)", "len(result) == 6"),
    "measure(list of arrays of several sizes)": (
        "result = emeraldcut.measure([array, array[:60, :62]])", "len(result) == 2"),
    "measure(CCDData with mask and uncertainty)": (
        "result = emeraldcut.measure(CCDData(array, unit='adu', mask=array > 1e9, "
        "uncertainty=StdDevUncertainty(np.ones_like(array))))", "len(result) == 1"),
    "measure(NDData)": ("result = emeraldcut.measure(NDData(array))", "len(result) == 1"),
    "measure(Cutout2D)": ("result = emeraldcut.measure(Cutout2D(array, (32, 32), 60))", "len(result) == 1"),
    "measure(HDU)": ("result = emeraldcut.measure(fits.PrimaryHDU(array))", "len(result) == 1"),
    "measure(list of paths)": (
        "result = emeraldcut.measure(sorted(Path('cutouts').glob('*.fits')))", "len(result) == 6"),
    "measure('folder')": ("result = emeraldcut.measure('cutouts')", "len(result) == 6"),
    "classify(DataFrame with a column of files)": (
        "import pandas\nresult = emeraldcut.classify(pandas.read_csv('files.csv'))", "len(result) == 3"),
    "screen(images, prevalence=0.02)": (
        "result = emeraldcut.screen(cube, prevalence=0.02)", "list(result['rank']) == [1, 2, 3, 4, 5, 6]"),
    "synthesise(10)": ("result = emeraldcut.synthesise(10)", "len(result) == 10"),
    "measure(array, psf_fwhm_pix=2.5)": (
        "result = emeraldcut.measure(array, psf_fwhm_pix=2.5)", "np.isfinite(result['a4'][0])"),
    "compare(array, reference=another array)": (
        "result = emeraldcut.compare(array, reference=cube[1])", "np.isfinite(result['similarity'][0])"),
    "measure(images).plot('axis_ratio', 'a4')": (
        "result = emeraldcut.measure(cube).plot('axis_ratio', 'a4')", "result.get_xlabel() != ''"),
}  # fmt: skip
SHELL = {  # what is typed, and what must be there or be said afterwards
    "python -m emeraldcut --version": "emeraldcut",
    "emeraldcut measure --help": "examples:",
    "emeraldcut measure cutouts -o shapes.csv": "shapes.csv",
    "emeraldcut measure pictures/*.jpg -o of_pictures.csv": "of_pictures.csv",
    "emeraldcut measure cutouts/0.fits cutouts/1.fits -o two.ecsv": "two.ecsv",
    "emeraldcut measure files.csv -o listed.parquet": "listed.parquet",
    "emeraldcut classify pictures -o classes.csv": "classes.csv",
    "emeraldcut screen cutouts --prevalence 0.02 -o run": "Best candidates",
    "emeraldcut screen mosaic.fits -o of_mosaic": "of_mosaic/report.html",
    "emeraldcut synthesize --number 4 -o set": "set/manifest.json",
    "emeraldcut report shapes.csv": "shapes.report.html",
    "emeraldcut review files.csv --classes spiral,ring,other --static -o page": "page/index.html",
    "emeraldcut convert cutouts --to moc -o area.fits": "area.fits",
    "emeraldcut convert shapes.csv -o shapes.reg": "shapes.reg",
    "emeraldcut convert shapes.csv --to hats -o catalogue": "catalogue/hats.properties",
}


def write_inputs(folder: Path) -> None:
    """Small images in the forms that people have."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    images = []
    for k in range(6):
        exponent = (2, 4)[k % 2]
        radius = (np.abs(x / 9) ** exponent + np.abs(y / 6) ** exponent) ** (1 / exponent)
        images.append(60 * np.exp(-1.7 * radius) + rng.normal(size=radius.shape))
    images = np.array(images, np.float32)
    np.save(folder / "galaxies.npy", images)
    for name in ("cutouts", "pictures"):
        (folder / name).mkdir()
    for k, image in enumerate(images):
        fits.writeto(folder / "cutouts" / f"{k}.fits", image, sky((SIDE, SIDE), 10.0 + 0.01 * k))
    for k in range(3):
        grey = np.clip(10 + 3 * images[k], 0, 255)
        colour = np.stack([grey, 0.8 * grey, 0.5 * grey], axis=-1).astype(np.uint8)
        Image.fromarray(colour).save(folder / "pictures" / f"{k}.jpg", quality=95)
    Table({"file": [f"pictures/{k}.jpg" for k in range(3)]}).write(folder / "files.csv")
    mosaic = rng.normal(size=(1200, 1200)).astype(np.float32)
    for k in range(12):
        row, column = divmod(k, 4)
        mosaic[200 + 300 * row :, 150 + 250 * column :][:SIDE, :SIDE] += images[k % 6]
    fits.writeto(folder / "mosaic.fits", mosaic, sky(mosaic.shape, 150.0))


def sky(shape: tuple[int, int], ra: float) -> fits.Header:
    """A header with a tangential projection around the middle of an image (ny, nx)."""
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": 2.0, "CDELT1": -1e-4, "CDELT2": 1e-4}
    return fits.Header(cards | {"CRPIX1": (shape[1] + 1) / 2, "CRPIX2": (shape[0] + 1) / 2})


def tried_in_python(checkout: Path, folder: Path) -> dict[str, str]:
    """What became of each attempt: "works", or the first line of the error."""
    program = BEGIN
    for name, (code, check) in PYTHON.items():
        code = code.replace("\n", "\n    ")
        program += (
            f"\ntry:\n    {code}\n    said = 'works' if {check} else 'gives something else'\n"
            "except BaseException as error:\n"
            "    said = f'{type(error).__name__}: {error}'.split(chr(10))[0][:90]\n"
            f"print('@' + json.dumps([{name!r}, said]), flush=True)\n"
        )
    done = run([sys.executable, "-c", program], checkout, folder)
    told = [json.loads(line[1:]) for line in done.stdout.splitlines() if line.startswith("@")]
    return dict.fromkeys(PYTHON, (done.stderr.strip().splitlines() or ["ended"])[-1][:90]) | dict(told)


def tried_in_shell(checkout: Path, folder: Path) -> dict[str, str]:
    """The same of the shell."""
    command = f'{sys.executable} -c "import sys; from emeraldcut.cli import main; sys.exit(main())"'
    found = {}
    for line, wanted in SHELL.items():
        typed = line.replace("python -m", f"{sys.executable} -m").replace("emeraldcut ", f"{command} ", 1)
        if line.startswith("python"):
            typed = line.replace("python", sys.executable, 1)
        done = run(["bash", "-c", typed], checkout, folder)
        there = wanted in done.stdout + done.stderr or (folder / wanted).exists()
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        found[line] = "works" if done.returncode == 0 and there else last.replace(sys.executable, "python")[:90]
    return found


def run(command: list[str], checkout: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program that uses this checkout, in a folder."""
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([str(checkout / "src"), *(one for one in others if one and not one.endswith("src"))])
    environment = os.environ | {"PYTHONPATH": path}
    try:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no end within {LIMIT_S} s")


def main() -> None:
    parser = record.parser(__doc__, "only the attempts in Python")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout of an earlier state")
    arguments = parser.parse_args()
    states = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    ways = {"python": tried_in_python} | ({} if arguments.quick else {"shell": tried_in_shell})
    figures: dict[str, object] = {}
    failed: list[str] = []
    attempts: dict[str, dict[str, dict[str, str]]] = {}
    for way, tried in ways.items():
        found = {}
        for state, checkout in states.items():
            with tempfile.TemporaryDirectory() as name:
                write_inputs(Path(name))
                found[state] = tried(checkout, Path(name))
            works = sum(said == "works" for said in found[state].values())
            figures[way if state == "now" else f"{way}_{state}"] = [works, len(found[state])]
        print(f"| {way} | {' | '.join(reversed(states))} |\n|---|{'---|' * len(states)}")
        for attempt, said in found["now"].items():
            print(f"| `{attempt}` | {' | '.join(found[state][attempt] for state in reversed(states))} |")
            failed += [attempt] if said != "works" else []
        attempts[way] = {name: {state: found[state][name] for state in states} for name in found["now"]}
    record.finish("first_attempts", figures | {"failed": failed, "attempts": attempts}, arguments)


if __name__ == "__main__":
    main()
