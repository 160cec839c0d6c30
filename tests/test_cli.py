"""The command line: what it prints, what it writes, how it ends."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

import emeraldcut
from emeraldcut import cli
from emeraldcut.errors import MissingPackageError, UsageError, WorkError
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import NoImagesError, read_images
from emeraldcut.runs import read_manifest
from emeraldcut.tables import read_table
from tests.helpers import run


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A small labelled set, made by the command itself."""
    folder = tmp_path_factory.mktemp("cli") / "set"
    assert cli.main(["synthesise", "--number", "12", "--snr-min", "60", "--output", str(folder), "--seed", "3"]) == 0
    return folder


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_the_common_flags(name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert all(flag in text for flag in ("--output", "--seed", "--jobs", "--overwrite", "--quiet", "--settings"))


def test_measure_writes_one_row_per_image_and_prints_the_path(pool, tmp_path, capsys):
    path = tmp_path / "shapes.ecsv"
    assert run(capsys, "measure", pool, "--output", path) == (0, str(path), "")
    table = read_table(path)
    assert len(table) == 12 and "a4_err" in table.colnames
    assert table.meta["provenance"]["command"] == "measure"


@pytest.mark.slow
def test_workers_do_not_change_the_result(pool, tmp_path, capsys):
    for jobs in (1, 2):
        assert run(capsys, "measure", pool, "-o", tmp_path / f"{jobs}.parquet", "-j", jobs)[0] == 0
    one, two = (read_table(tmp_path / f"{jobs}.parquet") for jobs in (1, 2))
    assert list(one["id"]) == list(two["id"])
    np.testing.assert_array_equal(np.ma.filled(one["a4"], 9), np.ma.filled(two["a4"], 9))


def test_same_seed_same_set(pool, tmp_path, capsys):
    again, other = tmp_path / "again", tmp_path / "other"
    for folder, seed, jobs in ((again, 3, 2), (other, 4, 1)):
        words = ("synthesise", "--number", 12, "--snr-min", 60, "--output", folder, "--seed", seed, "-j", jobs)
        assert run(capsys, *words)[0] == 0
    first, second, third = (np.stack(read_images(f).pixels) for f in (pool, again, other))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_an_existing_output_is_kept_unless_told(pool, tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text("mine")
    code, _out, err = run(capsys, "measure", pool, "-o", path)
    assert code == 2 and "--overwrite" in err and path.read_text() == "mine"
    assert run(capsys, "measure", pool, "-o", path, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["measure", "{empty}", "-o", "{tmp}/t.csv"], 1, "no image"),
        (["measure", "{broken}", "-o", "{tmp}/t.csv"], 1, "none of the 1 images can be used"),
        (["measure", "{tmp}/nowhere", "-o", "{tmp}/t.csv"], 2, "no file or folder"),
        (["measure", "{pool}", "-o", "{tmp}/t.xyz"], 2, ".parquet"),
        (["compare", "{pool}", "-o", "{tmp}/t.csv", "--method", "hashing"], 2, "frame, cosine, sift"),
        (["measure", "{pool}", "-o", "{tmp}/t.csv", "--inner-radius", "wide"], 2, "a finite number; received 'wide'"),
        (["measure", "{pool}", "-o", "{tmp}/t.csv", "--settings", "{toml}"], 2, "unknown setting 'inner'"),
        (["measure", "{pool}", "-o", "{tmp}/t.csv", "-j", "0"], 2, "--jobs"),
        (["measure", "{pool}", "-o", "{tmp}/t.csv", "--inner-radius", "nan"], 2, "expects a finite number"),
        (["measure", "{pool}", "-o", "{tmp}/t.csv", "--inner-radius", "3"], 2, "inner_radius < outer_radius"),
        (["measure", "{pool}", "-o", "{tmp}/t.csv", "--limit", "inf"], 2, "'limit' expects a whole number"),
        (["measure", "{pool}", "-o", "{tmp}/t.out"], 2, "only `classify` makes"),
        (["synthesise", "--number", "0", "-o", "{tmp}/s"], 2, "'number' must be from 1 to 100,000,000; received 0"),
        (["classify", "{pool}", "-o", "{tmp}/t.csv", "--network", "{empty}"], 2, "weights"),
    ],
)
def test_wrong_input_gets_one_sentence(words, code, said, pool, tmp_path, capsys):
    places = {
        "tmp": tmp_path,
        "pool": pool,
        "empty": tmp_path / "empty",
        "broken": tmp_path / "broken.fits",
        "toml": tmp_path / "s.toml",
    }
    places["empty"].mkdir()
    places["broken"].write_bytes(b"not an image")
    places["toml"].write_text("inner = 2\n")
    result = run(capsys, *[w.format(**places) for w in words])
    assert result[0] == code and said in result[2] and result[1] == ""
    assert len(result[2].splitlines()) == 1


