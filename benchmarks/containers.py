"""HDF5 or Zarr 3: how fast do several processes write and read 20,000 images of 64 x 64 pixels?

    python benchmarks/containers.py [--quick] [--jobs N] [--folder DIR]

Images are galaxies in noise, float32. In HDF5 each process writes its own file, since the library does not let several
processes write to one; in Zarr all write to one array, each to its own shards. Images are read in order by as many
processes, and one at a time at random. The page cache is warm, so the figures are those of the containers and not of
the disk. Needs `pip install zarr`.

Keys of the last line: images, jobs, and for each container (hdf5 and zarr, compressed and `plain`)

    *_mb                     size on disk
    *_write_per_cpu_s, *_read_per_cpu_s, *_random_per_cpu_s
                             images per second of CPU time of all processes: written (without making them; null if that
                             takes no longer than making them alone), read in order, read at random
    *_write_per_s, *_read_per_s, *_random_per_s
                             the same per second of wall time, which other work on the machine disturbs
"""

from __future__ import annotations

import resource
import tempfile
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import record

from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic

SIDE, PER_CHUNK, AT_ONCE = 64, 16, 256
FORMS = ("hdf5", "hdf5 plain", "zarr", "zarr plain")


def images(start: int, n: int) -> np.ndarray:
    """Images `start` to `start + n` (n, 64, 64), the same for every container."""
    rng = np.random.default_rng(start)
    light = draw_galaxy(shapes.superellipse(0.7, 3), Sersic(1), size=SIDE, radius_pix=7, flux=5e3, psf_fwhm_pix=2.5)
    return (light + rng.normal(0, 1, (n, SIDE, SIDE))).astype(np.float32)


def create(form: str, folder: Path, n: int) -> None:
    """Makes the array that all processes write to, where there is one."""
    if form.startswith("zarr"):
        import zarr
        from zarr.codecs import BloscCodec

        packed = BloscCodec(cname="lz4", shuffle="shuffle") if form == "zarr" else None
        zarr.create_array(
            folder / "images.zarr", shape=(n, SIDE, SIDE), chunks=(PER_CHUNK, SIDE, SIDE), dtype="float32",
            shards=(AT_ONCE, SIDE, SIDE), compressors=packed, zarr_format=3,
        )  # fmt: skip


def write(part: tuple[int, int], form: str, folder: Path) -> None:
    """Writes the images from part[0] to part[1]."""
    start, end = part
    if form.startswith("zarr"):
        import zarr

        array = zarr.open_array(folder / "images.zarr", mode="r+")
        for k in range(start, end, AT_ONCE):
            n = min(AT_ONCE, end - k)
            array[k : k + n] = images(k, n)
        return
    packed = {"shuffle": True, "compression": "lzf"} if form == "hdf5" else {}
    with h5py.File(folder / f"{start:08d}.h5", "w") as file:
        shape, chunks = (end - start, SIDE, SIDE), (PER_CHUNK, SIDE, SIDE)
        dataset = file.create_dataset("pixels", shape, chunks=chunks, dtype="float32", **packed)
        for k in range(start, end, AT_ONCE):
            n = min(AT_ONCE, end - k)
            dataset[k - start : k - start + n] = images(k, n)


def read(part: tuple[int, int], form: str, folder: Path, single: int) -> float:
    """Reads part[0] to part[1] in order, or `single` of them at random, one at a time; the sum of what was read."""
    start, end = part
    rows = np.random.default_rng(start).integers(start, end, single) if single else None
    total = 0.0
    if form.startswith("zarr"):
        import zarr

        array, origin = zarr.open_array(folder / "images.zarr", mode="r"), 0
        file = None
    else:
        file = h5py.File(folder / f"{start:08d}.h5", "r")
        array, origin = file["pixels"], start
    for k in range(start, end, AT_ONCE) if rows is None else rows:
        n = 1 if rows is not None else min(AT_ONCE, end - k)
        total += float(array[int(k) - origin : int(k) - origin + n].sum(dtype=float))
    if file is not None:
        file.close()
    return total


def timed(pool, task, parts) -> tuple[float, float]:
    """Wall seconds of `task` over the parts, and CPU seconds of all processes."""
    wall = time.perf_counter()
    cpu = sum(pool.map(partial(_cpu, task), parts, chunksize=1))
    return time.perf_counter() - wall, cpu


def _cpu(task, part) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    task(part)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def draw(part: tuple[int, int]) -> None:
    """Only makes the images; this time is subtracted from that of writing."""
    for k in range(part[0], part[1], AT_ONCE):
        images(k, min(AT_ONCE, part[1] - k))


def main() -> None:
    parser = record.parser(__doc__, "2,048 images instead of 20,480")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    arguments = parser.parse_args()
    n = 2_048 if arguments.quick else 20_480
    each = -(-n // arguments.jobs // AT_ONCE) * AT_ONCE
    parts = [(k, min(k + each, n)) for k in range(0, n, each)]
    figures: dict[str, float] = {"images": n, "jobs": arguments.jobs}
    with get_context("spawn").Pool(arguments.jobs) as pool, tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        pool.map(partial(_cpu, draw), [(0, AT_ONCE)] * arguments.jobs)  # imports
        _, drawing = timed(pool, draw, parts)
        print(f"{'container':12} {'MB':>6} {'write':>22} {'read':>22} {'one at random':>22}")
        for form in FORMS:
            folder = Path(place) / form.replace(" ", "_")
            folder.mkdir()
            create(form, folder, n)
            wall, cpu = timed(pool, partial(write, form=form, folder=folder), parts)
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
            rates = [(n / wall, n / (cpu - drawing) if cpu > drawing else np.nan)]
            for single in (0, n // 10 // arguments.jobs):
                read_part = partial(read, form=form, folder=folder, single=single)
                wall, cpu = timed(pool, read_part, parts)
                done = single * len(parts) or n
                rates.append((done / wall, done / cpu))
            cells = [f"{wall:9,.0f}/s {cpu:9,.0f}" for wall, cpu in rates]
            print(f"{form:12} {size:6.0f} " + " ".join(f"{cell:>22}" for cell in cells))
            name = form.replace(" ", "_")
            figures[f"{name}_mb"] = size
            for what, (wall, cpu) in zip(("write", "read", "random"), rates, strict=True):
                figures[f"{name}_{what}_per_cpu_s"] = cpu
                figures[f"{name}_{what}_per_s"] = wall
    print("each cell: images per second of wall time, and per second of CPU time")
    record.finish("containers", figures, arguments, peers=("h5py", "zarr"))


if __name__ == "__main__":
    main()
