"""Search: encounters tried one after another, small ones first, and the best of them run again, larger and reseeded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.camera.remnant_shape import RADII, UNMIXED_NODES, Views
from emeraldcut.data.columns import table_from_rows
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot_files import write_snapshot
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.reading import read_json
from emeraldcut.runs.run import MANIFEST, Run, begin_or_go_on
from emeraldcut.runs.workers import map_chunks
from emeraldcut.runs.writing import write_text
from emeraldcut.search.evaluation import ACCURACY, Encounter, Remnant, bodies_of, evaluate, run_encounter
from emeraldcut.search.objective import Limits, judge
from emeraldcut.search.optimiser import METHODS, proposals
from emeraldcut.search.parameters import PriorSettings, encounter_of
from emeraldcut.search.prevalence import NatureSettings, prevalence, read_nature
from emeraldcut.search.target import MOTION, Constraint, Target, read_target
from emeraldcut.settings import Settings, setting, to_toml
from emeraldcut.tables.files import write_table

BEGUN = "search.json"  # the settings that began an unfinished search
TARGET = "target.json"
EVALUATIONS = "evaluations"  # folder: one file for each that is done
UNFINISHED = "unfinished"  # folder: of each that was stopped the last snapshots, with which it goes on
TABLE = "evaluations.ecsv"
WINNERS = "winners"  # folder: a suite for each, and the last snapshots of its first run
SMALL, FULL = "small", "full"  # kinds of evaluations
VIEWS = ("a4", "a6", "axis_ratio", "error", "radius_kpc")


@dataclass(frozen=True, kw_only=True)
class SearchSettings(Settings):
    """How much is tried, with how many particles, and what a remnant must have done to count."""

    evaluations: int = setting(96, "encounters that are tried with few particles", at_least=1, at_most=1_000_000)
    sobol: int = setting(32, "of these, the first ones, spread evenly over the priors", at_least=1, at_most=1_000_000)
    population: int = setting(8, "encounters of each generation after that", at_least=2, at_most=10_000)
    method: str = setting(
        "cma",
        "what chooses them: CMA-ES about the best of the first ones (cma), or the expected improvement by a Gaussian "
        "process (gp)",
        choices=METHODS,
    )
    particles: int = setting(
        44_000, "particles of the best encounters, which are run again", at_least=200, at_most=100_000_000
    )
    small_particles: int = setting(
        19_500, "particles of the encounters that are tried", at_least=200, at_most=100_000_000
    )
    best: int = setting(5, "best encounters that are run again", at_least=1, at_most=10_000)
    repeats: int = setting(2, "runs of each of them, each with particles of its own", at_least=1, at_most=1_000)
    cpu_hours: float | None = setting(
        None,
        "CPU time after which no new generation is begun; if not given, evaluations alone end the search",
        above=0,
        at_most=1e9,
    )
    duration_gyr: float = setting(4.0, "simulated time in Gyr", at_least=1e-6, at_most=1_000)
    star_softening_kpc: float = setting(0.1, "Plummer softening length of stars and gas", at_least=1e-6, at_most=1_000)
    halo_softening_kpc: float = setting(0.4, "Plummer softening length of halos", at_least=1e-6, at_most=1_000)
    accuracy: float = setting(
        ACCURACY, "time step in units of sqrt(softening / acceleration)", at_least=1e-4, at_most=100
    )
    output_gyr: float = setting(
        0.125, "time between the snapshots, the last six of which are viewed", at_least=1e-6, at_most=1_000
    )
    directions: int = setting(64, "directions from which a remnant is viewed", at_least=8, at_most=10_000)
    unmixed_nodes: float = setting(
        UNMIXED_NODES,
        "most that the nodes of either galaxy's stars may agree: 1 for a tilted disc, 0 for mixed orbits",
        above=0,
        at_most=1,
    )
    apart_kpc: float = setting(
        0.5, "most that the centres of both galaxies' stars may be apart at the end", above=0, at_most=100_000
    )

    nature: str = setting(
        "", "TOML file of the prior of mergers for the prevalence; if not given, ours, see the docs", reads=True
    )

    @property
    def evolve(self) -> EvolveSettings:
        """How particles are moved."""
        stars = self.star_softening_kpc
        lengths = (self.halo_softening_kpc, stars, stars, stars, stars)
        return EvolveSettings(softening_kpc=lengths, accuracy=self.accuracy, output_gyr=self.output_gyr)

    @property
    def limits(self) -> Limits:
        """What a remnant must have done to count."""
        return Limits(self.unmixed_nodes, self.apart_kpc)


@dataclass(frozen=True)
class Trial:
    """One evaluation that is asked for.

    Attributes
    ----------
    number : int
        In the order of asking; names its file.
    kind : str
        `small` or `full`.
    of : int
        Number of the small evaluation that a full one repeats; its own for a small one.
    seed : int
        Of the particles.
    parameters : dict
        See `PriorSettings.at`.
    """

    number: int
    kind: str
    of: int
    seed: int
    parameters: dict[str, float]

    def __len__(self) -> int:
        return 1


Runner = Callable[[Encounter, int, SearchSettings, Path], Remnant]


def simulate_encounter(encounter: Encounter, seed: int, settings: SearchSettings, folder: Path) -> Remnant:
    """The end of a run of an encounter with the settings of a search; what it needs to be resumed is in `folder`."""
    return run_encounter(
        encounter, seed=seed, settings=settings.evolve, duration_gyr=settings.duration_gyr, folder=folder
    )


def trial_seed(seed: int, number: int) -> int:
    """The seed of an evaluation: particles of its own."""
    return int(np.random.default_rng([seed, number]).integers(2**31))


def evaluate_trial(
    trial: Trial,
    folder: Path,
    target: Target,
    settings: SearchSettings,
    start: str,
    runner: Runner = simulate_encounter,
) -> dict[str, Any]:
    """The row of one evaluation: from its file in `folder` if it was done before, else run, viewed and written."""
    path = folder / EVALUATIONS / f"{trial.number:06}.json"
    if path.exists():
        return read_json(path)
    particles = settings.small_particles if trial.kind == SMALL else settings.particles
    encounter = encounter_of(trial.parameters, start, particles)
    remnant = runner(encounter, trial.seed, settings, folder / UNFINISHED / path.stem)
    bodies = bodies_of(remnant.snapshots)
    evaluated = evaluate(bodies, tuple(sorted({*RADII, *target.radii})), target.motion, settings.directions)
    row = asdict(trial) | remnant.facts | evaluated.families | judge(evaluated, target, remnant.facts, settings.limits)
    row["views"] = {
        "radii": list(evaluated.scoring.radii),
        "directions": evaluated.scoring.directions.round(4).tolist(),
        "choosing": _views(evaluated.choosing),
        "scoring": _views(evaluated.scoring),
    }
    if trial.kind == FULL:
        keep_stars(folder / WINNERS / f"{trial.of:06}" / f"seed{trial.seed}", remnant)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(row) + "\n")
    shutil.rmtree(folder / UNFINISHED / path.stem, ignore_errors=True)
    return row


def _views(views: Views) -> dict[str, Any]:
    names = [name for name in (*VIEWS, *MOTION) if getattr(views, name) is not None]
    return {name: np.round(getattr(views, name), 5).tolist() for name in names}


def keep_stars(folder: Path, remnant: Remnant) -> None:
    """Writes the stars of the last snapshots, for pictures and maps; halos are left out."""
    for k, snapshot in enumerate(remnant.snapshots):
        shine = snapshot.stars
        fields = ("position", "velocity", "mass", "component", "galaxy", "formed_gyr", "internal_energy")
        stars = replace(snapshot, **{name: getattr(snapshot, name)[shine] for name in fields})
        write_snapshot(stars, folder / f"snapshot_{k:04d}.hdf5")


# long: half of it documents its parameters
def search(
    source: str | Path,
    folder: str | Path,
    settings: SearchSettings = SearchSettings(),
    priors: PriorSettings = PriorSettings(),
    *,
    seed: int = 0,
    jobs: int | str = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
    runner: Runner = simulate_encounter,
) -> Run:
    """Finds encounters whose remnants look like a target, and writes all that were tried, and the best as suites.

    Small runs first: a Sobol sequence over the priors, then generations of CMA-ES or of a Gaussian process. The best of
    them are run again with more particles and other seeds. Each evaluation is kept when it is done, and while it runs
    its last snapshots, so that a search which was stopped goes on where it was, and ends with the same evaluations; how
    many work on it does not matter either. (A budget of CPU hours ends it after another number of generations where
    evaluations took another time.)

    Parameters
    ----------
    source : a target that is built in, or its TOML file, see `read_target`.
    folder : where the run is written.
    settings, priors : how much is tried, and what is known of the encounter before.
    seed : of the Sobol sequence, the generations, and the particles of every evaluation.
    jobs : evaluations at a time, or the address of a Dask scheduler.
    progress : told of each evaluation that is done.
    runner : what runs an encounter; another one for tests.

    Returns
    -------
    Run
        `evaluations.ecsv` has one row for each, best first: `number`, `kind` (small or full), `of` (the small one that
        a full one repeats), `seed`, the parameters, and what `judge`, `families` and `Remnant.facts` give. `winners/N`
        has `suite.toml`, which `simulate` repeats, and the stars of the last snapshots of its full runs. The manifest
        holds `noise`, the scatter of `fraction` among reseeded runs of the same encounter, and `winners`, their
        numbers, best first, and the `prevalence`.

    Raises
    ------
    ValueError
        A target or settings that cannot be.
    FileExistsError
        The folder holds a finished run and `overwrite` is not set, or an unfinished one with other settings.
    ImportError
        `cma` is not installed.

    Examples
    --------
    Two encounters, and the better one once more. To find something takes a night, see docs/encounters.md.

    >>> import emeraldcut
    >>> from tempfile import TemporaryDirectory
    >>> small = {"evaluations": 2, "sobol": 2, "small_particles": 2000, "particles": 2000, "best": 1, "repeats": 1}
    >>> with TemporaryDirectory() as folder:
    ...     run = emeraldcut.search("leda074886", folder, **small, population=4, duration_gyr=0.5, overwrite=True)
    ...     tried = emeraldcut.read_table(run.path("evaluations.ecsv"))
    >>> sorted(tried["kind"])
    ['full', 'small', 'small']
    """
    folder, target, nature = Path(folder), read_target(source), read_nature(settings.nature)
    run = _begin_run(folder, target, settings, priors, seed, overwrite)
    stage = partial(evaluate_trial, folder=folder, target=target, settings=settings, start=priors.start, runner=runner)
    progress.begin(settings.evaluations + settings.best * settings.repeats, "encounters")
    do = partial(_done, stage, jobs=jobs, progress=progress)
    small = search_small(do, settings, priors, seed)
    best = sorted(small, key=lambda row: -row["score"])[: settings.best]
    full = do(_repeats(best, settings, seed))
    ranked = _rank(best, full)
    table = table_from_rows([_plain(row) for row in [*full, *small]], unknown=np.nan)
    table.sort(["kind", "score"])
    table.reverse()
    write_table(table, folder / TABLE, overwrite=True)
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    for place, row in enumerate(ranked, start=1):
        _write_winner(folder, place, row, full, settings, priors)
    run.finish(
        target=target.name,
        evaluations=len(small) + len(full),
        noise=noise_of(full),
        winners=[row["number"] for row in ranked],
        prevalence=_prevalence(small[: settings.sobol], priors, nature),
        evaluation_cpu_hours=round(sum(row["simulate_cpu_s"] for row in [*small, *full]) / 3600, 3),
    )
    return run


def _begin_run(
    folder: Path, target: Target, settings: SearchSettings, priors: PriorSettings, seed: int, overwrite: bool
) -> Run:
    """The run, begun or to be gone on with; `overwrite` begins it anew."""
    facts = {"target": target.facts, "settings": asdict(settings), "priors": asdict(priors), "seed": seed}
    if overwrite:
        for path in [folder / BEGUN, *folder.glob(f"{EVALUATIONS}/*.json"), *folder.glob(f"{UNFINISHED}/*/*.hdf5")]:
            path.unlink(missing_ok=True)
    if not (folder / MANIFEST).exists():
        begin_or_go_on(folder / BEGUN, facts, "a search")
    run = Run.start(folder, "search", (settings, priors), seed, overwrite=overwrite)
    write_text(folder / TARGET, json.dumps(target.facts, indent=2) + "\n")
    return run


def _done(
    stage: Callable[[Trial], dict[str, Any]], trials: Sequence[Trial], *, jobs: int | str, progress: Progress
) -> list[dict[str, Any]]:
    """The rows of several evaluations."""
    return list(map_chunks(stage, trials, jobs=jobs, progress=progress))


def search_small(
    do: Callable[[Sequence[Trial]], list[dict[str, Any]]], settings: SearchSettings, priors: PriorSettings, seed: int
) -> list[dict[str, Any]]:
    """The rows of all small evaluations, in the order of asking."""
    rows: list[dict[str, Any]] = []
    first = min(settings.sobol, settings.evaluations)
    asking = proposals(len(priors.free), start=first, population=settings.population, seed=seed, method=settings.method)
    points = next(asking)
    while True:
        left = settings.evaluations - len(rows)
        numbers = range(len(rows), len(rows) + min(len(points), left))
        rows += do(
            [Trial(n, SMALL, n, trial_seed(seed, n), priors.at(x)) for n, x in zip(numbers, points, strict=False)]
        )
        spent = sum(row["simulate_cpu_s"] for row in rows) / 3600
        if len(rows) >= settings.evaluations or (settings.cpu_hours is not None and spent >= settings.cpu_hours):
            return rows
        points = asking.send(np.array([row["score"] for row in rows[-len(points) :]]))


def _repeats(best: Iterable[dict[str, Any]], settings: SearchSettings, seed: int) -> list[Trial]:
    """The full evaluations of the best small ones. Their numbers begin after all that the small ones could have."""
    found: list[Trial] = []
    for row in best:
        for _ in range(settings.repeats):
            number = settings.evaluations + len(found)
            found.append(Trial(number, FULL, row["number"], trial_seed(seed, number), row["parameters"]))
    return found


def _rank(best: list[dict[str, Any]], full: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The small rows of the best, by the mean score of their full runs."""
    scores = {row["number"]: np.mean([one["score"] for one in full if one["of"] == row["number"]]) for row in best}
    return sorted(best, key=lambda row: -scores[row["number"]])