def test_settings_from_a_file_and_flags_win(pool, tmp_path, capsys):
    (tmp_path / "s.toml").write_text("method = 'cosine'\n")
    words = ("compare", pool, "--settings", tmp_path / "s.toml")
    assert run(capsys, *words, "-o", tmp_path / "a.ecsv")[0] == 0
    assert run(capsys, *words, "--method", "sift", "-o", tmp_path / "b.ecsv")[0] == 0
    found = [read_table(tmp_path / f"{n}.ecsv").meta["provenance"]["settings.method"] for n in "ab"]
    assert found == ["cosine", "sift"]


def test_classify_writes_the_thesis_format(pool, tmp_path, capsys):
    path = tmp_path / "test21.out"
    assert run(capsys, "classify", pool, "-o", path)[0] == 0
    lines = path.read_text().split("\n")
    assert int(lines[0]) == 12
    for line in lines[1:13]:
        kind, *p = line.split()
        assert int(kind) == np.argmax([float(v) for v in p]) + 1
        assert sum(map(float, p)) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_screen_ranks_everything_and_writes_a_report(pool, tmp_path, capsys):
    folder = tmp_path / "run"
    code, out, err = run(capsys, "screen", pool, "--output", folder, "--prevalence", "0.05")
    assert (code, out, err) == (0, str(folder / "report.html"), "")
    table = read_table(folder / "candidates.parquet")
    assert sorted(table["id"]) == sorted(read_table(pool / "table.parquet")["id"])
    assert list(table["rank"]) == list(range(1, 13))
    assert np.all(np.diff(np.ma.filled(table["score"], -1)) <= 0)
    assert (folder / "candidates.ecsv").exists() and (folder / "figures" / "best.png").exists()
    manifest = read_manifest(folder)
    assert manifest["images"] == 12 and manifest["settings.prevalence"] == 0.05
    assert run(capsys, "screen", pool, "--output", folder)[0] == 2  # a finished run is not replaced


def broken(arguments, settings):
    return np.zeros(2) + np.zeros(3)


def test_a_bug_is_not_called_wrong_usage(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "measure", replace(cli.COMMANDS["measure"], run=broken))
    words = ("measure", tmp_path, "-o", tmp_path / "t.csv")
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert "unexpected error (ValueError: operands could not be broadcast" in err
    assert "run the command again with --traceback, and report it" in err
    code, out, err = run(capsys, *words, "--traceback")
    assert (code, out) == (1, "") and "Traceback (most recent call last)" in err and "in broken" in err


def test_the_traceback_of_an_expected_error(tmp_path, capsys):
    code, _, err = run(capsys, "measure", tmp_path / "nowhere", "-o", tmp_path / "t.csv", "--traceback")
    assert code == 2 and "in open_images" in err and err.splitlines()[-1].startswith("emeraldcut measure: there is no")


