"""Work apart: in a process of its own, which is all that ends where a library crashes or hangs on a damaged file."""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib import import_module
from threading import Event, Lock
from typing import Any

from emeraldcut.errors import WorkError

SLOWEST_S = 60  # for one item; 400 megapixels, the largest image, are unpacked in some 20 s
LONGEST_START_S = 300  # for the process to start, on a machine with other work
RENEWED = 75  # exit status of a copy that asks for another one in its place
LENGTH = struct.Struct("<Q")  # of a part of a message
PIPE_BYTES = 2**20  # what Linux allows everybody: an image goes through in few turns
SERVE = "import sys; sys.path[:] = {path!r}; from emeraldcut.runs.apart import serve; serve({module!r})"
LOADED = ("astropy.io.fits", "h5py")  # what the functions import when they are called
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a process with threads should not be copied


class Crashed(WorkError):
    """The process that did the work died, or did not come to an end.

    Attributes
    ----------
    spoiled : bool
        Whether it had worked on something else before. A library that writes beyond its memory may bring down whatever
        comes next, so that the same is worth another try, by a process that has done nothing else. Otherwise what it
        was doing is the reason.
    """

    def __init__(self, why: str, *, spoiled: bool = False) -> None:
        super().__init__(why)
        self.spoiled = spoiled


def apart(function: str, *arguments: Any) -> Generator[Any]:
    """What a generator function, "module:function", yields for these arguments, one item ahead of the caller.

    It runs in a process that lives on for the next call; where it crashes, or something was wrong (an error, or an item
    with a `flag`), a copy of it from before takes its place, as far as the system can copy processes. Arguments, items
    and errors must be picklable.

    Raises
    ------
    Crashed
        The process died while it worked on the next item, or took longer than `SLOWEST_S` for it.
    Exception
        What the function raises.
    """
    helper, answer = _begun(function, arguments, only_first=False)
    try:
        while answer[0] == "item":
            helper.send("next")
            yield answer[1]
            answer = helper.receive()
    except GeneratorExit:  # the caller has enough
        helper.send("stop")
        with suppress(Crashed):
            while helper.receive()[0] == "item":
                pass
        _give_back(helper)
        raise
    except Crashed:
        _give_back(helper)
        raise
    except BaseException:  # it may be in the middle of an item
        helper.end()
        raise
    _give_back(helper)
    if answer[0] == "error":
        raise answer[1]


def first_apart(function: str, *arguments: Any) -> Any:
    """The first of what `apart` yields, and nothing more of it. Raises the same."""
    helper, answer = _begun(function, arguments, only_first=True)
    _give_back(helper)
    if answer[0] == "error":
        raise answer[1]
    return answer[1]


def _begun(function: str, arguments: tuple[Any, ...], *, only_first: bool) -> tuple[_Helper, tuple[str, Any]]:
    """The process that works on a call, and its first answer; after a crash that may not be of this call, another."""
    while True:
        helper = _taken(function.partition(":")[0])
        try:
            helper.calls += 1
            helper.send((function, arguments, _here(), only_first))
            return helper, helper.receive()
        except Crashed as error:
            _give_back(helper)
            if not error.spoiled:
                raise
        except BaseException:
            helper.end()
            raise


def _here() -> str:
    """The folder in which this process works, from which relative names are meant."""
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return os.sep