def _prevalence(sobol: list[dict[str, Any]], priors: PriorSettings, nature: NatureSettings) -> dict[str, Any] | None:
    """See `prevalence`; None of what is no merger."""
    return asdict(prevalence(sobol, priors, nature)) if priors.formation == "merger" else None


def noise_of(full: list[dict[str, Any]]) -> float:
    """Standard deviation of `fraction` among runs of one encounter with other seeds, pooled; NaN without repeats."""
    squares, freedom = 0.0, 0
    for of in {row["of"] for row in full}:
        values = np.array([row["fraction"] for row in full if row["of"] == of])
        squares += float(np.sum((values - values.mean()) ** 2))
        freedom += len(values) - 1
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table holds it: without the views and the course, the parameters as columns."""
    kept = {name: value for name, value in row.items() if name not in ("views", "parameters", "course")}
    place = list(kept).index("seed") + 1
    parts = list(kept.items())
    return dict([*parts[:place], *row["parameters"].items(), *parts[place:]])


def _write_winner(
    folder: Path,
    place: int,
    row: dict[str, Any],
    full: list[dict[str, Any]],
    settings: SearchSettings,
    priors: PriorSettings,
) -> None:
    """The suite of one of the best encounters, in the folder that holds the stars of its runs."""
    own = folder / WINNERS / f"{row['number']:06}"
    own.mkdir(parents=True, exist_ok=True)
    encounter = encounter_of(row["parameters"], priors.start, settings.particles)
    seeds = [one["seed"] for one in full if one["of"] == row["number"]]
    write_text(
        own / "suite.toml",
        f"# Place {place} of a search. `emeraldcut simulate {own.name}/suite.toml --seed N` repeats its full\n"
        f"# runs to the last digit for the seeds N = {', '.join(map(str, seeds))}.\n"
        + to_toml(encounter.suite(settings.duration_gyr))
        + to_toml(encounter.evolve(settings.evolve)),
    )


def stored_target(folder: str | Path) -> Target:
    """The target of a search, as its folder holds it."""
    facts = read_json(Path(folder, TARGET))
    return Target(facts["name"], tuple(Constraint(**one) for one in facts["constraints"]), facts["about"])


def read_rows(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of all evaluations that are done, with their views, in the order of asking."""
    return [read_json(path) for path in sorted(Path(folder, EVALUATIONS).glob("*.json"))]
