"""Work spread by Dask: the same results as on one core, whatever dies meanwhile."""

import os
import stat
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from unittest.mock import Mock, call

import numpy as np
import pytest

from emeraldcut import cli
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.images import ImageSource, read_images, write_images
from emeraldcut.mergers import SuiteSettings, simulate
from emeraldcut.nbody import EvolveSettings, read_snapshot
from emeraldcut.runs import map_chunks
from emeraldcut.screening import screen_run
from emeraldcut.search import read_rows, search
from emeraldcut.tables import read_table
from tests.search.test_search import FEW, TWO_FREE
from tests.search.toys import toy_remnant

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of Dask's own threads and sockets


def new_cluster(**options):
    import dask

    with dask.config.set({"distributed.scheduler.allowed-failures": 1, "distributed.comm.retry.count": 0}):
        return distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50, **options
        )


@pytest.fixture(scope="module")
def address():
    with new_cluster() as cluster:
        yield cluster.scheduler_address


def total(chunk):
    return sum(chunk)


def dies_once(chunk, marker):
    if 7 in chunk and not os.path.exists(marker):
        open(marker, "w").close()
        os._exit(9)
    return sum(chunk)


def always_dies(chunk):
    os._exit(9)


def fails(chunk):
    raise FileNotFoundError(2, "No such file or directory", "there.fits")


def slow(chunk):
    time.sleep(0.2)
    return chunk[0]


CHUNKS = [range(k, k + 3) for k in range(0, 60, 3)]
TRUTH = [sum(chunk) for chunk in CHUNKS]


def test_results_are_in_order_and_counted(address):
    progress = Mock()
    assert list(map_chunks(total, iter(CHUNKS), jobs=address, progress=progress)) == TRUTH
    assert progress.advance.mock_calls == [call(3)] * 20


def test_few_chunks_are_under_way(address):
    taken = []

    def counted():
        for chunk in CHUNKS:
            taken.append(chunk)
            yield chunk

    results = map_chunks(total, counted(), jobs=address)
    assert next(results) == TRUTH[0] and len(taken) <= 4
    results.close()


def test_a_worker_that_dies_is_made_good(address, tmp_path):
    stage = partial(dies_once, marker=str(tmp_path / "died"))
    assert list(map_chunks(stage, CHUNKS, jobs=address)) == TRUTH
    assert (tmp_path / "died").exists()


def test_what_always_kills_its_worker_is_a_sentence(address):
    with pytest.raises(RuntimeError, match="several workers died"):
        list(map_chunks(always_dies, CHUNKS[:1], jobs=address))


def test_errors_of_the_stage_are_its_own(address):
    with pytest.raises(FileNotFoundError, match=r"there\.fits"):
        list(map_chunks(fails, CHUNKS[:1], jobs=address))


def test_a_scheduler_that_is_lost_is_a_sentence():
    cluster = new_cluster()
    closing = threading.Timer(1.0, cluster.close)
    closing.start()
    with pytest.raises(ConnectionError, match="is lost"):
        list(map_chunks(slow, [[k] for k in range(100)], jobs=cluster.scheduler_address))
    closing.join()


def test_no_scheduler_or_no_workers(monkeypatch):
    monkeypatch.setattr("emeraldcut.runs.workers.CONNECT_S", 0.5)
    with pytest.raises(ConnectionError, match="no Dask scheduler answers"):
        list(map_chunks(total, CHUNKS, jobs="tcp://127.0.0.1:9"))
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at 'nonsense://x'"):
        list(map_chunks(total, CHUNKS, jobs="nonsense://x"))
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(ConnectionError, match="has no workers"),
    ):
        list(map_chunks(total, CHUNKS, jobs=cluster.scheduler_address))
    with pytest.raises(ValueError, match="one server"):
        list(map_chunks(total, CHUNKS, jobs="tcp://127.0.0.1:9", threads=True))


def test_commands_give_the_same_tables(address, tmp_path, capsys):
    for name, words in (("one", []), ("cluster", ["--cluster", address])):
        there = tmp_path / name
        there.mkdir()
        assert (
            cli.main(["synthesise", "--number", "24", "--size", "32", "-o", str(there / "set"), "--quiet", *words]) == 0
        )
        assert cli.main(["measure", str(there / "set"), "-o", str(there / "shapes.parquet"), "--quiet", *words]) == 0
    assert capsys.readouterr().err == ""
    sets = [read_images(tmp_path / name / "set") for name in ("one", "cluster")]
    np.testing.assert_array_equal(sets[0].pixels, sets[1].pixels)
    one, many = (read_table(tmp_path / name / "shapes.parquet") for name in ("one", "cluster"))
    assert one.colnames == many.colnames and list(one["id"]) == list(many["id"])
    for column in one.colnames:
        np.testing.assert_array_equal(np.ma.filled(one[column], 0), np.ma.filled(many[column], 0), err_msg=column)