class _Helper:
    """The process, as its caller sees it."""

    def __init__(self, module: str) -> None:
        self.module = module
        code = SERVE.format(path=sys.path, module=module)
        # Its standard error would show what the C library says of a crash.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            bufsize=0,  # so that `receive` can wait for what is not in a buffer yet
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
            start_new_session=True,  # so that it ends with its copy
        )
        self.owner, self.calls = os.getpid(), 0
        with suppress(ImportError, AttributeError, OSError):  # of systems whose pipes have one size
            import fcntl

            fcntl.fcntl(self._process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[union-attr]
        self.receive(LONGEST_START_S)  # "ready"

    def send(self, message: Any) -> None:
        """Sends a message, unless the process has died; `receive` says so."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            _write(self._process.stdin, message)

    def receive(self, longest_s: float | None = None) -> tuple[str, Any]:
        """The next message. Crashed where it says so, or none comes in time, by default `SLOWEST_S`."""
        longest_s = SLOWEST_S if longest_s is None else longest_s
        output: Any = self._process.stdout
        if hasattr(select, "poll"):  # not on Windows
            poll = select.poll()
            poll.register(output, select.POLLIN)
            if not poll.poll(longest_s * 1000):
                self.end()
                why = f"The library that reads it did not come to an end in {longest_s} s"
                raise Crashed(why, spoiled=self.calls > 1)
        try:
            answer: tuple[str, Any] = _read(output)
        except (EOFError, pickle.UnpicklingError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)  # it is just dying, and the reason is of interest
            self.end()
            answer = ("crashed", how_ended(self._process.returncode))
        if answer[0] == "crashed":
            calls, self.calls = self.calls, 0  # another copy has taken its place
            raise Crashed(f"The library that reads it crashed ({answer[1]})", spoiled=calls > 1)
        return answer

    def lives(self) -> bool:
        """Whether it is there, and this process's own."""
        return self.owner == os.getpid() and self._process.poll() is None

    def end(self) -> None:
        """Ends the process and its copy."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def how_ended(status: int | None) -> str:
    """How a process ended, from its exit status as Python has it, in words."""
    if status is None or status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return str(signal.Signals(-status).name)
    return f"signal {-status}"


def is_apart() -> bool:
    """Whether this process is one that works for another."""
    return _SERVING.is_set()


_SERVING = Event()
_IDLE: list[_Helper] = []
_LOCK = Lock()


def _taken(module: str) -> _Helper:
    with _LOCK:
        for helper in [helper for helper in _IDLE if helper.module == module]:
            _IDLE.remove(helper)
            if helper.lives():
                return helper
    return _Helper(module)


def _give_back(helper: _Helper) -> None:
    if helper.lives():
        with _LOCK:
            _IDLE.append(helper)


@atexit.register
def _end_all() -> None:
    while _IDLE:
        helper = _IDLE.pop()
        if helper.owner == os.getpid():
            helper.end()


def _write(pipe: Any, message: Any) -> None:
    """Sends a message: how many parts it has, their lengths, and the parts; pixels are parts, which are not copied."""
    arrays: list[pickle.PickleBuffer] = []
    content = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    parts = [memoryview(content), *(array.raw() for array in arrays)]
    lengths = b"".join(LENGTH.pack(number) for number in (len(parts), *map(len, parts)))
    for part in (memoryview(lengths), *parts):
        while part:
            part = part[pipe.write(part) :]
    pipe.flush()


def _read(pipe: Any) -> Any:
    (number,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
    lengths = [length for (length,) in LENGTH.iter_unpack(_exactly(pipe, number * LENGTH.size))]
    content, *arrays = [_exactly(pipe, length) for length in lengths]
    return pickle.loads(content, buffers=arrays)


def _exactly(pipe: Any, number: int) -> bytearray:
    """So many bytes of a pipe; EOFError if it ends before."""
    content = bytearray(number)
    rest = memoryview(content)
    while rest:
        there = pipe.readinto(rest)
        if not there:
            raise EOFError
        rest = rest[there:]
    return content


# --- in the process


def serve(module: str) -> None:
    """Works on calls of functions of a module until its caller is gone."""
    _SERVING.set()
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in (module, *LOADED):
        import_module(name)
    _write(answers, ("ready", None))
    while hasattr(os, "fork"):  # the copy works; after its crash there is another one within milliseconds
        copy = os.fork()
        if not copy:
            break
        status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
        if status == RENEWED:
            continue
        if status >= 0:
            os._exit(status)
        _write(answers, ("crashed", how_ended(status)))
    while True:
        try:
            request = _read(requests)
        except EOFError:
            os._exit(0)
        if request == "stop":  # of a call that had come to its end
            continue
        name, arguments, here, only_first = request
        with suppress(OSError):
            os.chdir(here)
        module, _, function = name.partition(":")
        fine = _work(getattr(import_module(module), function), arguments, requests, answers, only_first)
        if not fine and hasattr(os, "fork"):  # a library may have written beyond its memory
            os._exit(RENEWED)


def _work(function: Any, arguments: tuple[Any, ...], requests: Any, answers: Any, only_first: bool) -> bool:
    """Sends what `function` yields, and how it ends; whether nothing was wrong."""
    fine = True
    try:
        for item in _alarmed(function(*arguments)):
            fine &= not getattr(item, "flag", 0)
            _write(answers, ("item", item))
            if only_first:
                return fine
            if _read(requests) == "stop":
                break
        last: tuple[str, Any] = ("end", None)
    except EOFError:
        os._exit(0)
    except Exception as error:
        fine, last = False, ("error", error)
    try:
        content = last
        pickle.loads(pickle.dumps(content))
    except Exception:  # an error that does not come through
        content = ("error", ValueError(f"{type(last[1]).__name__}: {last[1]}"))
    _write(answers, content)
    return fine


def _alarmed(items: Iterator[Any]) -> Iterator[Any]:
    """The items; a signal ends the process where one of them does not come, also if the caller is gone."""
    alarm = getattr(signal, "alarm", lambda seconds: None)  # not on Windows
    while True:
        alarm(2 * SLOWEST_S)
        try:
            item = next(items, None)
        finally:
            alarm(0)
        if item is None:
            return
        yield item
