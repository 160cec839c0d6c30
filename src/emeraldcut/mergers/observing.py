"""Images of the mergers of a run, or of every snapshot in a folder: what is found there, and the set written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from h5py import is_hdf5

from emeraldcut.camera.camera import THESIS_MAPS, ObserveSettings, observe
from emeraldcut.data.flags import Flag, describe
from emeraldcut.data.imageset import ImageSet, concatenate
from emeraldcut.errors import UsageError
from emeraldcut.images.store import ImageSetWriter
from emeraldcut.images.text_maps import write_text_maps
from emeraldcut.mergers.suite import PROGRAM
from emeraldcut.mergers.tasks import snapshots_of
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import HDF5_ENDINGS, read_snapshot, snapshot_kind
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import Run
from emeraldcut.runs.workers import map_chunks
from emeraldcut.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class TakeSettings(Settings):
    """What of a run the camera looks at."""

    stack: int = setting(
        1, "number of last snapshots of each merger to stack, each on its own centre", at_least=1, at_most=1_000
    )
    maps: str = setting("", "also write 2df.dat and 2dfn.dat, the text maps of the thesis, to this folder")


@dataclass(frozen=True)
class Observed:
    """What gets views of its own: a merger of a run, or one file of another program.

    Attributes
    ----------
    name : str
        Of the merger, or of its file without the ending; unique in a folder.
    files : list of Path
        Snapshots that are laid on top of each other, the last one last.
    """

    name: str
    files: list[Path]


def find_snapshots(source: str | Path, stack: int = 1) -> tuple[list[Observed], list[Path]]:
    """What `observe` images in a folder or a file, and the HDF5 files that it passes over.

    Of each merger of a run of `simulate` these are the `stack` last snapshots. In other folders every snapshot or
    cutout counts by itself, recognised by what it holds (`snapshot_kind`); files that are no HDF5, and hidden ones,
    are ignored. An HDF5 file that cannot be opened is taken too, so that it is not lost without a word.

    Raises
    ------
    FileNotFoundError
        There is no snapshot.
    """
    source = Path(source)
    if source.is_file():
        return [Observed(_stem(source), [source])], []
    found, passed_over = [], []
    for folder in sorted({path.parent for path in source.rglob("*") if path.is_file()}):
        relative = folder.relative_to(source).parts
        if PROGRAM in relative or any(part.startswith(".") for part in relative):
            continue
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        kinds = {path: snapshot_kind(path) for path in files}
        of_merger = [path for path in snapshots_of(folder) if kinds[path] in ("ours", "broken")]
        if any(kinds[path] == "ours" for path in of_merger):
            found.append(Observed(folder.name, of_merger[-stack:]))
        else:
            of_merger = []
        found += [Observed(_stem(path), [path]) for path in files if kinds[path] and path not in of_merger]
        passed_over += [path for path in files if not kinds[path] and is_hdf5(path)]
    if not found:
        raise FileNotFoundError(
            f"'{source}' holds no snapshots; expected a run of `simulate`, a folder of snapshots or cutouts (HDF5 or "
            "GADGET binary), or one such file."
        )
    return _with_unique_names(found, source), passed_over


def _stem(path: Path) -> str:
    return path.stem if path.suffix in HDF5_ENDINGS else path.name


def _with_unique_names(found: list[Observed], source: Path) -> list[Observed]:
    """The same, those of equal names with the folders in between, and if that is not enough, with the ending."""
    for name_of in (
        lambda one: "-".join((*_home(one).relative_to(source).parts, one.name)),
        lambda one: "-".join(one.files[-1].relative_to(source).parts),
    ):
        often = Counter(one.name for one in found)
        found = [replace(one, name=name_of(one)) if often[one.name] > 1 else one for one in found]
    return found


def _home(one: Observed) -> Path:
    """The folder that holds the file, or that of the merger."""
    folder = one.files[-1].parent
    return folder.parent if folder.name == one.name else folder


def last_snapshots(folder: str | Path, stack: int = 1) -> list[list[Path]]:
    """The files of the last `stack` snapshots of each merger of a run.

    Every other snapshot in the folder comes by itself; `folder` may also be one snapshot. Raises FileNotFoundError if
    there is none.
    """
    return [one.files for one in find_snapshots(folder, stack)[0]]


# long: half of it documents its parameters
def observe_run(
    source: str | Path,
    folder: str | Path,
    settings: ObserveSettings = ObserveSettings(),
    take: TakeSettings = TakeSettings(),
    *,
    seed: int = 0,
    jobs: int | str = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Writes a set with the views of every merger of a run of `simulate`, or of every snapshot in a folder.

    Of several, one that cannot be read or has too few stars is a row with a flag, its name and the reason.

    Parameters
    ----------
    source : a run of `simulate`, a file that `read_snapshot` reads, or a folder of them, see `find_snapshots`.
    folder : where the set is written.
    settings, take : the camera, and which snapshots it sees; `take.maps` is a folder for the text maps of the thesis.
    seed : of directions and noise, which are others for every merger.
    jobs : mergers at a time, each in a process of its own; images do not depend on it.
    progress : told of the images of each merger that is done.

    Returns
    -------
    Run
        Its manifest holds `passed_over`, the HDF5 files that are no snapshots; `snapshots`, the number of mergers or
        files that were to be observed, and `failed`, how many of them could not be; and `guessed`, what their files do
        not say and was assumed, with the first that it holds for.

    Raises
    ------
    FileNotFoundError
        `source` holds no snapshots.
    FileExistsError
        The folder holds a finished run and `overwrite` is not set.
    UsageError
        None of the snapshots can be observed; the sentence is that of the first.
    """
    found, passed_over = find_snapshots(source, take.stack)
    cameras = (settings, THESIS_MAPS) if take.maps else (settings,)
    facts: dict[str, Any] = {"command": "observe", "settings": (settings, take), "seed": seed, "inputs": [source]}
    maps: list[ImageSet] = []
    guessed: dict[str, str] = {}
    failed = 0
    progress.begin(settings.views * len(found))
    with ImageSetWriter(folder, **facts, overwrite=overwrite) as writer:
        for images, *rest in observe_each(found, *cameras, seed=seed, jobs=jobs):
            writer.append(images)
            progress.advance(len(images))
            row = images.table[0]
            if row["flag"]:
                failed += 1
                continue
            maps += rest
            if "guessed" in images.table.colnames and row["guessed"]:
                guessed.setdefault(str(row["guessed"]), str(row["merger"]))
        names = [path.name for path in passed_over]
        writer.facts = {"passed_over": names, "snapshots": len(found), "failed": failed, "guessed": guessed}
    if maps:
        write_text_maps(concatenate(maps), take.maps, overwrite=overwrite)
    return writer.run


