"""GADGET's binary snapshots, as the HDF5 file that GADGET would have written in their place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.runs.reading import open_regular

_HEADER_BYTES = 256
_TYPES = 6
_MARKERS = {_HEADER_BYTES: 1, 8: 2}  # the first number of a file: its format
_HEADER = (  # Springel (2005), user guide of GADGET-2, Table 4
    ("NumPart_ThisFile", "i4", _TYPES),
    ("MassTable", "f8", _TYPES),
    ("Time", "f8", ()),
    ("Redshift", "f8", ()),
    ("Flag_Sfr", "i4", ()),
    ("Flag_Feedback", "i4", ()),
    ("NumPart_Total", "u4", _TYPES),
    ("Flag_Cooling", "i4", ()),
    ("NumFilesPerSnapshot", "i4", ()),
    ("BoxSize", "f8", ()),
    ("Omega0", "f8", ()),
    ("OmegaLambda", "f8", ()),
    ("HubbleParam", "f8", ()),
)
# Blocks that are used: label in format 2, name in HDF5, numbers of a particle. Format 1 has the first four, in order.
_BLOCKS = (
    ("POS ", "Coordinates", 3),
    ("VEL ", "Velocities", 3),
    ("ID  ", "ParticleIDs", 1),
    ("MASS", "Masses", 1),
    ("AGE ", "StellarFormationTime", 1),
)


def is_gadget_binary(path: str | Path) -> bool:
    """Whether a file begins as GADGET's binary formats 1 and 2 do, written on a machine of either byte order."""
    with open_regular(path) as file:
        return _format_and_order(file.read(8)) is not None


def _format_and_order(start: bytes) -> tuple[int, str] | None:
    for order, name in (("<", "little"), (">", "big")):
        number = _MARKERS.get(int.from_bytes(start[:4], name))  # type: ignore[arg-type]
        if number == 1 or (number == 2 and start[4:8] == b"HEAD"):
            return number, order
    return None


def as_hdf5(path: str | Path) -> Any:
    """The snapshot as an open h5py file in memory: Header, and PartTypeN with positions, velocities and masses.

    Times of formation are there where format 2 has a block AGE; format 1 does not say which blocks follow the masses.

    Raises
    ------
    ValueError
        The file is cut off, or a block has not the length that the header says.
    """
    import h5py

    with open_regular(path) as file:
        found = _format_and_order(file.read(8))
        if found is None:
            raise UsageError("it does not begin with the header of a binary file of GADGET")
        number, order = found
        file.seek(0)
        if number == 2:
            _record(file, order, "HEAD")
        start = _record(file, order, "header")
        header = np.frombuffer(start, np.dtype([(name, order + kind, n) for name, kind, n in _HEADER]), 1)[0]
        blocks = _blocks(file, number, order, header)
    there = h5py.File(Path(path).name, "w", driver="core", backing_store=False)
    values = {name: header[name].astype(header[name].dtype.newbyteorder("=")) for name, *_ in _HEADER}
    there.create_group("Header").attrs.update(values | {"Code": f"GADGET, binary format {number}"})
    for kind, count in enumerate(header["NumPart_ThisFile"]):
        for name, (first, block) in blocks.items():
            begin = first[kind]
            if count and begin is not None:
                there[f"PartType{kind}/{name}"] = block[begin : begin + count]
    return there


def _blocks(file: BinaryIO, number: int, order: str, header: Any) -> dict[str, tuple[list, np.ndarray]]:
    """Of each block that is used, where in it each type of particles begins (None: nowhere), and its values."""
    counts = [int(n) for n in header["NumPart_ThisFile"]]
    own_mass = [bool(n) and mass == 0 for n, mass in zip(counts, header["MassTable"], strict=True)]
    holds = {"MASS": own_mass, "AGE ": [kind == 4 for kind in range(_TYPES)]}
    known = {label: (name, width) for label, name, width in _BLOCKS}
    blocks: dict[str, tuple[list, np.ndarray]] = {}
    labels = (label for label, *_ in _BLOCKS[:4] if any(holds.get(label, [True])))
    while True:
        if number == 2:
            if not file.read(1):
                return blocks
            file.seek(-1, 1)
            label = _record(file, order, "label")[:4].decode("latin1")
        else:
            label = next(labels, "")
            if not label:
                return blocks
        name, width = known.get(label, ("", 1))
        there = holds.get(label, [True] * _TYPES)
        n = sum(count for count, here in zip(counts, there, strict=True) if here)
        sizes = [n * width * size for size in (4, 8)]
        content = _record(file, order, label.strip(), sizes if name and label != "AGE " else None)
        if label == "AGE ":  # of stars, and by some codes of black holes behind them
            own = {(n + others) * size: n * size for size in (4, 8) for others in (counts[5], 0)}
            content = content[: own.get(len(content), 0)]
        if name and n and content:
            kind = "u" if name == "ParticleIDs" else "f"
            values = np.frombuffer(content, f"{order}{kind}{len(content) // (n * width)}")
            first, begin = [], 0
            for count, here in zip(counts, there, strict=True):
                first.append(begin if here else None)
                begin += count if here else 0
            native = values.astype(values.dtype.newbyteorder("="))
            blocks[name] = first, native.reshape(-1, width) if width > 1 else native


def _record(file: BinaryIO, order: str, name: str, sizes: list[int] | None = None) -> bytes:
    """The content of the next record: as Fortran writes it, with its length before and after.

    Lengths are of 32 bits, so that those of long blocks are known only from `sizes`, of which one must fit.
    """
    marker = file.read(4)
    length = int(np.frombuffer(marker, order + "u4")[0]) if len(marker) == 4 else -1
    if sizes is not None and length >= 0:
        length = next((size for size in sizes if size % 2**32 == length), -2)
    if length == -2:
        raise UsageError(f"its block {name} has not the length that its header says")
    there = os.fstat(file.fileno()).st_size - file.tell()  # asked first, since reading takes memory for all of it
    content = file.read(length) if 0 <= length <= there else b""
    if length < 0 or len(content) < length or file.read(4) != marker:
        raise UsageError(f"it is cut off in its {name}")
    return content
