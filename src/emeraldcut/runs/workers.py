"""One stage over many chunks, on one core, several, or many machines, with no more than a few chunks in memory."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, partial, wraps
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from emeraldcut.errors import MissingPackageError, UsageError, WorkError
from emeraldcut.runs.endings import end_if_interrupted, leave_if_imported_by_a_worker
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import unlock_all
from emeraldcut.settings import read_toml

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")
NEEDS_GUARD = (
    "no worker process could begin: each of them imports the script that starts it. Put what the script does below "
    "`if __name__ == '__main__':`, or use jobs=1."
)
CONNECT_S = 30  # for a scheduler to answer, and to have a worker
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def single_threaded(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function` with one thread for linear algebra.

    Sums in another order round differently, so with several threads a result would depend on the machine; for the
    small matrices of one galaxy they are slower besides.
    """

    @wraps(function)
    def limited(*arguments: Any, **keywords: Any) -> Result:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):
            return function(*arguments, **keywords)

    return limited


class Workers:
    """Processes of one thread each, for one stage after another; to be used in a `with` statement.

    With `begin`, a picklable function that each of them runs, all start at once, else as they are needed.
    """

    def __init__(self, number: int, begin: Callable[[], object] | None = None) -> None:
        if number < 1:
            raise UsageError(f"jobs must be at least 1; received {number}.")
        leave_if_imported_by_a_worker()
        self.number, self._others = number, set(active_children())
        # "spawn" because forking a process whose libraries run threads can deadlock.
        spawn = get_context("spawn")
        self._begun = spawn.Event()  # whether one of them has
        self._pool = ProcessPoolExecutor(number, mp_context=spawn, initializer=_start_worker, initargs=(self._begun,))
        self._processes: Any = self._pool._processes  # by their numbers, also when the pool has given them up
        if begin is not None:
            for _ in range(number):  # each starts a process
                self._submit(begin)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:  # also after Ctrl-C, and when the caller stops early
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, stage: Callable[[Any], Result], chunks: Iterable[Sized], done: Callable[[int], object]
    ) -> Iterator[Result]:
        """`map_chunks` by these workers."""
        pickled = pickle.dumps(stage)
        try:
            yield from _in_order(
                lambda chunk: self._submit(_work, pickled, chunk), chunks, lambda: 2 * self.number, done
            )
        except BrokenProcessPool:
            processes = list(self._processes.values())
            for worker in set(active_children()) - self._others:  # one that was just being started is not ended by
                worker.terminate()  # the pool, which then waits for it for ever
            self._pool.shutdown(wait=True, cancel_futures=True)
            if not self._begun.is_set() and any((process.exitcode or 0) > 0 for process in processes):
                raise UsageError(NEEDS_GUARD) from None
            raise WorkError(
                "a worker process died, most likely for lack of memory; use fewer jobs or smaller chunks."
            ) from None

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """What the pool submits. A process that is started for it never sees Ctrl-C, not even while it begins."""
        if not hasattr(signal, "pthread_sigmask"):  # on Windows
            return self._pool.submit(function, *arguments)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(function, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def started(jobs: int | str, begin: Callable[[], object]) -> Iterator[int | str | Workers]:
    """`jobs` for several calls of `map_chunks` or `fill`; where it asks for worker processes, these start at once.

    `begin`, a picklable function, is what each of them does first.
    """
    if isinstance(jobs, str) or jobs == 1:
        yield jobs
    else:
        with Workers(jobs, begin) as workers:
            yield workers


def map_chunks(
    stage: Callable[[Any], Result],
    chunks: Iterable[Sized],
    *,
    jobs: int | str | Workers = 1,
    threads: bool = False,
    progress: Progress = SILENT,
) -> Iterator[Result]:
    """Results of `stage(chunk)` for each chunk, in order.

    Parameters
    ----------
    stage : callable
        Takes a chunk; must be picklable (a module's function or a `functools.partial` of one) if `jobs` > 1.
    chunks : iterable
        Image sets, or whatever else has a length, such as ranges of numbers.
        Read no further ahead than 2 * `jobs` chunks, so memory does not grow with their number. Images that are only
        named (`StoredImages`) are read by the process that works on them, or here if that is on another machine.
    jobs : int, str or Workers
        Worker processes of one thread each; 1 works in this process. A script that asks for more needs the
        usual `if __name__ == "__main__":`. Or the address of a Dask scheduler, such as tcp://host:8786. Or workers
        that are there already, see `started`.
    threads : bool
        Threads of this process instead, for a stage that waits for something else, such as a server.
    progress : Progress
        Advanced by the length of each chunk that is done; the caller begins it.

    Raises
    ------
    RuntimeError
        A worker process died; on a cluster, several did with the same chunk. Errors of `stage` itself are raised as
        they are.
    ConnectionError
        No scheduler answers, or it has no workers, or it is lost.
    """
    done = progress.advance
    if isinstance(jobs, str):
        if threads:
            raise UsageError("this work waits for one server, so it is not spread over a cluster; use --jobs.")
        yield from _on_cluster(jobs, stage, chunks, done)
    elif isinstance(jobs, Workers):
        yield from jobs.map(stage, chunks, done)
    elif jobs == 1:
        for chunk in chunks:
            end_if_interrupted()
            result = stage(loaded(chunk))
            end_if_interrupted()
            done(len(chunk))
            yield result
    elif threads:
        pool = ThreadPoolExecutor(jobs)
        try:
            yield from _in_order(lambda chunk: pool.submit(stage, chunk), chunks, lambda: 2 * jobs, done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    else:
        with Workers(jobs) as workers:
            yield from workers.map(stage, chunks, done)


def _in_order(
    submit: Callable[[Any], Future[Result]],
    chunks: Iterable[Sized],
    in_flight: Callable[[], int],
    done: Callable[[int], object],
) -> Iterator[Result]:
    """The result of each chunk, in order, with `in_flight()` of them submitted and not yet taken."""
    waiting: deque[tuple[int, Future[Result]]] = deque()

    def take() -> Result:
        n_images, future = waiting.popleft()
        result = future.result()
        done(n_images)
        return result

    for chunk in chunks:
        end_if_interrupted()
        waiting.append((len(chunk), submit(chunk)))
        while len(waiting) >= in_flight():
            yield take()
    while waiting:
        yield take()


# --- on many machines


def _on_cluster(
    address: str, stage: Callable[[Any], Result], chunks: Iterable[Sized], done: Callable[[int], object]
) -> Iterator[Result]:
    """`map_chunks` through a Dask scheduler; a chunk whose worker dies is done again by another."""
    try:
        import dask
        from distributed import Client, KilledWorker
    except ImportError:
        raise MissingPackageError("a cluster needs Dask: pip install 'emeraldcut[cluster]'.") from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at '{address}' ({str(error) or 'no answer'}).") from None
    with client, dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}):
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError:
            raise ConnectionError(f"the Dask scheduler at '{address}' has no workers.") from None
        try:
            submit = partial(client.submit, _remote, stage, pure=False)
            yield from _in_order(submit, map(loaded, chunks), partial(_room, client), done)
        except KilledWorker:
            raise WorkError(
                "several workers died with the same chunk, most likely for lack of memory; give them more."
            ) from None
        except (CancelledError, OSError) as error:
            if isinstance(error, OSError) and client.status == "running":  # of the stage itself
                raise
            raise ConnectionError(f"the Dask scheduler at '{address}' is lost.") from None


