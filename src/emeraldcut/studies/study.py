"""Study: do mergers make rectangular galaxies? Fractions of classes over the mergers of a run, tested and corrected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from emeraldcut.data import ImageSet, concatenate, describe_columns
from emeraldcut.data.columns import numbers, table_from_rows
from emeraldcut.errors import UsageError
from emeraldcut.images import NoImagesError, write_images
from emeraldcut.mergers import SuiteSettings, simulate, suite_file
from emeraldcut.nbody import EvolveSettings, read_snapshot
from emeraldcut.networks import CLASSES
from emeraldcut.runs import SILENT, Progress, Run, map_chunks
from emeraldcut.runs.run import MANIFEST, changes, provenance, read_manifest
from emeraldcut.settings import from_file
from emeraldcut.similarity import References, prepare_references, read_references
from emeraldcut.studies.fractions import (
    Estimate,
    as_columns,
    complete,
    confusion_of,
    dependence,
    estimate_fractions,
    expanded,
    fractions_of,
    means_of,
    part_of,
)
from emeraldcut.studies.remnants import EXPONENTS, judge_remnant
from emeraldcut.studies.thesis import CONCLUSIONS, classify_as_thesis, conclusions, thesis_network
from emeraldcut.studies.views import (
    IMAGE_METHODS,
    IMAGE_QUALITIES,
    METHODS,
    PHASES,
    MergerCourse,
    MergerSnapshot,
    StudySettings,
    chosen_snapshots,
    classify_views,
    courses,
    known_galaxies,
)
from emeraldcut.tables import write_table

IMAGES, FRACTIONS, TESTS, ACCURACY = "images.parquet", "fractions.ecsv", "tests.ecsv", "accuracy.ecsv"
REMNANTS, BOXES = "remnants.ecsv", "boxes.ecsv"
CLOSEST, REFERENCE = "closest", "references"
SHIPPED = Path(__file__).parent / "shipped"  # TOML files
CHUNK = 100  # galaxies of known shape at a time
IMAGE_CASES = tuple((quality, method) for quality in IMAGE_QUALITIES for method in IMAGE_METHODS)
CASES = (("clear", "truth"), *IMAGE_CASES)
TESTED = {"mass_ratio": "gas_fraction", "gas_fraction": "mass_ratio"}  # and what is held fixed
SINCE_GYR, COS_INCLINATION = (0.0, 0.5, 1.0, 2.0, np.inf), (0.0, 1 / 3, 2 / 3, 1.0)  # edges of bins
RARE = ("rectangular", "obround")  # classes that are searched for
GROUPS = ("all", "model", "mass_ratio", "gas_fraction", "since_merging_gyr", "cos_inclination")
BOX_GROUPS = ("all", "model", "mass_ratio", "gas_fraction")
_COUNTED = {"mergers": "merger", "orbits": "orbit_id"}


# long: half of it documents its parameters
def study(
    source: str | Path | None,
    folder: str | Path,
    settings: StudySettings = StudySettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Measures the fraction of views that have each shape, over all mergers of finished suites, and writes a run.

    The run has these files:

    - `remnants.ecsv`: one row per relaxed remnant and isolated galaxy: from how many directions it is boxy, and what
      fraction of true boxes with as many stars the same test finds, see `remnants.judge_remnant`
    - `boxes.ecsv`: the fraction of all directions from which remnants are boxy, see `box_table`
    - `images.parquet`: one row per snapshot, view and image quality, see `classify_views`
    - `fractions.ecsv`: fractions of the classes, see `fraction_table`
    - `tests.ecsv`: dependence on mass ratio and gas fraction, see `dependence_table`
    - `accuracy.ecsv`: how well each method recovers the true outlines, see `accuracy_table`
    - `confusion.ecsv`: how often each method errs on synthetic galaxies, see `confusion_table`
    - `closest`, `references`: image sets of the relaxed remnants most like the reference, one view of each, and of the
      reference
    - `thesis.ecsv`, if `thesis_epochs` is set: the conclusions of the thesis method, see `thesis.conclusions`

    Parameters
    ----------
    source : a run of `simulate`, or a folder with several; each suite is a model. If it is None, the suites that the
        settings name are run in FOLDER/suites, unless they are there already.
    folder : folder of the run.
    jobs : number of worker processes, on which results do not depend.
    progress : is told of each merger that is run, each snapshot that is classified, and so on.

    Raises
    ------
    ValueError
        There is no source and the settings name no suite.
    FileNotFoundError
        There is no finished suite in `source`.
    NoImagesError
        No snapshot there is late enough to be studied.
    FileExistsError
        The folder holds a finished study and `overwrite` is not set.

    Examples
    --------
    A merger that is far too small to say anything, and the study says so: of true boxes with as few stars it would find
    this fraction.

    >>> import emeraldcut
    >>> from tempfile import TemporaryDirectory
    >>> small = {"mass_ratios": (1.0,), "orbits": 1, "separation": 8.0, "star_particles": 1500, "halo_particles": 600}
    >>> with TemporaryDirectory() as folder:
    ...     suite = emeraldcut.simulate(f"{folder}/suite", **small, duration_gyr=1.0, output_gyr=0.1)
    ...     run = emeraldcut.study(suite, f"{folder}/study", views=3, snapshots=1, known=60)
    ...     boxes = emeraldcut.read_table(run.path("boxes.ecsv"))
    >>> bool(0 <= boxes["power"][0] < 1)
    True
    """
    if source is None:
        source = run_suites(Path(folder) / "suites", settings, seed=seed, jobs=jobs, progress=progress)
    tasks = courses(source)
    found = chosen_snapshots(tasks, settings)
    if not any(snapshot.facts["phase"] != "alone" for snapshot in found):
        raise NoImagesError(
            f"no snapshot of a merger in '{source}' can be studied: none is {settings.relaxed_periods:g} orbital "
            "periods after coalescence or between first passage and coalescence; simulate longer (--duration-gyr)."
        )
    known = [range(first, min(first + CHUNK, settings.known)) for first in range(0, settings.known, CHUNK)]
    run = Run.start(folder, "study", settings, seed, [source], overwrite)
    references = read_references(settings.reference)
    stage = partial(_classify_and_keep, settings=settings, seed=seed, references=prepare_references(references))
    tables, closest = [], []
    progress.begin(len(found), "snapshots", "observing")
    for table, best in map_chunks(stage, [[snapshot] for snapshot in found], jobs=jobs, progress=progress):
        tables.append(table)
        closest += best
    images = describe_columns(vstack(tables, metadata_conflicts="silent"))
    judged = _judged(tasks, settings, seed, jobs, progress)
    stage = partial(known_galaxies, settings=settings, seed=seed)
    progress.begin(settings.known, "galaxies", "errors of the methods")
    classified = vstack(list(map_chunks(stage, known, jobs=jobs, progress=progress)))
    results = _results(images, classified, judged, seed)
    if settings.thesis_epochs:
        as_thesis = _as_thesis(found, Path(folder) / "thesis_network", settings, seed, jobs, progress)
        results[CONCLUSIONS] = conclusions(as_thesis, images, results[FRACTIONS], results[BOXES], seed=seed)
    for name, table in results.items():
        write_table(table, run.path(name), provenance=run.origin, overwrite=True)
    if closest:
        for name, kept in ((CLOSEST, _closest(closest, settings.best)), (REFERENCE, references)):
            write_images(kept, run.path(name), command="study", settings=settings, seed=seed, overwrite=True)
    merging = np.array(images["phase"]) != "alone"
    numbers_of = {name: len(set(images[column][merging])) for name, column in _COUNTED.items()}
    run.finish(snapshots=len(found), **numbers_of)
    return run


