"""Files that are written whole or not at all, also HDF5 on a full disk, which that library itself does not survive."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py
    from typing_extensions import Buffer  # of collections.abc from Python 3.12 on


class NewFile(io.FileIO):
    """A new file whose writes never fail; the error that one had is kept for `check`.

    HDF5 keeps what is to be written until it closes a file, and crashes (1.14) where it then cannot write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: Buffer) -> int:
        """Writes all of `data`, or keeps the error; gives the number of its bytes either way."""
        rest = memoryview(data).cast("B")
        size = rest.nbytes
        try:
            while rest.nbytes and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def check(self) -> None:
        """Raises the OSError of the first write that failed, if one did."""
        if self.error is not None:
            raise self.error


@contextmanager
def new_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """A new `h5py.File` to write to in a `with` block; OSError at its end if the disk did not take everything."""
    import h5py

    with NewFile(path) as target:
        try:
            with h5py.File(target, "w") as file:
                yield file
        finally:
            target.check()


def check_folder(folder: Path) -> None:
    """Makes `folder` if need be; OSError with a sentence if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"cannot write to the folder '{folder}': {error.strerror or error}.") from None


def write_text(path: Path, text: str) -> None:
    """Writes `text` so that `path` holds either its old content or all of the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` when everything is written; nothing is left of it after an error."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
