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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial, wraps
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from threading import Thread, current_thread, main_thread
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

    Where one dies while it reads an image, others take over; that image has a flag, and a sentence that says why.
    """

    def __init__(self, number: int, begin: Callable[[], object] | None = None) -> None:
        if number < 1:
            raise UsageError(f"jobs must be at least 1; received {number}.")
        leave_if_imported_by_a_worker()
        self.number, self._begin, self._others = number, begin, set(active_children())
        self._begun = get_context("spawn").Event()  # whether one of them has
        self._start()

    def _start(self) -> None:
        # "spawn" because forking a process whose libraries run threads can deadlock.
        self._pool = ProcessPoolExecutor(
            self.number, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(self._begun,)
        )
        self._seen: set[Any] = set()
        if self._begin is not None:
            for _ in range(self.number):  # each starts a process
                self._submit(self._begin)
            self._seen |= set(active_children()) - self._others

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:  # also after Ctrl-C, and when the caller stops early
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(
        self, stage: Callable[[Any], Result], chunks: Iterable[Sized], done: Callable[[int], object]
    ) -> Iterator[Result]:
        """`map_chunks` by these workers."""
        pickled = pickle.dumps(stage)

        def submit(chunk: Any) -> Future[Result]:
            try:
                future = self._submit(_work, pickled, chunk)
            except BrokenProcessPool as error:  # since the chunk before
                future = Future()
                future.set_exception(error)
            self._seen |= set(active_children()) - self._others
            return future

        yield from _in_order(submit, chunks, lambda: 2 * self.number, done, mend=self._mended)

    def _mended(self, waiting: list[Any]) -> list[Any]:
        """The chunks under way when a worker died, without the images that killed it, for new workers.

        Raises WorkError where reading these images kills nobody, so that it was something else.
        """
        for worker in set(active_children()) - self._others:  # one that was just being started is not ended by the
            worker.terminate()  # pool, which then waits for it for ever
        self._pool.shutdown(wait=True, cancel_futures=True)
        if not self._begun.is_set() and any((worker.exitcode or 0) > 0 for worker in self._seen):
            raise UsageError(NEEDS_GUARD)
        mended = [_without_killers(chunk) for chunk in waiting]
        if all(new is old for new, old in zip(mended, waiting, strict=True)):
            raise WorkError("a worker process died, most likely for lack of memory; use fewer jobs or smaller chunks.")
        self._start()
        return mended

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
    mend: Callable[[list[Any]], list[Any]] | None = None,
) -> Iterator[Result]:
    """The result of each chunk, in order, with `in_flight()` of them submitted and not yet taken.

    After the death of a worker the chunks that `mend` makes of those under way are submitted again.
    """
    waiting: deque[tuple[Any, Future[Result]]] = deque()

    def take() -> Result:
        while True:
            try:
                result = waiting[0][1].result()
                break
            except BrokenProcessPool:
                if mend is None:
                    raise
            mended = mend([chunk for chunk, _ in waiting])
            waiting.clear()
            waiting.extend((chunk, submit(chunk)) for chunk in mended)
        done(len(waiting.popleft()[0]))
        return result

    for chunk in chunks:
        end_if_interrupted()
        # Only what is named is kept: pixels would be in memory twice.
        waiting.append((chunk if hasattr(chunk, "load") else range(len(chunk)), submit(chunk)))
        while len(waiting) >= in_flight():
            yield take()
    while waiting:
        yield take()


# --- after the death of a worker


@dataclass(frozen=True)
class Survivors:
    """A chunk of named images of which some kill whoever reads them: `lost`, by their place, with how."""

    chunk: Any
    lost: dict[int, str]

    def __len__(self) -> int:
        return len(self.chunk)

    def load(self) -> Any:
        """The images; those that are lost have a flag."""
        return self.chunk.load(self.lost)


def _without_killers(chunk: Any) -> Any:
    """A chunk without the images whose reading kills a process; the chunk itself if there are none.

    Each image of a chunk that only names them is read in a child of its own kind.
    """
    named = chunk.chunk if isinstance(chunk, Survivors) else chunk
    if not hasattr(named, "load"):
        return chunk
    lost: dict[int, str] = dict(chunk.lost) if isinstance(chunk, Survivors) else {}
    before = len(lost)
    start = 0
    while start < len(named):
        mine, theirs = get_context("spawn").Pipe(duplex=False)
        child = get_context("spawn").Process(target=_read_one_by_one, args=(named, start, tuple(lost), theirs))
        child.start()
        theirs.close()
        with suppress(EOFError):
            while True:
                start = mine.recv()  # the place of the next image
        child.join()
        if start == len(named):
            break
        code = child.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        lost[start] = f"The library that reads it crashed ({how})."
        start += 1
    return Survivors(named, lost) if len(lost) > before else chunk


def _read_one_by_one(chunk: Any, start: int, lost: tuple[int, ...], answers: Any) -> None:
    """Reads the images of a chunk from the `start`-th on, and says before each which it is."""
    for k in range(start, len(chunk)):
        answers.send(k)
        if k not in lost:
            chunk[k : k + 1].load()
    answers.send(len(chunk))


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
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        from dask_jobqueue import SLURMCluster
        from distributed import Client
    except ImportError:
        raise MissingPackageError("Slurm needs dask-jobqueue: pip install 'emeraldcut[cluster]'.") from None
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGINT, on_interrupt)  # which importing dask_jobqueue makes a silent end
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
