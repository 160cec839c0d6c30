"""Compiled code: how functions are compiled, ahead of time and once, and where the result is kept.

Machine code is kept in the user's cache folder, or in $EMERALDCUT_CACHE_DIR, below a key made of what it depends on:

    CACHE/KEY/EXAMPLE/   what one example compiled; is given this name when it is complete
    CACHE/KEY/*.lock     who compiles an example, and who uses the folder

Examples are functions of a few lines that call what is to be compiled. They run in processes of their own, which take
nothing from the cache, so that machine code is the same whatever else is compiled, and when; what several examples need
such a process compiles once. All other processes only load: one that compiles a function and one that loads it link it
differently, and sums that may be reordered then round differently.
"""

from __future__ import annotations

import atexit
import gc
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from threading import Lock
from typing import IO, Any, TypeAlias

import llvmlite
import numba
import numpy as np
from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.registry import cpu_target

PACKAGE = Path(__file__).parent.parent
# What machine code depends on: files of compiled functions, of their examples, and of the constants that they know.
COMPILED = (
    "camera/*.py", "data/flags.py", "frame/*.py", "isophotes/*.py", "nbody/*.py", "networks/classify.py",
    "networks/openset.py", "networks/preprocessing.py", "numerics/*.py",
)  # fmt: skip
AHEAD = "EMERALDCUT_COMPILES_AHEAD"  # in the environment of a process that compiles: the folder for what it makes
KEPT = 3  # keys in the cache besides those in use: a checkout or two, and the release
FRESH_S = 3600  # those used since are kept too: else several checkouts that are worked in take it from each other
POLL_S = 0.05  # between looks at those who compile

FAST: dict[str, Any] = {"error_model": "numpy", "fastmath": {"reassoc", "contract", "arcp", "nsz"}}  # for both below

Real: TypeAlias = float | np.floating[Any]  # of any precision; numba compiles a function for each
Example = Callable[[], object]
_turn = Lock()
_asked: list[str] = []  # names of the examples that this process asked for
_settled: set[tuple[Example, ...]] = set()  # all that were asked for together: stages ask again for every image


# --- where


def cache_folder() -> Path | None:
    """The folder of all compiled code, which need not exist; None where there is no home to put it in."""
    if named := os.environ.get("EMERALDCUT_CACHE_DIR"):
        return Path(named)
    if sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        place = "~/Library/Caches"
    else:
        place = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    place = os.path.expanduser(place)
    return Path(place) / "emeraldcut" if os.path.isabs(place) else None


def hashed() -> list[Path]:
    """The files on whose contents machine code depends."""
    return sorted(path for pattern in COMPILED for path in PACKAGE.glob(pattern))


@cache
def _key() -> str:
    """A hash of all that machine code depends on: sources, by content, versions, and the processor."""
    digest = hashlib.sha256()
    for path in hashed():
        name = path.relative_to(PACKAGE)
        digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    target = cpu_target.target_context.codegen().magic_tuple()  # with the processor's name and features
    digest.update(repr((numba.__version__, llvmlite.__version__, sys.version, target)).encode())
    return digest.hexdigest()[:20]


@cache
def _folder() -> Path | None:
    """The folder of this key, marked as used now; None where there is none and none can be made."""
    root = cache_folder()
    if root is None:
        _nowhere("there is no home folder")
        return None
    folder = root / _key()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except OSError as error:
        if not folder.is_dir():  # else what others have compiled is read
            _nowhere(f"'{root}' cannot be written ({error.strerror})")
            return None
    with suppress(OSError):  # none to be had where one can only read
        if (lock := _locked(folder / "in_use.lock", shared=True)) is not None:
            atexit.register(lock.close)  # held as long as this process lives
    return folder


def _nowhere(why: str) -> None:
    if parent_process() is None:
        print(
            f"emeraldcut: {why}, so each start compiles again, for up to a minute; name a folder for compiled code in "
            "EMERALDCUT_CACHE_DIR.",
            file=sys.stderr,
            flush=True,
        )


def _locked(path: Path, shared: bool = False) -> IO | None:
    """The lock file `path`, locked until it is closed, by this process and those it hands it to.

    None if others hold it, unless it is shared. The system lets go of it when they end, however they end. Where there
    are no locks all get one. OSError if the file cannot be made.
    """
    file = path.open("r" if shared and path.exists() else "w")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError):  # on Windows; a file system without locks
        pass
    return file


def _prune(folder: Path) -> None:
    """Removes the folders of other keys that have not been used for longest, unless a process uses them now."""
    used = {}
    for path in folder.parent.iterdir():
        with suppress(OSError):  # another process may have removed it, here and below
            if path != folder and path.is_dir():
                used[path] = path.stat().st_mtime
    for old in sorted(used, key=used.__getitem__, reverse=True)[KEPT:]:
        with suppress(OSError):
            if used[old] < time.time() - FRESH_S and (lock := _locked(old / "in_use.lock")) is not None:
                with lock:
                    shutil.rmtree(old, ignore_errors=True)