def _judged(tasks: list[MergerCourse], settings: StudySettings, seed: int, jobs: int, progress: Progress) -> Table:
    """What all relaxed remnants and isolated galaxies show from all sides, see `remnants.judge_remnant`."""
    stage = partial(_judge_course, settings=settings, seed=seed)
    relaxed = [(k, one) for k, one in enumerate(tasks) if len(one.settled(settings))]
    progress.begin(len(relaxed), "remnants", "judging")
    rows = list(map_chunks(stage, [[one] for one in relaxed], jobs=jobs, progress=progress))
    if not rows:
        return Table(names=["phase", "merger"], dtype=[str, str])
    return table_from_rows(rows, unknown=np.nan)


def _judge_course(chunk: list[tuple[int, MergerCourse]], settings: StudySettings, seed: int) -> dict[str, Any]:
    """The row of one remnant: the last snapshots, and as many as there are before them, which are relaxed too."""
    ((number, course),) = chunk
    settled = course.settled(settings)
    late, before = settled[-settings.stack :], settled[: -settings.stack][: settings.stack]
    row = course.facts_at(late[-1]) | {"phase": "alone" if course.alone else "relaxed"}
    row |= {"period_gyr": course.period_gyr, "time_gyr": float(course.times[late[-1]])}
    row["time_early_gyr"] = float(course.times[before[-1]]) if len(before) else None
    own = int(np.random.default_rng([seed, number]).integers(2**31))
    given = ([read_snapshot(course.files[k]) for k in chosen] for chosen in (late, before))
    return row | judge_remnant(*given, seed=own)