@pytest.mark.parametrize(
    "error, code, said",
    [
        (UsageError("a is b."), 2, "a is b."),
        (NoImagesError("nothing."), 1, "nothing."),
        (WorkError("a worker died."), 1, "a worker died."),
        (MissingPackageError("pip install it."), 2, "pip install it."),
        (FileNotFoundError(2, "No such file or directory", "x.fits"), 2, "'x.fits': No such file or directory."),
        (ConnectionError("no answer."), 1, "no answer."),
        (OSError(28, "No space left on device", "x"), 1, "is full; make room, then rerun the command to resume."),
        (MemoryError(), 1, "there is not enough memory; use fewer --jobs, or smaller images."),
        (KeyError("a"), 1, "unexpected error (KeyError: 'a')."),
        (RuntimeError(), 1, "unexpected error (RuntimeError)."),
        (KeyboardInterrupt(), 130, "interrupted; rerun the command to resume."),
    ],
)
def test_each_kind_of_error_has_its_status(error, code, said, tmp_path, capsys, monkeypatch):
    def fails(arguments, settings):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "measure", replace(cli.COMMANDS["measure"], run=fails))
    found = run(capsys, "measure", tmp_path, "-o", tmp_path / "t.csv")
    assert found[0] == code and said in found[2] and len(found[2].splitlines()) == 1


@pytest.mark.parametrize("name, kind", [("study", "run, preset"), ("simulate", "preset")])
def test_a_name_that_does_not_exist(name, kind, tmp_path, capsys):
    code, _, err = run(capsys, name, "nothere", "-o", tmp_path / "out")
    assert code == 2 and f"no {kind} or TOML file named 'nothere'; presets are" in err
    code, _, err = run(capsys, "measure", tmp_path, "-o", tmp_path / "t.csv", "--settings", "nothere")
    assert code == 2 and "no TOML file named 'nothere'" in err