# --- what is compiled ahead


def compile_ahead(purpose: str, *examples: Example) -> None:
    """Compiles what `examples` call, if that has not been done yet, in processes of their own.

    As many at a time as there are cores. Of several programs that start together one compiles each example and the
    others wait for it.

    Parameters
    ----------
    purpose : str
        What needs it, for the terminal.
    examples : functions of a module, without arguments
        Together they call all compiled functions that the purpose needs, with arguments of the types that it has.

    Warns
    -----
    UserWarning
        An example fails; this process then compiles for itself what it needs.
    """
    if examples in _settled or AHEAD in os.environ:
        return
    names = [f"{example.__module__}.{example.__qualname__}" for example in examples]
    with _turn:  # threads wait for each other
        new = [name for name in names if name not in _asked]
        _asked.extend(new)
        folder = _folder() if new else None
        if folder is not None and (missing := [name for name in new if not (folder / name).exists()]):
            try:
                _prune(folder)
                _compile(purpose, missing, folder)
            except OSError as error:
                _nowhere(f"'{folder.parent}' cannot be written ({error.strerror})")
        _settled.add(examples)  # only now, so that other threads wait until all is there


def _compile(purpose: str, waiting: list[str], folder: Path) -> None:
    """Has all examples of these names compiled, by children of this process or by those of another."""
    running: list[_Compiler] = []
    n, show = len(waiting), _progress(purpose, len(waiting))
    try:
        while waiting:
            show(n - len(waiting))
            for compiler in [one for one in running if one.process.poll() is not None]:
                running.remove(compiler)
                failed = compiler.failed()
                waiting = [name for name in waiting if name != failed]
            if not running:
                free = [name for name in waiting if not (folder / name).exists() and _is_free(folder, name)]
                running = [_Compiler(folder, free[k:] + free[:k]) for k in range(min(_n_cores(), len(free)))]
            time.sleep(POLL_S)
            waiting = [name for name in waiting if not (folder / name).exists()]
        show(n)
    finally:  # also after Ctrl-C
        for compiler in running:
            compiler.stop()


def _is_free(folder: Path, name: str) -> bool:
    """Whether nobody compiles an example."""
    lock = _locked(folder / f"{name}.lock")
    if lock is not None:
        lock.close()
    return lock is not None


class _Compiler:
    """A process that compiles examples of these names one after the other, but for those that others compile."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.folder, self.names = folder, names
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import _compile_all; _compile_all()", str(folder), *names],
            env=os.environ | {AHEAD: str(folder), "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def failed(self) -> str:
        """The name of the example that could not be compiled, if one could not; warns of it."""
        lines = self.process.communicate()[0].splitlines()
        if self.process.returncode == 0:
            return ""
        # one that ends before it has begun any would end so again, for ever
        name, _, why = (lines[-1] if lines else self.names[0]).partition("\t")
        self._tidy()
        warnings.warn(
            f"'{name}' could not be compiled ahead; each process compiles for itself: "
            + (why or f"exit status {self.process.returncode}"),
            stacklevel=4,
        )
        return name

    def _tidy(self) -> None:
        """Removes what it has not completed."""
        for left in self.folder.glob(f"*.new-{self.process.pid}"):
            shutil.rmtree(left, ignore_errors=True)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._tidy()


def _compile_all() -> None:
    """What the process of a `_Compiler` does; it ends with the first example that fails.

    It prints the name of each that it begins, and why it fails.
    """
    gc.disable()  # there is little to collect: a tenth of the time
    folder, parent = Path(sys.argv[1]), os.getppid()
    for name in sys.argv[2:]:
        if os.getppid() != parent or (folder / name).exists() or (lock := _locked(folder / f"{name}.lock")) is None:
            continue
        with lock:
            if not (folder / name).exists():  # made between our look and our lock
                print(name, end="", flush=True)
                try:
                    _compile_one(folder, name)
                except Exception as error:
                    print(f"\t{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", flush=True)
                    sys.exit(1)
                print(flush=True)


def _compile_one(folder: Path, name: str) -> None:
    """Compiles one example; what it makes is put into its place when it is complete."""
    for left in folder.glob(f"{name}.new-*"):  # by processes that were killed
        shutil.rmtree(left, ignore_errors=True)
    made = folder / f"{name}.new-{os.getpid()}"  # of its own, also where there are no locks
    made.mkdir()
    os.environ[AHEAD] = str(made)
    module, _, function = name.rpartition(".")
    getattr(importlib.import_module(module), function)()
    try:
        made.rename(folder / name)
    except OSError:
        if not (folder / name).exists():  # by another, where there are no locks
            raise


def _n_cores() -> int:
    """How many processes may compile at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _progress(purpose: str, total: int) -> Callable[[int], None]:
    """Shows on the terminal how many examples are compiled.

    Of several processes that wait for them all say the same, in one line, which goes when all is done.
    """
    shown = -1

    def show(done: int) -> None:
        nonlocal shown
        if done != shown and sys.stderr.isatty():
            text = f"Compiling for {purpose}, once: {done} of {total} ..."
            end = f"\r{' ' * len(text)}\r" if done == total else ""
            print(f"\r{text}", end=end, file=sys.stderr, flush=True)
        shown = done

    return show


