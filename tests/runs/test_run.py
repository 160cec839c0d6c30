"""Run: a folder is finished when, and only when, its manifest is there."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

import emeraldcut
from emeraldcut.runs import Run, provenance, read_manifest
from emeraldcut.settings import Settings, build, setting


@dataclass(frozen=True, kw_only=True)
class SmallSettings(Settings):
    size: int = setting(64, "side in pixels")
    classes: tuple[str, ...] = setting(("oval", "other"), "classes")
    name: str | None = setting(None, "a name")


def test_run_from_start_to_finish(tmp_path):
    data = tmp_path / "input é.txt"
    data.write_bytes(b"abc")
    run = Run.start(tmp_path / "deep" / "run", "measure", SmallSettings(size=5), seed=7, inputs=[data])
    with pytest.raises(FileNotFoundError, match=r"is not a finished run \(no manifest\.json\)"):
        read_manifest(run.folder)
    run.path("figures/a.txt").write_text("x")
    run.finish(images=3, rate=1.5)
    manifest = read_manifest(run.folder)
    assert manifest["version"] == emeraldcut.__version__ and manifest["command"] == "measure"
    assert manifest["seed"] == 7 and manifest["settings.classes"] == ["oval", "other"]
    assert manifest["input_1_sha256"] == hashlib.sha256(b"abc").hexdigest() and manifest["input_1_bytes"] == 3
    assert manifest["images"] == 3 and manifest["wall_seconds"] >= 0 and manifest["cpu_seconds"] >= 0
    import tomllib

    resolved = tomllib.loads((run.folder / "settings.toml").read_text())
    assert build(SmallSettings, resolved) == SmallSettings(size=5)


def test_finished_run_is_not_overwritten_by_chance(tmp_path):
    Run.start(tmp_path, "a").finish()
    with pytest.raises(FileExistsError, match="--overwrite"):
        Run.start(tmp_path, "b")
    Run.start(tmp_path, "b", overwrite=True)
    assert not (tmp_path / "manifest.json").exists()  # cut short now, it must not pass for the old run
    Run.start(tmp_path, "c").finish()  # an unfinished run is simply done again
    assert read_manifest(tmp_path)["command"] == "c"
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        Run.start(tmp_path / "file", "d")


def test_provenance_of_folders_and_missing_inputs(tmp_path):
    for name in ("a.fits", "sub/b.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    facts = provenance("screen", None, None, [tmp_path, tmp_path / "gone"])
    listing = b"a.fits 4\nsub/b.fits 4"
    assert facts["input_1_files"] == 2
    assert facts["input_1_names_sizes_sha256"] == hashlib.sha256(listing).hexdigest()
    assert "No such file" in facts["input_2_error"]
    assert json.loads(json.dumps(facts)) == facts
    assert not any(isinstance(value, dict) for value in facts.values())


def test_manifest_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    run = Run.start(tmp_path / "run", "a")

    def breaks(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", breaks)
    with pytest.raises(OSError, match="disk full"):
        run.finish()
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_folder_is_for_one_run_at_a_time(tmp_path):
    code = f"from emeraldcut.runs import Run; r = Run.start({str(tmp_path)!r}, 'a'); print('on', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"on\n"
        for overwrite in (False, True):
            with pytest.raises(FileExistsError, match="another run is writing"):
                Run.start(tmp_path, "b", overwrite=overwrite)
    finally:
        other.kill()  # no chance to tidy up
        other.communicate()
    run = Run.start(tmp_path, "c")
    Run.start(tmp_path, "c")  # the same process may begin again, as after an error
    run.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_lock_that_is_removed_while_it_is_taken_is_taken_again(tmp_path, monkeypatch):
    """Whoever holds the folder removes the file after another process has opened it and before that locks it."""
    fcntl = pytest.importorskip("fcntl")
    locked, calls = fcntl.lockf, []

    def slow(file, how):
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()
        return locked(file, how)

    monkeypatch.setattr(fcntl, "lockf", slow)
    run = Run.start(tmp_path, "a")
    assert len(calls) == 2 and (tmp_path / ".lock").exists()
    code = f"from emeraldcut.runs import Run; Run.start({str(tmp_path)!r}, 'a')"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another run is writing" in other.stderr
    run.finish()