def _results(images: Table, classified: Table, judged: Table, seed: int) -> dict[str, Table]:
    """The tables of a study by file name, from its views and from how methods classify galaxies of known shape."""
    return {
        IMAGES: images,
        REMNANTS: judged,
        BOXES: box_table(judged, seed=seed),
        FRACTIONS: fraction_table(images, classified, judged, seed=seed),
        TESTS: dependence_table(images, judged, seed=seed),
        ACCURACY: accuracy_table(images, seed=seed),
        "confusion.ecsv": confusion_table(classified),
    }


def _as_thesis(
    found: list[MergerSnapshot], network: Path, settings: StudySettings, seed: int, jobs: int, progress: Progress
) -> Table:
    """All snapshots classified by the thesis method, whose network is trained in the folder `network`."""
    network = thesis_network(network, settings.thesis_epochs, seed=seed, progress=progress)
    stage = partial(classify_as_thesis, network=network, settings=settings, seed=seed)
    progress.begin(len(found), "snapshots", "as the thesis")
    return vstack(list(map_chunks(stage, [[snapshot] for snapshot in found], jobs=jobs, progress=progress)))


def run_suites(
    folder: Path, settings: StudySettings, *, seed: int = 0, jobs: int = 1, progress: Progress = SILENT
) -> Path:
    """Runs the suites of the settings that are not finished, each in a folder of its name, and returns `folder`.

    FileExistsError, which names what is different, if one is there that was run with other settings.
    """
    if not settings.suites:
        raise UsageError(
            "a study needs a run of `simulate`, or settings that name `suites` (presets, TOML files); received neither."
        )
    for name in settings.suites:
        own = folder / Path(name).stem
        suite, evolve = from_file(suite_file(name), SuiteSettings, EvolveSettings)
        if not (own / MANIFEST).exists():
            simulate(own, suite, evolve, seed=seed, jobs=jobs, progress=progress)
            continue
        now = provenance("simulate", (suite, evolve), seed)
        asked = {fact: now[fact] for fact in now if fact.startswith("settings.") or fact == "seed"}
        manifest = read_manifest(own)
        if changed := changes({fact: manifest.get(fact) for fact in asked}, json.loads(json.dumps(asked))):
            raise FileExistsError(
                f"'{own}' holds a suite that was run with other settings: {'; '.join(changed[:3])}. Use those, "
                "another output, or remove that folder."
            )
    return folder


def study_file(name: str) -> Path | None:
    """The TOML file of a study: the preset of this name, or the file of this name; None for a folder.

    Raises UsageError if there is neither.
    """
    if (SHIPPED / f"{name}.toml").is_file():
        return SHIPPED / f"{name}.toml"
    if not Path(name).exists():
        presets = ", ".join(sorted(path.stem for path in SHIPPED.glob("*.toml")))
        raise UsageError(f"no run, preset or TOML file named '{name}'; presets are {presets}.")
    return None if Path(name).is_dir() else Path(name)


def _classify_and_keep(
    chunk: list[MergerSnapshot], settings: StudySettings, seed: int, references: References
) -> tuple[Table, list[ImageSet]]:
    """The table of a snapshot and, if it is relaxed, its clear view most like the reference."""
    (snapshot,) = chunk
    images = classify_views(snapshot, settings, seed=seed, references=references)
    alike = np.where(
        np.array(images.table["image_quality"]) == "clear", numbers(images.table["similarity"], -1.0), -1.0
    )
    best = [images[[int(np.argmax(alike))]]] if snapshot.facts["phase"] == "relaxed" and alike.max() > -1 else []
    return images.table, best


def _closest(views: list[ImageSet], number: int) -> ImageSet:
    """The view of each merger that is most like the reference, best first, for at most `number` mergers."""
    views = sorted(views, key=lambda one: -float(one.table["similarity"][0]))
    first = {str(one.table["merger"][0]): one for one in reversed(views)}
    kept = concatenate([one for one in views if first[str(one.table["merger"][0])] is one][:number])
    kept.table["rank"] = np.arange(1, len(kept) + 1)
    return kept


