"""Images and tables from elsewhere and for elsewhere, for Python users: mosaics, servers, other programs."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from emeraldcut.api.keywords import of_any_images, take_seed
from emeraldcut.api.progress import told_by
from emeraldcut.detection import DetectSettings, detect_run, sources_of, with_sources
from emeraldcut.detection import detect as of_files
from emeraldcut.errors import UsageError
from emeraldcut.images import ReadSettings
from emeraldcut.images import write_images as _write_images
from emeraldcut.images.given import write_mosaics
from emeraldcut.images.options import PlaneSettings
from emeraldcut.results import Result
from emeraldcut.runs import Progress, Run
from emeraldcut.runs.run import provenance
from emeraldcut.settings import from_keywords
from emeraldcut.tables import read_table, write_table
from emeraldcut.tables.files import check_output
from emeraldcut.tables.foreign import as_table

write_images = of_any_images(_write_images)


def detect(mosaics: Any, *settings: Any, output: str | Path | None = None, jobs: int | str = 1,
           overwrite: bool = False, progress: bool | Progress = False, **keywords: Any) -> Result:  # fmt: skip
    """The sources in mosaics, as a catalogue by which the other stages cut them out.

    Parameters
    ----------
    mosaics : path, array (ny, nx), NDData, CCDData, HDU, HDUList, or a list of these
        Of any size; a path may be that of a folder. Of those in memory `file` is the number.
    *settings, **keywords
        `DetectSettings` and `PlaneSettings`, or their values by name; `emeraldcut detect --help` lists them.
    output : str or Path, optional
        A table to write. From paths it is made part by part, and goes on where it was stopped.
    jobs, overwrite, progress
        As for `measure`.

    Returns
    -------
    Result
        See `emeraldcut.detection.detect` for its columns.

    Raises
    ------
    UsageError
        They are no mosaics; NoImagesError where nothing is found.

    Examples
    --------
    >>> import numpy as np, emeraldcut
    >>> y, x = np.mgrid[:200, :200]
    >>> field = np.random.default_rng(0).normal(size=x.shape) + 90 * np.exp(-np.hypot(x - 60, y - 120) / 5)
    >>> sources = emeraldcut.detect(field)
    >>> x, y = sources["x"].value, sources["y"].value
    >>> len(sources), bool(np.hypot(x[0] - 60, y[0] - 120) < 1)
    (1, True)
    """
    take_seed(keywords)
    chosen = from_keywords(settings, keywords, DetectSettings, PlaneSettings)
    with told_by(progress, "detect") as told:
        if isinstance(mosaics, str | os.PathLike):
            if output is None:
                return Result.of(of_files(os.fspath(mosaics), *chosen, jobs=jobs, progress=told))
            options: dict[str, Any] = {"jobs": jobs, "overwrite": overwrite, "progress": told}
            return Result.of(read_table(detect_run(os.fspath(mosaics), output, *chosen, **options)))
        if output is not None:
            output = check_output(output, overwrite)
        with TemporaryDirectory() as name:
            paths = _mosaic_files(mosaics, Path(name))
            found = of_files(name, *chosen, jobs=jobs, progress=told)
    found["file"] = np.array([_own_name(str(file), paths) for file in found["file"]], dtype=object)
    found.meta["provenance"] = provenance("detect", chosen)
    if output is not None:
        write_table(found, output, provenance=found.meta["provenance"], overwrite=overwrite)
    return Result.of(found)


def convert(source: Any, output: str | Path, *settings: Any, jobs: int | str = 1, overwrite: bool = False,
            progress: bool | Progress = False, **keywords: Any) -> Path:  # fmt: skip
    """A table, or images, in the forms that other programs take.

    Parameters
    ----------
    source : path or table
        A table in any format, or in memory; with `to`, the path of images in any form.
    output : str or Path
        A table (.parquet, .ecsv, .csv, .fits, .vot), regions for DS9 (.reg); with `to`, a folder, or the file of a MOC
        or of a table in ObsCore.
    *settings, **keywords
        `ConvertSettings` and `ReadSettings`, or their values by name; `emeraldcut convert --help` lists them.
    jobs, overwrite, progress
        As for `measure`.

    Returns
    -------
    Path
        Of what was written.

    Raises
    ------
    UsageError
        The output cannot hold the table, or the images have no place on the sky; FileExistsError.

    Examples
    --------
    >>> import emeraldcut, tempfile
    >>> from astropy.table import Table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Table({"id": ["a"], "ra": [150.1], "dec": [2.2]})
    ...     print(emeraldcut.convert(table, folder + "/a.reg").read_text().splitlines()[-1])
    point(150.1000000,2.2000000) # point=cross text={a}
    """
    from emeraldcut.exchange import ConvertSettings, convert_images, convert_table, write_hats, write_moc, write_obscore

    take_seed(keywords)
    chosen, read_settings = from_keywords(settings, keywords, ConvertSettings, ReadSettings)
    if not isinstance(source, str | os.PathLike):
        if chosen.to not in (None, "hats"):
            raise UsageError(f"convert to {chosen.to} expects the path of images; received {type(source).__name__}.")
        with TemporaryDirectory() as folder:
            path = write_table(as_table(source), Path(folder, "table.parquet"))
            return convert(path, output, chosen, read_settings, overwrite=overwrite)
    source = os.fspath(source)
    if chosen.to is None:
        return convert_table(source, output, chosen, overwrite=overwrite)
    if chosen.to == "hats":
        return write_hats(source, output, overwrite=overwrite)
    with told_by(progress, "convert") as told:
        if chosen.to in ("moc", "obscore"):
            write = write_moc if chosen.to == "moc" else write_obscore
            return write(source, output, read_settings, overwrite=overwrite, progress=told)
        options: dict[str, Any] = {"overwrite": overwrite, "progress": told}
        read_settings = with_sources(source, read_settings, sources_of(output), jobs=jobs, **options)
        return convert_images(source, output, chosen, read_settings, **options).folder


def fetch(catalogue: Any, output: str | Path, *settings: Any, jobs: int = 1, overwrite: bool = False,
          progress: bool | Progress = False, **keywords: Any) -> Run:  # fmt: skip
    """Cutouts of a survey by position, from a server; what has come is kept, and the same call goes on.

    Parameters
    ----------
    catalogue : path or table
        Of positions: `ra` and `dec` in degrees, `id` if it is known.
    output : str or Path
        A folder to write.
    *settings, **keywords
        `FetchSettings`, or its values by name, such as `survey`; `emeraldcut fetch --help` lists them.
    jobs : int
        Requests under way at the same time; `rate` holds for all of them together.
    overwrite, progress
        As for `measure`.

    Returns
    -------
    Run
        Which every stage takes as images.

    Raises
    ------
    UsageError
        There are no positions, or the folder was begun with other settings.
    ConnectionError
        The server does not answer.

    Examples
    --------
    >>> import emeraldcut
    >>> emeraldcut.fetch("galaxies.csv", "cutouts")
    Traceback (most recent call last):
    emeraldcut.errors.UsageError: fetch needs positions and a survey; give --catalogue TABLE --survey NAME.
    """
    from emeraldcut.exchange import FetchSettings
    from emeraldcut.exchange import fetch as of_settings

    take_seed(keywords)

    def got(path: str) -> Run:
        (chosen,) = from_keywords(settings, keywords | {"catalogue": path}, FetchSettings)
        with told_by(progress, "fetch") as told:
            return of_settings(output, chosen, jobs=jobs, overwrite=overwrite, progress=told)

    if isinstance(catalogue, str | os.PathLike):
        return got(os.fspath(catalogue))
    with TemporaryDirectory() as folder:
        return got(str(write_table(as_table(catalogue), Path(folder, "catalogue.parquet"))))


def export(network: Any, output: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a network for other tools.

    Parameters
    ----------
    network : str, Path or Network
        "screener", which ships with the package, a network folder, or one that `train` gave.
    output : str or Path
        .onnx, .keras, or a folder; see `emeraldcut.networks.export_network`.

    Returns
    -------
    Path

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is not set.
    MissingPackageError
        The format needs a package that is not installed.

    Examples
    --------
    >>> import emeraldcut, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(sorted(path.name for path in emeraldcut.export("screener", folder + "/net").iterdir()))
    ['card.json', 'model.json', 'model.weights.h5']
    """
    from emeraldcut.networks import export_network, load_network

    chosen = load_network(os.fspath(network)) if isinstance(network, str | os.PathLike) else network
    return export_network(chosen, output, overwrite=overwrite)


def _own_name(file: str, names: dict[str, str]) -> str:
    """The name of a mosaic by that of its file, after which the unit may follow."""
    return next((name + file.removeprefix(path) for path, name in names.items() if file.startswith(path)), file)


def _mosaic_files(mosaics: Any, folder: Path) -> dict[str, str]:
    """Names of the files in `folder` of mosaics in memory, or paths of several; by the path of each its name."""
    if isinstance(mosaics, list | tuple) and mosaics and all(isinstance(one, str | os.PathLike) for one in mosaics):
        found = {}
        for k, one in enumerate(mosaics):
            link = folder / f"{k}{Path(one).suffix}"
            link.symlink_to(Path(one).resolve())
            found[str(link)] = os.fspath(one)
        return found
    return {str(path): path.stem for path in write_mosaics(mosaics, folder)}
