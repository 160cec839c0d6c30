"""Compiling ahead: the cache, who compiles, what happens where nothing can be kept."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emeraldcut.camera.camera import camera_example
from emeraldcut.camera.particle_isophote import particle_isophote_example
from emeraldcut.cli import COMMANDS, command_parser, load, main
from emeraldcut.frame.ellipse_fit import fit_example
from emeraldcut.frame.frame import frame_example, maps_example
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.isophotes.isophote_fit import rings_example
from emeraldcut.isophotes.measure import measure_example
from emeraldcut.isophotes.zones import zones_example
from emeraldcut.nbody.gravity import direct_example, tree_example
from emeraldcut.nbody.leapfrog import step_example
from emeraldcut.nbody.sph import flow_example
from emeraldcut.networks.classify import classify_example
from emeraldcut.numerics import jit

EXAMPLES = (quick_shape_example, fit_example, frame_example, maps_example, measure_example, rings_example,
            zones_example, classify_example, camera_example, particle_isophote_example, tree_example, direct_example,
            step_example, flow_example)  # fmt: skip
# A module with one small function, so that tests compile in a second.
MODULE = """
import os, sys, time
import numpy as np
from emeraldcut.numerics.jit import compile_ahead, compiled
NUMBER = 1
@compiled
def total(values):
    s = np.float32(0)
    for value in values:
        s += value
    return s
def call():
    return total(np.ones(9, np.float32))
def example():
    open(f"{os.environ['SEEN']}/{os.getpid()}", "w").close()
    time.sleep(float(os.environ.get("SECONDS", "0")))
    call()
def broken():
    raise ValueError("no such thing")
def listen():
    from numba.core import event
    from contextlib import ExitStack
    class Listener(event.Listener):
        def on_start(self, e):
            print("compiles", e.data["dispatcher"].py_func.__name__)
        def on_end(self, e):
            pass
    event.register("numba:compile", Listener())