def confusion_table(classified: Table) -> Table:
    """Numbers of synthetic galaxies by `image_quality`, `method`, true `label` and class given by the method."""
    rows = [
        {"image_quality": quality, "method": method, "label": name}
        | dict(zip(CLASSES, counts.astype(int).tolist(), strict=True))
        for quality, method in IMAGE_CASES
        for name, counts in zip(CLASSES, _confusion(classified, quality, method), strict=True)
    ]
    return Table(rows=rows)


def _confusion(classified: Table, quality: str, method: str) -> np.ndarray:
    own = classified[np.array(classified["image_quality"]) == quality]
    return confusion_of(np.array(own["label"]), np.array(own[METHODS[method]]), CLASSES)


def box_table(judged: Table, *, seed: int = 0) -> Table:
    """The fraction of all directions from which remnants are boxy over a range of radii, with the power of that test.

    Parameters
    ----------
    judged : as of `remnants.judge_remnant`, one row for each remnant

    Returns
    -------
    Table
        - `group`, `value`: one of BOX_GROUPS and its value; `phase`: relaxed or alone
        - `mergers`, `orbits`: their numbers
        - `boxy`: the mean of the remnants' `boxy_fraction`, with its 90 % interval over orbits
        - `boxy_early`: the mean of those that were judged earlier too; masked if there are none
        - `power`: the mean fraction of true boxes of a4/a -0.057, drawn with the remnants' stars, that the same test
          finds boxy; `power_strong`, of those of -0.086; `false_boxy`, of ellipses. Where `power` is below 0.8 nothing
          is concluded from what was not found
    """
    rng, rows = np.random.default_rng([seed, 6]), []
    for phase in ("relaxed", "alone"):
        part = judged[np.array(judged["phase"], dtype=str) == phase]
        for group, value, own in _groups(part, BOX_GROUPS):
            orbits, mean = means_of(np.asarray(own["boxy_fraction"], float), np.array(own["orbit_id"], dtype=str))
            (boxy,) = estimate_fractions(mean[:, None], rng)
            early = numbers(own["boxy_fraction_early"])
            row: dict[str, Any] = {"group": group, "value": value, "phase": phase, "mergers": len(own)}
            row |= {"orbits": len(orbits)} | as_columns("boxy", boxy)
            row["boxy_early"] = float(np.nanmean(early)) if np.isfinite(early).any() else None
            row |= {"power": float(np.mean(own["power"])), "false_boxy": float(np.mean(own["false_boxy"]))}
            rows.append(row | {"power_strong": float(np.mean(own[f"power_{max(EXPONENTS):g}"]))})
    return table_from_rows(rows, unknown=np.nan)


def fraction_table(images: Table, classified: Table, judged: Table, *, seed: int = 0) -> Table:
    """Fractions of the classes among the views, by group of mergers or views, phase, image quality and method.

    `classified` are the galaxies of known shape, from `known_galaxies`, by which fractions are corrected; `judged` are
    the remnants, from `remnants.judge_remnant`.

    Returns
    -------
    Table
        - `group`, `value`: one of GROUPS and its value, such as mass_ratio and 3
        - `phase`, `image_quality`, `method` (truth, network or isophotes), `class`
        - `mergers`, `orbits`, `images`: their numbers
        - `fraction`: the fraction of the views, with its 90 % interval over orbits, `fraction_low` to `fraction_high`
          (`fractions.fraction_interval`)
        - `corrected`, with its interval: the fraction corrected for the errors of the method on galaxies of known shape
          (`fractions.corrected`); masked for the truth
        - `sure`, with its interval: the fraction whose true outline is outside the grey zone between classes
          (`galaxies.shapes.label_of`); masked for other methods
        - `power`: the fraction of galaxies of that class that the method finds: of the truth, of boxes of a4/a -0.057
          drawn with the remnants' stars, for the class rectangular alone; `power_sure`, the fraction of these that are
          found clearly rectangular
    """
    rng, rows = np.random.default_rng([seed, 1]), []
    confusion = {(quality, method): _confusion(classified, quality, method) for quality, method in IMAGE_CASES}
    for phase, quality, method in ((phase, *seen) for phase in PHASES for seen in CASES):
        part = images[(np.array(images["phase"]) == phase) & (np.array(images["image_quality"]) == quality)]
        for group, value, own in _groups(part):
            called, orbits = np.array(own[METHODS[method]], dtype=str), np.array(own["orbit_id"], dtype=str)
            _, fractions = fractions_of(called, orbits, CLASSES)
            common: dict[str, Any] = {"group": group, "value": value, "phase": phase, "image_quality": quality}
            common |= {"method": method, "mergers": len(set(own["merger"])), "orbits": len(fractions)}
            common["images"] = len(own)
            plain = estimate_fractions(fractions, rng)
            corrected: Sequence[Estimate | None] = [None] * len(CLASSES)
            sure: Sequence[Estimate | None] = [None] * len(CLASSES)
            if (quality, method) in confusion:
                corrected = estimate_fractions(fractions, rng, confusion[quality, method])
            else:
                sure = estimate_fractions(fractions_of(np.where(own["scored"], called, ""), orbits, CLASSES)[1], rng)
            powers = _powers(confusion.get((quality, method)), judged, own)
            for name, power, *estimates in zip(CLASSES, powers, plain, sure, corrected, strict=True):
                row = common | {"class": name}
                for column, estimate in zip(("fraction", "sure", "corrected"), estimates, strict=True):
                    row |= as_columns(column, estimate)
                rows.append(row | power)
    return table_from_rows(rows, unknown=np.nan)


