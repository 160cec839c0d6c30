"""Files opened to be read: only such as are files. A pipe would wait for ever, a device has no end."""

from __future__ import annotations

import bz2
import errno
import gzip
import json
import lzma
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emeraldcut.errors import UsageError

if TYPE_CHECKING:
    import h5py

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
UNPACKERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
LARGEST_COMPRESSION = 1100  # DEFLATE, of gzip, HDF5 and tiled FITS, makes nothing more than 1032 times smaller
# Of any other way of packing: 4 bytes of Zstandard stand for 128 kB of zeros, a bit of CCITT's for a row of white.
MOST_COMPRESSION = 1e5
MOST_PADDING = 100_000  # zeros at the end of a packed file; tapes had blocks of some ten thousand bytes
SAME_SIZE_FILTERS = {2, 3}  # of HDF5: shuffle and Fletcher-32
MOST_LINKS = 100_000  # of an HDF5 file that are looked through; files with images or particles have some dozens


def check_regular(path: str | os.PathLike[str]) -> None:
    """OSError, with a sentence, for a path that is there and no regular file, such as a pipe, a device or a folder."""
    _check_mode(os.stat(path).st_mode, path)


def _check_mode(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"It is {kind}, not a regular file", os.fspath(path))


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """A regular file, open to read its bytes; never waits for the other end of a pipe. OSError as `check_regular`."""
    check_regular(path)  # opening a device can have effects
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        _check_mode(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def unpacker(head: bytes) -> Callable[..., Any] | None:
    """What opens a compressed file that begins so; None for others."""
    return next((opened for signature, opened in UNPACKERS.items() if head.startswith(signature)), None)


class Unpadded:
    """An open file, to be unpacked, that ends where `MOST_PADDING` zeros follow each other byte by byte.

    Python's gzip passes over zeros at the end one at a time, which takes days where a file says that there are 10^11.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._zeros = file, 0

    def read(self, number: int = -1) -> bytes:
        """The next bytes; OSError after too many zeros."""
        data = bytes(self._file.read(number))
        self._zeros = self._zeros + 1 if data == b"\0" else 0
        if self._zeros > MOST_PADDING:
            raise OSError(errno.EINVAL, f"After its packed content more than {MOST_PADDING:,} zeros follow")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts in a file of JSON. UsageError, with one sentence, where it is damaged or holds something else."""
    try:
        with open_regular(path) as file:
            found = json.loads(file.read())
        if not isinstance(found, dict):
            raise ValueError("it is no list of facts with names")
    except (ValueError, RecursionError) as error:  # of the encoding, or of JSON
        raise UsageError(f"'{os.fspath(path)}' cannot be read as JSON: {error}.") from None
    return found


def open_hdf5(path: str | os.PathLike[str]) -> h5py.File:
    """An HDF5 file whose content is all in it, open to be read.

    Raises OSError where it is no HDF5 file, is no regular file, or has links to, or data in, other files: whoever made
    it could otherwise have any file of this machine read.
    """
    import h5py

    check_regular(path)
    file = h5py.File(path, "r")
    try:
        elsewhere = _elsewhere(file)
    except BaseException:
        file.close()
        raise
    if elsewhere:
        file.close()
        raise OSError(f"'{elsewhere}' of '{Path(path).name}' is in another file, which is not followed")
    return file


def _elsewhere(file: h5py.File) -> str:
    """The name of a link or of a dataset of an HDF5 file that leads to another file; empty if there is none."""
    import h5py

    seen = 0

    def look(name: bytes | str, link: Any) -> str | None:
        nonlocal seen
        seen += 1
        if seen > MOST_LINKS:
            raise OSError(f"the HDF5 file has more than {MOST_LINKS} members")
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        if isinstance(link, h5py.ExternalLink):
            return text
        if isinstance(link, h5py.HardLink):
            item = file[name]
            if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                return text
        return None

    return str(file.visititems_links(look) or "")


def values_of(dataset: Any) -> Any:
    """All values of a dataset of HDF5; OSError, before memory is taken, where it claims more than the file can hold."""
    stored, claimed = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
    plist = dataset.id.get_create_plist()
    packed = any(plist.get_filter(k)[0] not in SAME_SIZE_FILTERS for k in range(plist.get_nfilters()))
    if claimed > stored * (LARGEST_COMPRESSION if packed else 1):
        shape = " x ".join(map(str, dataset.shape))
        raise OSError(f"'{dataset.name}' claims {shape} values, the file has only {stored} bytes of them")
    return dataset[()]