def test_both_spellings(tmp_path, capsys):
    import emeraldcut

    assert emeraldcut.synthesize is emeraldcut.synthesise
    assert run(capsys, "synthesize", "--number", 1, "-o", tmp_path / "set") == (0, str(tmp_path / "set"), "")
    assert read_manifest(tmp_path / "set")["command"] == "synthesise"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_says_where_a_seed_matters(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    random = name in ("demo", "synthesise", "simulate", "observe", "train", "completeness", "study", "search", "review")
    assert ("seed of everything random" in text, "has no effect: nothing is random in this command" in text) == (
        random,
        not random,
    )


def test_the_program_starts_from_the_shell():
    done = subprocess.run(
        [sys.executable, "-m", "emeraldcut.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("emeraldcut ")


def test_importing_the_package_is_light():
    code = "import sys, json, emeraldcut; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert not {"numpy", "astropy", "scipy", "keras", "openvino", "matplotlib"} & set(loaded)


def test_only_broken_images_give_a_run_that_says_so(tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "empty.fits").write_bytes(b"")
    code, _, err = run(capsys, "screen", tmp_path / "bad", "-o", tmp_path / "run")
    assert code == 1 and "none of the 1 images" in err
    assert read_table(tmp_path / "run" / "candidates.ecsv")["flag"][0] == 1


@pytest.mark.slow
def test_results_beside_the_images_are_not_images(tmp_path, capsys):
    from astropy.io import fits

    from emeraldcut.galaxies import leda074886

    for name in "ab":
        fits.PrimaryHDU(leda074886(size=64)).writeto(tmp_path / f"{name}.fits")
    for _ in range(2):
        assert run(capsys, "screen", tmp_path, "-o", tmp_path / "run", "--overwrite")[0] == 0
        assert len(read_table(tmp_path / "run" / "candidates.parquet")) == 2
    assert run(capsys, "screen", tmp_path, "-o", tmp_path)[0] == 2  # nor are they written over the images


def test_columns_of_the_user_survive(tmp_path, capsys):
    from astropy.io import fits

    from emeraldcut.galaxies import leda074886

    fits.PrimaryHDU(leda074886(size=64)).writeto(tmp_path / "g.fits")
    (tmp_path / "list.csv").write_text("file,id,ra,dec,snr,my note,psf_fwhm_pix\ng.fits,NGC 1,10.5,-3,7.5,nice,oops\n")
    assert run(capsys, "measure", tmp_path / "list.csv", "-o", tmp_path / "t.ecsv")[0] == 0
    row = read_table(tmp_path / "t.ecsv")[0]
    assert (row["id"], row["ra"], row["dec"], row["input_snr"], row["my note"]) == ("NGC 1", 10.5, -3, 7.5, "nice")
    assert row["snr"] > 100


@pytest.mark.slow
def test_the_report_can_be_written_again(pool, tmp_path, capsys):
    assert run(capsys, "screen", pool, "--output", tmp_path / "run")[0] == 0
    (tmp_path / "run" / "report.html").unlink()
    assert run(capsys, "report", tmp_path / "run")[:2] == (0, str(tmp_path / "run" / "report.html"))
    assert (tmp_path / "run" / "report.html").exists()
    assert run(capsys, "report", tmp_path)[0] == 2


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_ends_with_examples_that_the_command_understands(name):
    command = cli.COMMANDS[name]
    parser = cli.command_parser(name, command, [cli.load(cls) for cls in command.settings])
    assert command.examples and "examples:" in parser.format_help()
    for line in command.examples:
        first, *words = shlex.split(line)
        assert first == name
        parser.parse_args(words)


def test_every_command_is_in_one_group():
    grouped = [name for names in cli.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(cli.COMMANDS)


def test_version_names_what_results_depend_on(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0 and lines[0] == f"emeraldcut {emeraldcut.__version__}"
    assert {"python", "numpy", "astropy", "openvino"} <= {line.split()[0] for line in lines}


def test_several_images_are_the_files_of_their_folder(tmp_path, capsys):
    images = synthesise(SynthesiseSettings(number=3, size=32), seed=4).pixels
    (tmp_path / "deep").mkdir()
    names = ["a.fits", "b.fits", "deep/c.fits", "a.weight.fits"]
    for name, pixels in zip(names, [*images, np.ones((32, 32))], strict=True):
        fits.writeto(tmp_path / name, np.asarray(pixels))
    fits.writeto(tmp_path / "other.fits", np.asarray(images[0]))
    given = [str(tmp_path / name) for name in names]
    assert cli.main(["measure", *given, "--output", str(tmp_path / "t.parquet")]) == 0
    table = read_table(tmp_path / "t.parquet")
    assert table["id"].tolist() == ["a", "b", "deep/c"]  # a weight map is no galaxy
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "t.parquet") and "3 images" in said.err and "Done in" in said.err
    assert cli.main(["measure", given[0], str(tmp_path), "--output", str(tmp_path / "u.parquet")]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert cli.main(["measure", given[0], "none.fits", "--output", str(tmp_path / "u.parquet")]) == 2
    assert "'none.fits' is not there" in capsys.readouterr().err
    only = ["measure", str(tmp_path), "--only", "*b.fits", "--quiet", "--output", str(tmp_path / "v.parquet")]
    assert cli.main(only) == 0 and read_table(tmp_path / "v.parquet")["id"].tolist() == ["b"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seed", ["-1", "x", "1.5"])
def test_a_seed_that_is_none_is_wrong_usage(seed, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["synthesise", "--seed", seed, "-o", str(tmp_path / "set")])
    assert ended.value.code == 2 and "at least 0; received" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["measure", "classify", "compare", "screen", "detect", "clean"])
def test_no_name_is_not_the_folder_where_the_program_runs(command, tmp_path, capsys, monkeypatch):
    field = np.random.default_rng(0).normal(size=(1200, 1200)).astype(np.float32)
    np.save(tmp_path / "mosaic.npy", field)  # which would be searched
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, "", "-o", "out.parquet"]) == 2
    assert capsys.readouterr().err == f"emeraldcut {command}: there is no file or folder '' to read images from.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.npy"]


def test_no_name_is_not_that_folder_in_python_either(tmp_path, monkeypatch):
    np.save(tmp_path / "mosaic.npy", np.random.default_rng(0).normal(size=(1200, 1200)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file or folder ''"):
        emeraldcut.measure("", output="out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["mosaic.npy"]