def _powers(confusion: np.ndarray | None, judged: Table, own: Table) -> list[dict[str, float | None]]:
    """`power` and `power_sure` of each of CLASSES, for a method with this confusion, or for the truth of the views."""
    found: list[dict[str, float | None]] = [{"power": None, "power_sure": None} for _ in CLASSES]
    if confusion is not None:
        for k, counts in enumerate(confusion):
            found[k]["power"] = float(counts[k] / counts.sum()) if counts.sum() else None
        return found
    of = np.isin(np.array(judged["merger"], dtype=str), np.array(own["merger"], dtype=str))
    if of.any():
        box = found[CLASSES.index("rectangular")]
        box["power"] = float(np.mean(judged["power_rectangular"][of]))
        box["power_sure"] = float(np.mean(judged["power_sure"][of]))
    return found


def _groups(images: Table, groups: Sequence[str] = GROUPS) -> Iterator[tuple[str, str, Table]]:
    """Name, value and rows of each group of views, or of remnants."""
    for group in groups if len(images) else ():
        if group == "all":
            yield group, "", images
        elif group in ("since_merging_gyr", "cos_inclination"):
            edges = SINCE_GYR if group == "since_merging_gyr" else COS_INCLINATION
            values = numbers(images[group])
            for low, high in pairwise(edges):
                own = images[(values >= low) & (values < high + (high == edges[-1]))]
                if len(own):
                    yield group, f"{low:.2g}-{high:.2g}".replace("-inf", " and more"), own
        else:
            known = ~np.ma.getmaskarray(images[group])
            for value in sorted(set(images[group][known])):
                yield group, f"{value:g}" if group != "model" else str(value), images[known & (images[group] == value)]


def dependence_table(images: Table, judged: Table, *, seed: int = 0) -> Table:
    """Tests whether what relaxed remnants show depends on the mass ratio and on the gas fraction.

    Returns
    -------
    Table
        One row for each variable that has several values in the run, image quality, method and class of RARE; and one
        with the class boxy, for the fraction of directions from which a remnant is boxy over a range of radii. The
        variables are mass_ratio, in factors of 2, and gas_fraction, in tenths. `slope` and `difference` have 90 %
        intervals over orbits; for these, `explained` and `p` see `fractions.Dependence`. `mergers` and `orbits` are
        their numbers.

        Only mergers are compared that are alike in all else: of one orbit and one value of the other variable, and of
        one model (suite) if each model has several values, where every value of the variable was run (`paired`).
        Mergers with gas are so compared with those without on the same orbits. Where no orbit has all values, and each
        has one merger, those on different orbits are compared. A variable that leaves nothing to compare has no row.
    """
    rng, rows = np.random.default_rng([seed, 2]), []
    relaxed = images[np.array(images["phase"]) == "relaxed"]
    remnants = judged[np.array(judged["phase"], dtype=str) == "relaxed"]
    for what, other in TESTED.items() if len(relaxed) else ():
        cases: list[tuple[dict[str, str], Table, dict[str, np.ndarray]]] = []
        boxy = {"boxy": np.asarray(remnants["boxy_fraction"], float)}
        cases.append(({"image_quality": "clear", "method": "truth"}, remnants, boxy))
        for quality, method in CASES:
            own = relaxed[np.array(relaxed["image_quality"]) == quality]
            mergers = np.array(own["merger"], dtype=str)
            _, fractions = fractions_of(np.array(own[METHODS[method]], dtype=str), mergers, CLASSES)
            first = own[np.unique(mergers, return_index=True)[1]]
            seen = {name: fractions[:, CLASSES.index(name)] for name in RARE}
            cases.append(({"image_quality": quality, "method": method}, first, seen))
        for case, facts, values_of in cases:
            rows += [{"on": what} | case | row for row in _dependences(facts, values_of, what, other, rng)]
    return Table(rows=rows) if rows else Table(names=["on", "p"], dtype=[str, float])


