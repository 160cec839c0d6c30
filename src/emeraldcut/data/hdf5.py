"""HDF5 files written so that a full disk is an error that is raised, which the HDF5 library itself does not survive."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager


class NewFile(io.FileIO):
    """A new file whose writes never fail; the error that one had is kept for `check`.

    HDF5 keeps what is to be written until it closes a file, and crashes (1.14) where it then cannot write.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data) -> int:
        """Writes all of `data`, or keeps the error."""
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
def new_hdf5(path: str | os.PathLike) -> Iterator:
    """A new `h5py.File` to write to in a `with` block; OSError at its end if the disk did not take everything."""
    import h5py

    with NewFile(path) as target:
        try:
            with h5py.File(target, "w") as file:
                yield file
        finally:
            target.check()
