"""One stage over many chunks, on one core or several, with no more than a few chunks in memory."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import wraps
from multiprocessing import get_context
from typing import Any, TypeVar

Result = TypeVar("Result")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def single_threaded(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function` with one thread for linear algebra.

    Sums in another order round differently, so with several threads a result would depend on the machine; for the
    small matrices of one galaxy they are slower besides.
    """

    @wraps(function)
    def limited(*arguments, **keywords):
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):
            return function(*arguments, **keywords)

    return limited


def map_chunks(
    stage: Callable[[Any], Result],
    chunks: Iterable[Sized],
    *,
    jobs: int = 1,
    threads: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Result]:
    """Results of `stage(chunk)` for each chunk, in order.

    Parameters
    ----------
    stage : callable
        Takes a chunk; must be picklable (a module's function or a `functools.partial` of one) if `jobs` >
        1.
    chunks : iterable
        Image sets, or whatever else has a length, such as ranges of numbers.
        Read no further ahead than 2 * `jobs` chunks, so memory does not grow with their number.
    jobs : int
        Worker processes of one thread each; 1 works in this process. A script that asks for more needs the
        usual `if __name__ == "__main__":`.
    threads : bool
        Threads of this process instead, for a stage that waits for something else, such as a server.
    progress : callable, optional
        Called with the number of images of each chunk that is done.

    Raises
    ------
    RuntimeError
        A worker process died. Errors of `stage` itself are raised as they are.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1; received {jobs}.")
    done = progress or (lambda n_images: None)
    if jobs == 1:
        for chunk in chunks:
            result = stage(chunk)
            done(len(chunk))
            yield result
        return
    # "spawn" because forking a process whose libraries run threads can deadlock.
    pool = (
        ThreadPoolExecutor(jobs)
        if threads
        else ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_worker)
    )
    try:
        for n_images, result in _in_order(pool, stage, chunks, 2 * jobs):
            done(n_images)
            yield result
    except BrokenProcessPool:
        raise RuntimeError(
            "a worker process died, most likely for lack of memory; use fewer jobs or smaller chunks."
        ) from None
    finally:  # also after Ctrl-C, and when the caller stops early
        pool.shutdown(wait=True, cancel_futures=True)


def _in_order(pool, stage, chunks: Iterable[Sized], in_flight: int) -> Iterator[tuple[int, Result]]:
    waiting: deque = deque()
    for chunk in chunks:
        waiting.append((len(chunk), pool.submit(stage, chunk)))
        if len(waiting) >= in_flight:
            n_images, future = waiting.popleft()
            yield n_images, future.result()
    for n_images, future in waiting:
        yield n_images, future.result()


def _start_worker() -> None:
    """One thread per worker, and Ctrl-C left to the main process."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # for libraries that are loaded later
    threadpool_limits(1)  # for those that are loaded already
