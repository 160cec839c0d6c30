"""The stages of images for Python users.

They take images as people have them and settings as keywords, and give tables that show themselves. Below, `images` is
whatever `emeraldcut.as_images` takes: arrays, objects of astropy, tables with files, paths, lists. Settings are
keywords (`prevalence=0.02`) or settings objects. With `output` the work is done chunk by chunk, goes on where it was
stopped, and takes as many `jobs` as there are cores; images in memory are written beside it first by `screen`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from astropy.table import Table

from emeraldcut.api.keywords import of_any_images, take_seed
from emeraldcut.api.progress import told_by
from emeraldcut.camera import ObserveSettings
from emeraldcut.data.imageset import ImageSet
from emeraldcut.detection import SOURCES, sources_of, with_sources
from emeraldcut.errors import UsageError
from emeraldcut.frame import CleanSettings
from emeraldcut.frame import frame_galaxies as _frame_galaxies
from emeraldcut.galaxies import SynthesiseSettings
from emeraldcut.images import ReadSettings, apply_to_images, write_images
from emeraldcut.images.given import as_images, one_source
from emeraldcut.isophotes import MeasureSettings, ProfileSettings
from emeraldcut.networks import ClassifySettings
from emeraldcut.results import Result
from emeraldcut.runs import Progress, Run
from emeraldcut.runs.notices import listening
from emeraldcut.runs.run import MANIFEST, provenance
from emeraldcut.screening import ScreenSettings
from emeraldcut.settings import from_keywords
from emeraldcut.similarity import CompareSettings
from emeraldcut.tables import read_table, write_table
from emeraldcut.tables.files import check_output


def measure(images: Any, *settings: Any, output: str | Path | None = None, jobs: int | str = 1,
            overwrite: bool = False, progress: bool | Progress = False, **keywords: Any) -> Result:  # fmt: skip
    """Axis ratio, size and isophote shape of the galaxy in the middle of every image, with errors.

    Parameters
    ----------
    images : anything that `as_images` takes
    *settings : MeasureSettings, ReadSettings
        Or their values as keywords.
    output : str or Path, optional
        A table to write; its ending says in which format. `images` may then be more than fit into memory.
    jobs : int or str
        Workers, if there is an `output`.
    overwrite : bool
        Replace the table if it exists.
    progress : bool or Progress
        Show a bar, or tell an object of yours.
    **keywords
        Settings by name; `emeraldcut measure --help` lists them. `psf` may be an array. A `seed` changes nothing, since
        nothing is random.

    Returns
    -------
    Result
        See `emeraldcut.isophotes.measure` for its columns.

    Raises
    ------
    UsageError
        The images are none, or a setting is unknown or not allowed.

    Examples
    --------
    >>> import numpy as np, emeraldcut
    >>> y, x = np.mgrid[:64, :64] - 31.5
    >>> image = 100 * np.exp(-np.hypot(x / 8, y / 5)) + np.random.default_rng(1).normal(size=x.shape)
    >>> shapes = emeraldcut.measure(image, psf_fwhm_pix=2.0)
    >>> round(float(shapes["axis_ratio"][0]), 2)
    0.61
    """
    return _table_of("measure", MeasureSettings, images, settings, keywords, output, jobs, overwrite, progress)


def radial_profiles(images: Any, *settings: Any, **keywords: Any) -> Result:
    """Light, axes and harmonics of galaxies isophote by isophote, one row each.

    Parameters
    ----------
    images : anything that `as_images` takes
    *settings, **keywords
        `ProfileSettings`, `MeasureSettings` and `ReadSettings`, or their values by name. With `bands` the light of each
        band is measured on the same isophotes.

    Returns
    -------
    Result
        See `emeraldcut.isophotes.radial_profiles` for its columns. `emeraldcut.plot_isophotes(profiles.images,
        profiles)` draws them.

    Examples
    --------
    >>> import emeraldcut
    >>> profiles = emeraldcut.radial_profiles(emeraldcut.synthesise(1, seed=2), radius_step=0.2)
    >>> "a4" in profiles.colnames and len(profiles) > 5
    True
    """
    from emeraldcut.isophotes import band_profiles
    from emeraldcut.isophotes import radial_profiles as of_images

    with _as_settings(keywords):
        classes = (MeasureSettings, ProfileSettings, ReadSettings)
        measured, chosen, read_settings = from_keywords(settings, keywords, *classes)
        given = _in_memory(images, read_settings, measured.bands is not None)
        table = (of_images if measured.bands is None else band_profiles)(given, measured, chosen)
        table.meta["provenance"] = provenance("measure", (measured, chosen, read_settings))
        return Result.of(table, given)


def classify(images: Any, *settings: Any, output: str | Path | None = None, jobs: int | str = 1,
             overwrite: bool = False, progress: bool | Progress = False, **keywords: Any) -> Result:  # fmt: skip
    """The probability of each class (oval, rectangular, obround, other) for every image.

    Parameters are those of `measure`, with `ClassifySettings`.

    Returns
    -------
    Result
        See `emeraldcut.networks.classify` for its columns.

    Examples
    --------
    >>> import emeraldcut
    >>> classes = emeraldcut.classify(emeraldcut.synthesise(4, seed=1), prevalence=0.01)
    >>> len(classes), classes.colnames[0]
    (4, 'id')
    """
    return _table_of("classify", ClassifySettings, images, settings, keywords, output, jobs, overwrite, progress)


def compare(images: Any, *settings: Any, reference: Any = None, output: str | Path | None = None, jobs: int | str = 1,
            overwrite: bool = False, progress: bool | Progress = False, **keywords: Any) -> Result:  # fmt: skip
    """How similar the galaxy of every image is to a reference galaxy, whatever its orientation and size.

    Parameters are those of `measure`, with `CompareSettings`; `reference` is the name of a built-in galaxy
    ('leda074886'), or anything that `as_images` takes.

    Returns
    -------
    Result
        See `emeraldcut.similarity.compare` for its columns.

    Examples
    --------
    >>> import emeraldcut
    >>> galaxies = emeraldcut.synthesise(3, seed=1)
    >>> emeraldcut.compare(galaxies, reference=galaxies.pixels[0])["reference"].tolist()
    ['0', '0', '0']
    """
    if isinstance(reference, str | os.PathLike):
        keywords["reference"], reference = os.fspath(reference), None
    references = None if reference is None else as_images(reference)
    return _table_of(
        "compare", CompareSettings, images, settings, keywords, output, jobs, overwrite, progress, references=references
    )


def screen(images: Any, *settings: Any, output: str | Path | None = None, jobs: int | str = 1,
           overwrite: bool = False, progress: bool | Progress = False, **keywords: Any) -> Result | Run:  # fmt: skip
    """Candidates for rectangular galaxies, best first.

    Parameters are those of `measure`, with `ScreenSettings`; `output` is a folder.

    Returns
    -------
    Result or Run
        The ranked table; with `output` the run, with its page, which `emeraldcut.review` takes.

    Examples
    --------
    >>> import emeraldcut
    >>> candidates = emeraldcut.screen(emeraldcut.synthesise(4, seed=1), prevalence=0.02, seed=1)
    >>> candidates.colnames[:3], candidates["rank"].tolist()
    (['rank', 'id', 'score'], [1, 2, 3, 4])
    """
    from emeraldcut.report import report
    from emeraldcut.screening import screen as of_images
    from emeraldcut.screening import screen_run

    with _as_settings(keywords):
        chosen, read_settings = from_keywords(settings, keywords, ScreenSettings, ReadSettings)
        if output is None:
            given = _in_memory(images, read_settings)
            table = of_images(given, chosen)
            table.meta["provenance"] = provenance("screen", (chosen, read_settings))
            return Result.of(table, given)
        with told_by(progress, "screen") as told:
            source, read_settings = _in_files(images, Path(output), read_settings)
            run = screen_run(source, output, chosen, read_settings, jobs=jobs, overwrite=overwrite, progress=told)
    report(run.folder)
    return run


def clean(images: Any, *settings: Any, **keywords: Any) -> ImageSet:
    """The images without their noise; parameters are those of `measure`, with `CleanSettings`.

    Examples
    --------
    >>> import emeraldcut
    >>> len(emeraldcut.clean(emeraldcut.synthesise(2, seed=1)))
    2
    """
    from emeraldcut.frame import clean as of_images

    with _as_settings(keywords):
        chosen, read_settings = from_keywords(settings, keywords, CleanSettings, ReadSettings)
        return of_images(as_images(images, read_settings), chosen)


def synthesise(number: int | SynthesiseSettings | None = None, *settings: Any, seed: int = 0,
               **keywords: Any) -> ImageSet:  # fmt: skip
    """Labelled images of synthetic galaxies: oval, rectangular, obround, and what is none of these.

    Parameters
    ----------
    number : int, optional
        How many; or a `SynthesiseSettings`.
    seed : int
        Same seed, same images.
    **keywords
        Settings by name; `emeraldcut synthesise --help` lists them.

    Examples
    --------
    >>> import emeraldcut
    >>> len(emeraldcut.synthesise(10, size=48))
    10
    """
    from emeraldcut.galaxies import synthesise as of_settings

    if isinstance(number, SynthesiseSettings):
        settings, number = (number, *settings), None
    (chosen,) = from_keywords(settings, keywords | ({} if number is None else {"number": number}), SynthesiseSettings)
    return of_settings(chosen, seed=seed)


def observe(snapshots: Any, *settings: Any, seed: int = 0, output: str | Path | None = None, jobs: int = 1,
            overwrite: bool = False, progress: bool | Progress = False, **keywords: Any) -> ImageSet | Run:  # fmt: skip
    """Mock images of simulated galaxies from random or chosen directions.

    Parameters
    ----------
    snapshots : Snapshot, Run, path of a snapshot, of a run of `simulate` or of a folder of snapshots, or a list
    *settings, **keywords
        `ObserveSettings` and `TakeSettings`, or their values by name; `emeraldcut observe --help` lists them.
    seed : int
        Of directions and noise.
    output : str or Path, optional
        A folder to write an image set to; `snapshots` is then a path or a run.
    jobs, overwrite, progress
        As for `measure`.

    Returns
    -------
    ImageSet or Run
        With `output` the run.

    Raises
    ------
    UsageError
        None of the snapshots can be observed; FileNotFoundError where there are none.

    Examples
    --------
    >>> import numpy as np, emeraldcut
    >>> from emeraldcut.nbody.snapshot import COMPONENTS, Snapshot
    >>> places = np.random.default_rng(0).normal(size=(4000, 3)) * [3, 2, 1]
    >>> disc = np.full(len(places), COMPONENTS.index("disc"), np.int8)
    >>> galaxy = Snapshot(places, np.zeros_like(places), np.ones(len(places)), disc, np.zeros_like(disc))
    >>> len(emeraldcut.observe(galaxy, views=2))
    2
    """
    from emeraldcut.camera import observe as of_snapshots
    from emeraldcut.images import read_images
    from emeraldcut.mergers import TakeSettings, observe_run
    from emeraldcut.nbody import read_snapshot

    chosen, take = from_keywords(settings, keywords, ObserveSettings, TakeSettings)
    if isinstance(snapshots, str | os.PathLike) and (output is not None or os.path.isdir(snapshots)):
        with told_by(progress, "observe") as told, TemporaryDirectory() as folder:
            options: dict[str, Any] = {"seed": seed, "jobs": jobs, "overwrite": overwrite, "progress": told}
            run = observe_run(os.fspath(snapshots), output or Path(folder, "set"), chosen, take, **options)
            return run if output is not None else read_images(run.folder)
    if output is not None:
        raise UsageError(
            "with an output, observe takes the path of a snapshot, of a folder of them, or a run; write_images writes "
            "the images that it gives without one."
        )
    given = snapshots if isinstance(snapshots, list | tuple) else [snapshots]
    read = [read_snapshot(os.fspath(one)) if isinstance(one, str | os.PathLike) else one for one in given]
    return of_snapshots(read, chosen, seed=seed)


frame_galaxies = of_any_images(_frame_galaxies)


# --- what they have in common


def _table_of(
    name: str,
    cls: type,
    images: Any,
    settings: tuple[Any, ...],
    keywords: dict[str, Any],
    output: str | Path | None,
    jobs: int | str,
    overwrite: bool,
    progress: bool | Progress,
    **others: Any,
) -> Result:
    """What a stage that makes a table gives, in memory, or by way of a table that is written to `output`."""
    with _as_settings(keywords):
        chosen, read_settings = from_keywords(settings, keywords, cls, ReadSettings)
        stage = partial(_stage(name), settings=chosen, **{k: v for k, v in others.items() if v is not None})
        bands = getattr(chosen, "bands", None) is not None
        if output is None:
            given = _in_memory(images, read_settings, bands)
            table = stage(given)
            table.meta["provenance"] = provenance(name, (chosen, read_settings))
            return Result.of(table, given)
        source, read_settings = _at_a_path(images, read_settings)
        if source is not None:
            with told_by(progress, name) as told, listening():
                check_output(output, overwrite)
                with listening(_warn):
                    read_settings = with_sources(source, read_settings, sources_of(output), jobs=jobs, progress=told)
                path = apply_to_images(
                    stage, source, read_settings, output, command=name, settings=chosen, jobs=jobs,
                    overwrite=overwrite, bands=bands, progress=told,
                )  # fmt: skip
            return Result.of(read_table(path))
        path, given = check_output(output, overwrite), as_images(images, read_settings, bands=bands)
        table, origin = stage(given), provenance(name, (chosen, read_settings))
        write_table(table, path, provenance=origin, overwrite=overwrite)
        table.meta["provenance"] = origin
        return Result.of(table, given)


def _in_memory(images: Any, read_settings: ReadSettings, bands: bool = False) -> ImageSet:
    """See `as_images`; of mosaics that come as a path, without a catalogue, all sources that are found in them."""
    if not isinstance(images, str | os.PathLike):
        return as_images(images, read_settings, bands=bands)
    source, read_settings = _at_a_path(images, read_settings)
    assert source is not None  # of a path or a pattern
    with TemporaryDirectory() as folder, listening(_warn):
        found = with_sources(source, read_settings, Path(folder, SOURCES))
        return as_images(source, found, bands=bands)


def _at_a_path(images: Any, read_settings: ReadSettings) -> tuple[str | None, ReadSettings]:
    """Where images are, also of a list of files or a pattern, with settings to read these alone; None in memory."""
    several = isinstance(images, list | tuple) and images and all(isinstance(one, str | os.PathLike) for one in images)
    if not several and not isinstance(images, str | os.PathLike):
        return None, read_settings
    source, only = one_source([os.fspath(one) for one in images] if several else os.fspath(images))
    return source, replace(read_settings, only=only or read_settings.only)


def _warn(sentence: str) -> None:
    """Tells a notice to whoever works in Python."""
    warnings.warn(sentence, stacklevel=2)


def _stage(name: str) -> Callable[..., Table]:
    """The function of a stage that takes image sets."""
    from emeraldcut.isophotes import measure
    from emeraldcut.networks import classify
    from emeraldcut.similarity import compare

    stages: dict[str, Callable[..., Table]] = {"measure": measure, "classify": classify, "compare": compare}
    return stages[name]


def _in_files(images: Any, folder: Path, read_settings: ReadSettings) -> tuple[Path, ReadSettings]:
    """Where images are, and how they are read; those in memory are written to a set in `folder`, once."""
    path, read_settings = _at_a_path(images, read_settings)
    if path is not None:
        return Path(path), read_settings
    given = as_images(images, read_settings, bands=True)
    content = sha256("\n".join(given.table.pformat(max_lines=-1, max_width=-1)).encode("utf-8", "replace"))
    for pixels in given.pixels:
        content.update(np.ascontiguousarray(pixels).data)
    source = folder / f"images_{content.hexdigest()[:8]}"  # the same images are found again, so that the run resumes
    if not (source / MANIFEST).exists():
        write_images(given, source, command="screen", settings=read_settings)
    return source, ReadSettings()


@contextmanager
def _as_settings(keywords: dict[str, Any]) -> Iterator[None]:
    """Within it all keywords are settings: a PSF that is an array is the name of a file, and there is no seed."""
    take_seed(keywords)
    psf = keywords.get("psf")
    if psf is None or isinstance(psf, str | os.PathLike):
        yield
        return
    from astropy.io import fits

    with TemporaryDirectory() as folder:
        path = Path(folder, "psf.fits")
        fits.writeto(path, np.asarray(getattr(psf, "data", psf), dtype=np.float32))
        keywords["psf"] = str(path)
        yield