# --- how


class _Locator(_CacheLocator):
    """Tells numba how the files of a function are called. Where they lie is up to `_Cache`."""

    def __init__(self, function: Callable) -> None:
        self._function = function

    @classmethod
    def from_function(cls, py_func: Callable, py_file: str) -> _Locator:
        return cls(py_func)

    def get_cache_path(self) -> str:
        return os.environ.get(AHEAD, "")

    def get_source_stamp(self) -> str:
        return ""  # the key holds it, for all that a function calls too

    def get_disambiguator(self) -> str:
        return f"{self._function.__module__}-{self._function.__code__.co_firstlineno}"


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012  as numba declares it


class _Cache(FunctionCache):
    """Keeps the machine code of one function, as numba does, but in the folders of examples."""

    _impl_class = _CacheImpl

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        for folder in _complete():
            self._cache_file = IndexDataCacheFile(str(folder), self._impl.filename_base, "")
            if (loaded := super()._load_overload(sig, target_context)) is not None:
                return loaded
        return None

    def _save_overload(self, sig: Any, data: Any) -> None:
        if AHEAD in os.environ:
            self._cache_file = IndexDataCacheFile(os.environ[AHEAD], self._impl.filename_base, "")
            super()._save_overload(sig, data)


def _complete() -> list[Path]:
    """The folders in which functions are looked up.

    First of the examples that this process asked for, in that order, so that what else is there makes no difference.
    """
    if AHEAD in os.environ or (folder := _folder()) is None:
        return []
    there = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and ".new-" not in path.name}
    return [there.pop(name) for name in _asked if name in there] + list(there.values())


class _LinkedCode(JITCodeLibrary):
    """Code that is only ever linked into that of others.

    It is neither optimised, since they do that with all of their code at once, nor made executable.
    """

    class _Nowhere:
        """In place of the code generator, which would look for the function in executable memory."""

        @staticmethod
        def set_env(name: str, env: Any) -> None: ...

    codegen = _Nowhere

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None: ...

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0


class _PartCompiler(Compiler):
    """Compiles a function as code to be linked."""

    def __init__(self, typingctx: Any, targetctx: Any, *others: Any) -> None:
        super().__init__(typingctx, targetctx, *others)
        self.state.library = _LinkedCode(targetctx.codegen(), "part")


class _WholeCompiler(Compiler):
    """Compiles a function as one that Python may call.

    In a process that compiles ahead all that it calls of numba's is code to be linked.
    """

    def __init__(self, typingctx: Any, targetctx: Any, *others: Any) -> None:
        super().__init__(typingctx, targetctx, *others)
        self.state.library = JITCodeLibrary(targetctx.codegen(), "whole")
        self.state.library.enable_object_caching()
        if AHEAD in os.environ:
            targetctx.codegen()._library_class = _LinkedCode


def _for_any_value(dispatcher: Any) -> Any:
    """The dispatcher, made to compile once for all integers, and not once more for each that is a constant."""
    template = dispatcher.get_call_template

    def get_call_template(args: tuple, kws: dict) -> Any:
        return template(tuple(map(types.unliteral, args)), {name: types.unliteral(kind) for name, kind in kws.items()})

    dispatcher.get_call_template = get_call_template
    return dispatcher


def _never_called_by_python(function: Callable, compiler: type[Compiler]) -> Any:
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": compiler}
    return _for_any_value(njit(**options, **FAST)(function))


def compiled(function: Callable) -> Any:
    """`function` as machine code. Sums may be reordered, so that they run on vector units; NaN keeps its meaning."""
    dispatcher = _for_any_value(njit(nogil=True, pipeline_class=_WholeCompiler, **FAST)(function))
    dispatcher._cache = _Cache(function)
    return dispatcher


def kernel(function: Callable) -> Any:
    """A part that is optimised on its own before it is linked into others.

    Where its loops are most of the work, and run on vector units only as long as they see no more arrays than their
    own.
    """
    return _never_called_by_python(function, _WholeCompiler)


def part(function: Callable) -> Any:
    """`function` as a part of compiled ones, which Python never calls.

    Without what that would need, and is slow to compile.
    """
    return _never_called_by_python(function, _PartCompiler)
