"""How commands begin and end: closed streams, readers that go, Ctrl-C anywhere, containers, scripts without a guard."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import ROOT, tan_wcs

MAIN = "import sys; from emeraldcut.cli import main; sys.exit(main())"
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def shell(line, cwd, **more):
    """The exit status, standard output and error of a line of the shell, in which `emeraldcut` is this program."""
    line = line.replace("emeraldcut", f"{sys.executable} -c '{MAIN}'")
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=cwd, capture_output=True, text=True,
                          env=ENVIRONMENT, timeout=300, **more)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text("id,x\na,1\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(table, closed):
    status, _, error = shell(f"emeraldcut convert t.csv -o u.parquet {closed}", table)
    assert status == 0 and error == "" and (table / "u.parquet").stat().st_size > 100
    status, _, error = shell(f"emeraldcut convert nothing.csv -o v.parquet {closed}", table)
    assert status == 2 and len(error.splitlines()) == ("2>" not in closed) and not (table / "v.parquet").exists()


@pytest.mark.slow
def test_readers_that_go(table):
    for words in ("--help", "screen --help", "--version", "convert t.csv -o u.csv"):
        status, _, error = shell(f"emeraldcut {words} | true", table)
        assert (status, error) == (0, ""), words
    assert (table / "u.csv").exists()
    status, _, _ = shell("emeraldcut convert nothing.csv -o v.csv 2>&1 >/dev/null | true", table)
    assert status == 2


def test_names_that_are_not_utf8_are_printed_as_they_are(table):
    name = os.fsdecode(b"caf\xe9.csv")
    line = [sys.executable, "-c", MAIN, "convert", "t.csv", "-o", name]
    done = subprocess.run(line, cwd=table, capture_output=True, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"caf\xe9.csv\n", b"")


# --- containers

IN_A_CONTAINER = """
import os, sys
if {other!r}:
    os.setgroups([]); os.setgid(54321); os.setuid(54321)
for name in {unset!r}:
    os.environ.pop(name, None)
os.environ.update({given!r})
from emeraldcut.cli import main
sys.exit(main(["measure", "images.npy", "-o", "out/t.csv", "--quiet"]))
"""


def for_all_users(path):
    """Whether every user may read what is at a path."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (path, *path.parents))


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/", "/proc/nothing"])
@pytest.mark.parametrize("temporary", ["/proc/nothing", None])
def test_starts_in_a_container(tmp_path, home, temporary):
    """Without a home or a place for temporary files; where that can be tried, as a user without a name."""
    from emeraldcut.numerics.jit import cache_folder

    programs = (Path(sys.base_prefix), Path(np.__file__).parent, ROOT, tmp_path)
    other = hasattr(os, "getuid") and os.getuid() == 0 and all(map(for_all_users, programs))
    y, x = np.mgrid[:48, :48] - 24
    noise = np.random.default_rng(0).normal(size=(2, 48, 48))
    np.save(tmp_path / "images.npy", (noise + 300 * np.exp(-np.hypot(x, 1.5 * y) / 4)).astype(np.float32))
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    given = {"EMERALDCUT_CACHE_DIR": str(cache_folder())} | ({"HOME": home} if home else {})
    given |= {"TMPDIR": temporary} if temporary else {}
    unset = [
        name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "USER", "LOGNAME") if name not in given
    ]
    code = IN_A_CONTAINER.format(unset=unset, given=given, other=other)
    line = [sys.executable, "-B", "-c", code]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == "out/t.csv\n"
    assert len((tmp_path / "out" / "t.csv").read_text().splitlines()) >= 3


def test_a_source_of_the_future_is_compiled_once(tmp_path, monkeypatch):
    """What is kept depends on the content of the sources, not on their dates."""
    from emeraldcut.numerics import jit

    jit._key.cache_clear()
    before = jit._key()
    source = jit.hashed()[0]
    old = source.stat()
    try:
        os.utime(source, ns=(old.st_atime_ns, time.time_ns() + 10**17))
        jit._key.cache_clear()
        assert jit._key() == before
    finally:
        os.utime(source, ns=(old.st_atime_ns, old.st_mtime_ns))
        jit._key.cache_clear()


# --- Ctrl-C

WORK = {
    "measure": "measure images -o t.parquet",
    "measure, 2 workers": "measure images -o t.parquet -j 2",
    "screen": "screen images -o run",
    "detect": "detect mosaic.fits -o t.parquet --part-pix 128",
    "simulate": "simulate -o run --mass-ratios 1 --orbits 1 --duration-gyr 1 --halo-particles 1000 "
    "--star-particles 800 --separation 10 --no-control",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WORK)
def test_ctrl_c_is_one_line_wherever_it_comes(tmp_path, what):
    """At several moments, of which many are inside compiled functions; then the same command resumes."""
    from astropy.io import fits

    from emeraldcut.galaxies import SynthesiseSettings, synthesise
    from emeraldcut.images import write_images

    if what == "detect":
        field = np.random.default_rng(0).normal(size=(3000, 3000)).astype(np.float32)
        fits.PrimaryHDU(field, tan_wcs(field.shape).to_header()).writeto(tmp_path / "mosaic.fits")
    elif what != "simulate":
        write_images(synthesise(SynthesiseSettings(number=600), seed=1), tmp_path / "images", command="synthesise")
    line = [sys.executable, "-c", "print('begun', flush=True); " + MAIN, *WORK[what].split(), "--quiet"]
    rng = np.random.default_rng(1)
    ended = 0
    for _ in range(4):
        process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=ENVIRONMENT, start_new_session=True)  # fmt: skip
        process.stdout.readline()
        while not list(tmp_path.glob("run*")) + list(tmp_path.glob(".t*")) and what != "detect":
            time.sleep(0.05)
            if process.poll() is not None:
                break
        time.sleep(rng.uniform(0.3, 2.0) + 3.0 * (what == "detect"))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)  # as the terminal does: to workers too
        _, error = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        ended += 1
        assert process.returncode == 130, error
        assert error == f"emeraldcut {WORK[what].split()[0]}: interrupted; rerun the command to resume.\n"
    assert ended
    if what.startswith("measure"):
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 0 and (tmp_path / "t.parquet").exists()


def test_an_interrupt_that_is_swallowed_ends_the_work_all_the_same():
    from emeraldcut.runs import map_chunks
    from emeraldcut.runs.endings import interrupted, noticing_interrupts

    def swallows(chunk):
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        return chunk

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # libraries of other tests may have their own
    with noticing_interrupts():
        with pytest.raises(KeyboardInterrupt):
            list(map_chunks(swallows, [range(3), range(3)]))
        assert interrupted()
    with noticing_interrupts():
        assert not interrupted()
    signal.signal(signal.SIGINT, before)


# --- scripts

SCRIPT = """
import numpy as np
from emeraldcut.runs import map_chunks
{begin}
print(list(map_chunks(sum, [range(3), range(4)], jobs=2)))
"""
SCREENS = """
from emeraldcut.screening import screen_run
screen_run({source!r}, {output!r}, jobs=2)
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).normal(size=(3, 32, 32)))
    scripts = {
        "maps.py": SCRIPT.format(begin=""),
        "screens.py": SCREENS.format(source=str(tmp_path / "images.npy"), output=str(tmp_path / "run")),
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        done = subprocess.run([sys.executable, name], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 1 and "if __name__ == '__main__':" in last and "memory" not in done.stderr, (
            done.stderr
        )
        assert "bootstrapping" not in done.stderr