def _dependences(
    facts: Table, fractions: dict[str, np.ndarray], what: str, other: str, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Rows of `dependence_table` for the fractions (m,) by class of mergers with these facts; none if none compare."""
    values = numbers(facts[what])
    values = np.log2(values) if what == "mass_ratio" else 10 * values
    models = np.array(facts["model"], dtype=str)
    within = all(len(np.unique(values[models == model])) > 1 for model in set(models))
    kinds = models if within else np.full(len(models), "")
    orbits = np.array(facts["orbit_id"], dtype=str)
    found = _comparable(values, kinds, np.asarray(facts[other]), orbits)
    if found is None:
        return []
    known, alike, paired = found
    rows = []
    for name, own in fractions.items():
        result = dependence(own[known], values[known], alike[known], orbits[known], rng)
        row = {"class": name, "mergers": int(known.sum()), "orbits": len(set(orbits[known])), "paired": paired}
        row |= as_columns("slope", result.slope) | as_columns("difference", result.difference)
        rows.append(row | {"explained": result.explained, "p": result.p})
    return rows


def _comparable(
    values: np.ndarray, kinds: np.ndarray, others: np.ndarray, orbits: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """Which mergers (m,) are compared, with which of them they are alike (m,), and whether on the same orbits.

    On the same orbits if there are any with all values; else, where no two mergers share an orbit, on different ones.
    None if nothing can be compared.
    """
    rest = list(zip(kinds, others, strict=True))
    for paired in (True, False):
        ends = [f" {orbit}" if paired else "" for orbit in orbits]
        alike = np.array([f"{kind} {other}{end}" for (kind, other), end in zip(rest, ends, strict=True)])
        known = complete(values, alike)
        if len(np.unique(values[known])) > 1 and (paired or len(set(orbits[known])) == known.sum()):
            return known, alike, paired
    return None


def accuracy_table(images: Table, *, seed: int = 0) -> Table:
    """How well each method recovers the true outlines of the views, with noise and with the noise removed.

    Returns
    -------
    Table
        One row for each phase, image quality, method and class of RARE. Intervals are 90 % over orbits.

        - `found`: completeness, the fraction of the views with that outline that the method classifies so
        - `right`: purity, the fraction of the views that the method classifies so that have that outline
        - `difference`: the fraction that the method reports minus the true fraction
        - `mergers`, `orbits`, `images`: their numbers

        `found` and `right` are masked where there are no such views.
    """
    rng, rows = np.random.default_rng([seed, 3]), []
    for phase, quality, method in ((phase, *seen) for phase in PHASES for seen in IMAGE_CASES):
        own = images[(np.array(images["phase"]) == phase) & (np.array(images["image_quality"]) == quality)]
        orbits, which = np.unique(np.array(own["orbit_id"], dtype=str), return_inverse=True)
        if len(orbits) < 2:
            continue
        for name in RARE:
            is_so, called = np.array(own["label"]) == name, np.array(own[METHODS[method]]) == name
            true, seen, both, views = (
                np.bincount(which, hit, len(orbits)) for hit in (is_so, called, is_so & called, np.ones(len(own)))
            )
            excess = (seen - true) / views
            more = expanded(partial(_mean_of, excess), orbits, rng)
            row: dict[str, Any] = {"phase": phase, "image_quality": quality, "method": method, "class": name}
            row |= {"mergers": len(set(own["merger"])), "orbits": len(orbits), "images": len(own)}
            row |= as_columns("found", part_of(both, true, rng)) | as_columns("right", part_of(both, seen, rng))
            rows.append(row | as_columns("difference", more))
    return table_from_rows(rows, unknown=np.nan)


def _mean_of(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means (r,) of the values (m,) with weights (r, m)."""
    return weights @ values / weights.sum(axis=1)
