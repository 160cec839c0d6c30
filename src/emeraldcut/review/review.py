"""Review: people judge the candidates of a finished run, or the images of any table, on a page in their browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from emeraldcut.errors import MissingPackageError, UsageError
from emeraldcut.review.reviewed_run import ReviewedRun, ReviewSettings
from emeraldcut.runs import Run, provenance
from emeraldcut.tables import write_table
from emeraldcut.tables.files import check_output

NEEDED = "review needs the extra [review]: pip install 'emeraldcut[review]'"


# long: half of it documents its parameters
def review(
    source: str | Path | Run,
    settings: ReviewSettings = ReviewSettings(),
    *,
    seed: int = 0,
    output: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], object] = print,
) -> list[Path]:
    """Serves the page of a run or table until interrupted, or imports and exports verdicts.

    Parameters
    ----------
    source : str, Path or Run
        A finished run of `screen` or `demo`, whose verdicts are kept in its folder, in `verdicts.sqlite`; or any table
        of images, beside which they are kept in `NAME.verdicts.sqlite`.
    settings : ReviewSettings
        With `import_`, `static` or `export` these are done, and no page is served.
    seed : int
        Of the choice of candidates that are shown a second time.
    output : str or Path, optional
        Folder for `static`; by default `review` in the folder of the run, or `NAME.review` beside the table.
    overwrite : bool
        Replace earlier output of `static` or `export`.
    say : callable
        Is called with the address of the page.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    ValueError
        There is no finished run or table, a file has no verdicts, or verdicts are of candidates that it lacks.
    FileExistsError
        The output exists, and `overwrite` is not set.
    ImportError
        The extra [review] is not installed.

    Examples
    --------
    >>> import emeraldcut
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> with TemporaryDirectory() as folder:
    ...     np.save(folder + "/a.npy", np.random.default_rng(0).normal(size=(48, 48)))
    ...     path = emeraldcut.write_table(Table({"file": ["a.npy"]}), folder + "/list.csv")
    ...     [written.name for written in emeraldcut.review(path, static=True, classes=("ring", "other"))]
    ['index.html']
    """
    _check_extra()
    from emeraldcut.review.server import serve

    source = source.folder if isinstance(source, Run) else Path(source)
    if settings.export:
        check_output(settings.export, overwrite)
    run = ReviewedRun(source, settings, seed=seed)
    try:
        written = _write(run, output or run.subject.output, seed, overwrite)
        if not written:
            serve(run, say)
            written.append(run.log)
    finally:
        run.close()
    return list(dict.fromkeys(written))


def _check_extra() -> None:
    """Raises ImportError with a sentence if the extra [review] is not installed."""
    try:
        import sklearn  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f"{NEEDED} ({error}).") from error


def _write(run: ReviewedRun, output: str | Path, seed: int, overwrite: bool) -> list[Path]:
    """Imports and exports verdicts as the settings say; returns the files that were written."""
    from emeraldcut.review.static import write_static

    settings, log, written = run.settings, run.log, []
    for path in settings.import_:
        run.add(read_verdicts(path))
        written.append(log)
    if settings.export:
        origin = provenance("review", settings, seed, [log])
        written.append(
            write_table(run.joined(), settings.export, provenance=origin, overwrite=overwrite, raw=settings.raw)
        )
    if settings.static:
        written.append(write_static(run, output, overwrite=overwrite))
    return written


def read_verdicts(path: str | Path) -> list[dict]:
    """Entries from a file that the page has saved; ValueError if it has none."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["entries"]
        if isinstance(entries, list):
            return entries
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise UsageError(f"'{path}' holds no verdicts: expected JSON with a list 'entries', as the page saves it.")