"""
USE = "import small; small.listen(); small.compile_ahead('test', small.example); print(small.call())"


class Place:
    """A cache, a module of compiled code, and processes that use both."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.seen = folder / "cache", folder / "seen"
        self.seen.mkdir()
        self.module = folder / "small.py"
        self.module.write_text(MODULE)
        free = {name: value for name, value in os.environ.items() if name not in (jit.AHEAD, "EMERALDCUT_CACHE_DIR")}
        paths = os.pathsep.join([str(folder), str(jit.PACKAGE.parent)])
        self.environment = free | {
            "PYTHONPATH": paths, "SEEN": str(self.seen), "EMERALDCUT_CACHE_DIR": str(self.cache)
        }  # fmt: skip

    def start(self, program: str = USE, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", program], env=self.environment | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, program: str = USE, **environment: str) -> tuple[str, str]:
        process = self.start(program, **environment)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out, err

    def compilers(self) -> list[int]:
        return [int(path.name) for path in self.seen.iterdir()]

    def keys(self) -> list[Path]:
        return list(self.cache.iterdir())

    def wait_for_compiler(self, process: subprocess.Popen) -> int:
        while not self.compilers() and process.poll() is None:
            time.sleep(0.02)
        return self.compilers()[0]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.mark.slow
def test_one_process_compiles_and_all_load(place):
    for _ in range(2):
        assert place.run() == ("9.0\n", "")
    assert len(place.compilers()) == 1
    (key,) = place.keys()
    assert (key / "small.example").is_dir() and not list(key.glob("*.new-*"))


@pytest.mark.slow
def test_the_time_of_a_source_does_not_matter(place):
    """Nor where it lies: wheels, and checkouts, have files of any date."""
    place.run()
    os.utime(place.module, (2e9, 2e9))
    place.run()
    assert len(place.compilers()) == 1


@pytest.mark.slow
def test_other_sources_and_other_processors_have_folders_of_their_own(place, tmp_path):
    shutil.copytree(jit.PACKAGE, tmp_path / "emeraldcut", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    path = os.pathsep.join([str(tmp_path), str(tmp_path)])
    place.run(PYTHONPATH=path)
    with (tmp_path / "emeraldcut" / "report" / "html.py").open("a") as file:
        file.write("# above all compiled code\n")
    place.run(PYTHONPATH=path)
    assert len(place.keys()) == 1
    with (tmp_path / "emeraldcut" / "numerics" / "linalg.py").open("a") as file:
        file.write("# changed\n")
    place.run(PYTHONPATH=path)
    assert len(place.keys()) == 2
    place.run(PYTHONPATH=path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert len(place.keys()) == 3 and len(place.compilers()) == 3


def _source(module: str, name: str) -> Path:
    """The file in which a name that is imported from `module` stands."""
    path = jit.PACKAGE.parent / module.replace(".", "/")
    if not path.is_dir():
        return path.with_suffix(".py")
    if (path / f"{name}.py").exists():
        return path / f"{name}.py"
    for node in ast.parse((path / "__init__.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return _source(node.module, name)
    return path / "__init__.py"


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _known_to(path: Path, names: set[str], seen: set[tuple[Path, str]]) -> set[Path]:
    """The files of the package from which these names of a module come, and what their values are made of."""
    files = {path}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emeraldcut"):
            used = [(_source(node.module, a.name), a.name) for a in node.names if (a.asname or a.name) in names]
        elif isinstance(node, ast.Assign) and names & {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}:
            used = [(path, name) for name in _names(node.value)]
        else:
            continue
        for file, name in used:
            if (file, name) not in seen:
                seen.add((file, name))
                files |= _known_to(file, {name}, seen)
    return files


@pytest.mark.slow
def test_the_key_holds_all_that_machine_code_depends_on():
    """Files with compiled functions or examples, and those of the constants that compiled functions know."""
    kinds, needed = {"compiled", "part", "kernel", "register_jitable"}, set()
    for path in jit.PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                if kinds & {name for decorator in node.decorator_list for name in _names(decorator)}:
                    body = set().union(*(_names(statement) for statement in node.body))
                    needed |= _known_to(path, body, set())
                elif node.name.endswith("_example"):
                    needed.add(path)
    assert needed - set(jit.hashed()) == set()
    assert jit.PACKAGE / "data" / "flags.py" in needed and jit.PACKAGE / "numerics" / "median.py" in needed


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"EMERALDCUT_CACHE_DIR": "{module}/cache", "HOME": "/nonexistent", "TMPDIR": "/nonexistent"},
        {"EMERALDCUT_CACHE_DIR": "", "XDG_CACHE_HOME": "", "LOCALAPPDATA": "", "HOME": "/proc/nonexistent"},
        {"EMERALDCUT_CACHE_DIR": "", "XDG_CACHE_HOME": "", "LOCALAPPDATA": "", "HOME": "nowhere"},
    ],
    ids=["below a file", "no home", "a home that is no path"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the homes are those of Linux")
def test_where_nothing_can_be_kept_one_sentence_says_so(place, environment):
    given = {name: value.format(module=place.module) for name, value in environment.items()}
    out, err = place.run(USE + "; small.compile_ahead('test', small.broken); small.call()", **given)
    assert out == "compiles total\n9.0\n" and not place.compilers()
    assert re.fullmatch(r"emeraldcut: .*each start compiles again.*EMERALDCUT_CACHE_DIR\.\n", err)


@pytest.mark.slow
def test_what_others_compiled_is_read_where_nothing_can_be_written(place):
    """As root one may write anywhere, so the system is told that one may not."""
    place.run()
    forbid = """
import os, pathlib
def no(*arguments, **keywords):
    raise PermissionError(13, "Permission denied")
def read_only(path, mode="r", *arguments, real=pathlib.Path.open, **keywords):
    return no() if "w" in mode else real(path, mode, *arguments, **keywords)
os.utime = os.mkdir = pathlib.Path.mkdir = no
pathlib.Path.open = read_only
"""
    assert place.run(forbid + USE) == ("9.0\n", "")
    assert len(place.compilers()) == 1
    more = "; small.compile_ahead('test', small.broken, small.listen)"  # which nobody compiled
    out, err = place.run(forbid + USE + more)
    assert out == "9.0\n" and err.count("\n") == 1 and "cannot be written (Permission denied)" in err


@pytest.mark.slow
def test_an_example_that_fails_says_why(place):
    out, err = place.run("import small; small.compile_ahead('test', small.broken); print(small.call())")
    assert out == "9.0\n"
    assert re.search(r"UserWarning: 'small.broken' could not be compiled ahead; .* ValueError: no such thing", err)


def test_a_process_that_ends_before_it_begins_is_not_started_for_ever(place):
    """Such as one that the system does not let start."""
    program = "import sys, small; sys.executable = '/bin/false'; small.compile_ahead('test', small.example)"
    _, err = place.run(program)
    assert re.search(r"UserWarning: 'small.example' could not be compiled ahead; .* exit status 1", err)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of this kind")
def test_of_processes_that_start_together_one_compiles(place):
    """Nor does a process that was killed while it compiled keep the others waiting."""
    killed = place.start(SECONDS="100")
    compiler = place.wait_for_compiler(killed)
    killed.kill()
    killed.communicate()
    os.kill(compiler, signal.SIGKILL)
    others = [place.start(SECONDS="0.5") for _ in range(3)]
    assert [other.communicate(timeout=120) for other in others] == [("9.0\n", "")] * 3
    assert len(place.compilers()) == 2
    assert not list(place.keys()[0].glob("*.new-*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of this kind")
def test_whose_parent_was_killed_still_compiles_alone(place):
    killed = place.start(SECONDS="3")
    place.wait_for_compiler(killed)
    killed.kill()
    killed.communicate()
    began = time.monotonic()
    assert place.run(SECONDS="0") == ("9.0\n", "")
    assert time.monotonic() - began > 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_ctrl_c_leaves_nothing_behind(place):
    process = place.start(SECONDS="100")
    compiler = place.wait_for_compiler(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT and err.rstrip().endswith("KeyboardInterrupt")
    with pytest.raises(ProcessLookupError):
        os.kill(compiler, 0)
    (key,) = place.keys()
    assert not [path for path in key.iterdir() if path.is_dir()]


@pytest.mark.slow
def test_folders_that_were_not_used_for_long_are_removed_but_none_in_use(place):
    place.cache.mkdir()
    for k in range(jit.KEPT + 3):
        folder = place.cache / f"key{k}"
        folder.mkdir()
        os.utime(folder, (1000 + k, 1000 + k))
    used = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_SH); "
         "print(1, flush=True); sys.stdin.read()", place.cache / "key0" / "in_use.lock"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    used.stdout.readline()
    os.utime(place.cache / "key0", (1000, 1000))
    place.run("import emeraldcut.numerics.jit")  # nothing is deleted at import
    assert len(place.keys()) == jit.KEPT + 3
    place.run()
    used.communicate()
    left = {path.name for path in place.keys() if path.name.startswith("key")}  # noqa: SIM118  it is no dict
    assert left == {"key0", *(f"key{k}" for k in range(3, jit.KEPT + 3))}


def test_folders_that_were_used_a_moment_ago_stay(tmp_path, monkeypatch):
    """Several checkouts that are worked in keep what they have compiled. One that others remove is no error."""
    names = [f"key{k}" for k in range(jit.KEPT + 4)]
    for name in names:
        (tmp_path / name).mkdir()
    jit._prune(tmp_path / "own")
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names[:2]:
        os.utime(tmp_path / name, (1000, 1000))
    gone = tmp_path / "gone"
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([gone, *map(self.joinpath, names)]))
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    jit._prune(tmp_path / "own")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == names[2:]


def test_progress_is_shown_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show = jit._progress("measure", 2)
    for done in (0, 0, 1, 2):
        show(done)
    *lines, erased, nothing = capsys.readouterr().err.split("\r")[1:]
    assert lines == [f"Compiling for measure, once: {done} of 2 ..." for done in (0, 1, 2)]
    assert erased == " " * len(lines[-1]) and nothing == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [
        "emeraldcut.classify(images)",
        "emeraldcut.measure(images)",
        "emeraldcut.compare(images); emeraldcut.frame_galaxies(images).stamps",
        "emeraldcut.screen(images)",
    ],
)
def test_examples_compile_all_that_stages_need(stages):
    """What an example leaves out each process would compile for itself, again and again."""
    program = f"""
import numpy
from numba.core import event
import emeraldcut
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
class Listener(event.Listener):
    def on_start(self, e):
        print(e.data["dispatcher"].py_func.__qualname__, e.data["args"])
    def on_end(self, e):
        pass
event.register("numba:compile", Listener())
rng = numpy.random.default_rng(0)
light = [draw_galaxy(shapes.superellipse(q, 4), Sersic(1), radius_pix=8, psf_fwhm_pix=2) for q in (0.6, 0.98)]
pixels = [(i / i.max() * 200 + rng.normal(size=i.shape)).astype(numpy.float32) for i in light]
rows = [{{"id": name, "psf_fwhm_pix": 2.0}} for name in "ab"]
images = emeraldcut.ImageSet.from_rows(pixels, rows)
{stages}
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr + done.stdout


@pytest.mark.slow
def test_examples_compile_all_that_mergers_need():
    program = """
import numpy
from numba.core import event
from emeraldcut.nbody import EvolveSettings, Snapshot, evolve
from emeraldcut.camera import ObserveSettings, measure_remnant, observe
class Listener(event.Listener):
    def on_start(self, e):
        print(e.data["dispatcher"].py_func.__qualname__, e.data["args"])
    def on_end(self, e):
        pass
event.register("numba:compile", Listener())
rng, n = numpy.random.default_rng(0), 3000
position = (rng.normal(size=(n, 3)) * [3, 2, 1]).astype(numpy.float32)
kinds, galaxies = (numpy.arange(n) % 4).astype(numpy.int8), (numpy.arange(n) % 2).astype(numpy.int8)
about = {"softening_kpc": (1.0,) * 5, "sound_speed_km_s": 10.0}
snapshot = Snapshot(position, 0 * position, numpy.ones(n, numpy.float32), kinds, galaxies, about=about)
for engine in ("tree", "direct"):
    *_, (last, _) = evolve(snapshot, EvolveSettings(engine=engine), until_gyr=0.01)
observe(last, ObserveSettings(views=1))
measure_remnant([last], 1, seed=0)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr + done.stdout


def test_every_example_is_known_here():
    """Else a new one would not be looked at by those who read this list."""
    written = set()
    for path in jit.PACKAGE.rglob("*.py"):
        written |= set(re.findall(r"^def (\w+_example)\(", path.read_text(), re.MULTILINE))
    assert written == {example.__name__ for example in EXAMPLES}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help_does_not_depend_on_what_stands_in_for_packages(command, capsys):
    """It is made without astropy, numba and others, which take seconds to import, and says the same."""
    classes = [load(cls) for cls in COMMANDS[command].settings]
    expected = command_parser(command, COMMANDS[command], classes).format_help()
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out == expected
    program = (
        f"import sys; from emeraldcut.cli import main\ntry: main(['{command}', '--help'])\nexcept SystemExit: pass\n"
    )
    program += "print(sorted({'numba', 'astropy', 'scipy', 'emeraldcut.frame'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == expected + "[]\n"