def _room(client: Client) -> int:
    """Chunks to be under way at a cluster, whose workers come and go."""
    threads: int = sum(client.nthreads().values())
    return 2 * max(threads, 1)


def _remote(stage: Callable[[Any], Result], chunk: Any) -> Result:
    """`stage(chunk)` in a worker of the cluster, which lives on: it keeps no folder, and one thread for each chunk."""
    try:
        return single_threaded(stage)(chunk)
    finally:
        unlock_all()


@contextmanager
def slurm_cluster(file: str | Path) -> Iterator[str]:
    """The address of a Dask scheduler in this process whose workers Slurm starts, until the block ends.

    `file` is TOML with the arguments of `dask_jobqueue.SLURMCluster` (cores, processes, memory, queue, account,
    walltime, ...) and `jobs`, the number of Slurm jobs. Waits until the first worker is there, however long it queues.
    """
    try:
        from dask_jobqueue import SLURMCluster
        from distributed import Client
    except ImportError:
        raise MissingPackageError("Slurm needs dask-jobqueue: pip install 'emeraldcut[cluster]'.") from None
    options = read_toml(file)
    try:
        jobs = int(options.pop("jobs", 1))
        cluster = SLURMCluster(**options)
    except (OSError, TypeError, ValueError) as error:
        raise UsageError(f"'{file}' is no description of a Slurm cluster: {error}.") from None
    with cluster:
        cluster.scale(jobs=jobs)
        with Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(1)
        yield cluster.scheduler_address


# --- in worker processes


def _start_worker(begun: Any) -> None:
    """One thread per worker, Ctrl-C left to the main process, and an end when that ends, however it does."""
    from threadpoolctl import threadpool_limits

    atexit.register(os._exit, 0)  # without taking everything down piece by piece
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # for libraries that are loaded later
    threadpool_limits(1)  # for those that are loaded already
    begun.set()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


_stage = lru_cache(maxsize=1)(pickle.loads)  # with all that it has prepared: once, not for every chunk


def _work(stage: bytes, chunk: Any) -> Any:
    return _stage(stage)(loaded(chunk))


def loaded(chunk: Any) -> Any:
    """A chunk as a stage takes it: named images are read, anything else is as it is."""
    return chunk.load() if hasattr(chunk, "load") else chunk