def test_screen_gives_the_same_for_any_workers(address, tmp_path, monkeypatch):
    monkeypatch.setattr("emeraldcut.screening.two_passes.LEAST_CAREFUL", 20)
    chunks = ImageSource.chunks_after
    monkeypatch.setattr(ImageSource, "chunks_after", lambda images, done: chunks(images, done, 16))
    write_images(synthesise(SynthesiseSettings(number=80, size=48), seed=5), tmp_path / "set", command="synthesise")
    tables = []
    for jobs in (1, 2, 4, address):
        run = screen_run(tmp_path / "set", tmp_path / str(len(tables)), jobs=jobs)
        tables.append(read_table(run.path("candidates.parquet")))
    assert tables[0]["careful"].sum() == 20
    for other in tables[1:]:
        assert other.colnames == tables[0].colnames
        for name in other.colnames:
            one, many = (np.ma.filled(table[name], 0) for table in (tables[0], other))
            np.testing.assert_array_equal(one, many, err_msg=name)


def test_a_suite_of_mergers_has_the_same_particles(address, tmp_path):
    settings = SuiteSettings(mass_ratios=(1.0, 2.0), orbits=1, control=False, halo_particles=100, star_particles=200)
    settings = replace(settings, duration_gyr=0.004, separation=10.0)
    coarse = EvolveSettings(output_gyr=0.004, softening_kpc=(0.5, 0.3, 0.3, 0.3, 0.3))
    one, many = (
        read_table(simulate(tmp_path / name, settings, coarse, seed=4, jobs=jobs).path("suite.ecsv"))
        for name, jobs in (("one", 1), ("many", address))
    )
    assert list(one["merger"]) == list(many["merger"]) and list(one["steps"]) == list(many["steps"])
    snapshots = sorted((tmp_path / "one").glob("*/snapshot_*.hdf5"))
    assert len(snapshots) == 4
    for path in snapshots:
        there = read_snapshot(tmp_path / "many" / path.relative_to(tmp_path / "one"))
        np.testing.assert_array_equal(read_snapshot(path).position, there.position)


def test_slurm_starts_the_workers(tmp_path, monkeypatch, capsys):
    """With an `sbatch` of the test's own, which runs a job at once."""
    pytest.importorskip("dask_jobqueue")
    tools = tmp_path / "bin"
    tools.mkdir()
    own = tmp_path / "job"  # the script is gone when sbatch returns
    (tools / "sbatch").write_text(
        f'#!/bin/sh\ncp "$1" {own}\nsh {own} > {tmp_path}/log 2>&1 &\necho Submitted batch job $!\n'
    )
    (tools / "scancel").write_text("#!/bin/sh\nkill $1\n")
    for tool in tools.iterdir():
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    (tmp_path / "slurm.toml").write_text(
        f'jobs = 1\ncores = 1\nprocesses = 1\nmemory = "1GB"\npython = "{sys.executable}"\n'
        '[scheduler_options]\ndashboard_address = ":0"\nhost = "127.0.0.1"\n'
    )
    words = ["synthesise", "--number", "4", "--slurm", str(tmp_path / "slurm.toml"), "-o", str(tmp_path / "set")]
    assert cli.main(words) == 0, (tmp_path / "log").read_text()
    assert len(read_images(tmp_path / "set")) == 4
    (tmp_path / "bad.toml").write_text("cores = 1\nmemory = '1GB'\nspeed = 9\n")
    capsys.readouterr()
    assert cli.main([*words[:4], str(tmp_path / "bad.toml"), "-o", str(tmp_path / "other")]) == 2
    assert "no description of a Slurm cluster" in capsys.readouterr().err


def test_a_search_on_a_cluster_finds_what_one_core_finds(address, tmp_path):
    few = replace(FEW, evaluations=6, best=1, repeats=1)
    here, there = (
        search("box", tmp_path / name, few, TWO_FREE, seed=7, jobs=jobs, runner=toy_remnant).folder
        for name, jobs in (("here", 1), ("there", address))
    )
    assert read_rows(there) == read_rows(here)