def observe_each(
    found: Sequence[Observed], *settings: ObserveSettings, seed: int = 0, jobs: int | str = 1
) -> Iterator[tuple[ImageSet, ...]]:
    """The views of each of what `find_snapshots` has found: a set for each of the settings.

    They are the same whatever `jobs`. Raises UsageError at the end if none of them can be observed.
    """
    stage = partial(_observe_files, settings=settings, seed=seed)
    good, first = 0, ""
    for images, reason in map_chunks(stage, list(enumerate(found)), jobs=jobs):
        good, first = good + (not reason), first or reason
        if not reason or len(found) > 1:
            yield images
    if not good:
        raise UsageError(first if len(found) == 1 else f"none of {len(found)} snapshots can be observed: {first}")


def _observe_files(
    numbered: tuple[int, Observed], settings: tuple[ObserveSettings, ...], seed: int
) -> tuple[tuple[ImageSet, ...], str]:
    """A set for each of the settings, and the reason if there are no views."""
    number, one = numbered
    own = int(np.random.default_rng([seed, number]).integers(2**31))  # other directions and noise for every merger
    try:
        snapshots = [_named(read_snapshot(path), one, path) for path in one.files]
        return tuple(observe(snapshots, each, seed=own) for each in settings), ""
    except (ValueError, OSError) as error:
        return tuple(_unobserved(one, str(error)) for _ in settings), str(error)


def _named(snapshot: Snapshot, one: Observed, path: Path) -> Snapshot:
    """The snapshot under its name, if it has none of its own, or another has the same."""
    about = dict(snapshot.about)
    if "merger" not in about:
        about |= {"merger": one.name, "snapshot_file": path.name}
    elif one.name not in (about["merger"], path.parent.name, _stem(path)):
        about["merger"] = one.name
    return replace(snapshot, about=about)


def _unobserved(one: Observed, reason: str) -> ImageSet:
    """One row without an image."""
    name = one.files[-1].name
    row: dict[str, Any] = {"id": one.name, "merger": one.name, "galaxy": one.name, "snapshot_file": name}
    row |= {"flag": int(Flag.UNREADABLE), "flag_text": f"{describe(Flag.UNREADABLE)} {reason}"}
    return ImageSet.from_rows(np.zeros((1, 0, 0), np.float32), [row])
