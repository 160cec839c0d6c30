"""Does `search` find again what is known, and what does one of its runs cost?

    python benchmarks/search.py [--quick] [--method cma|gp] [--only recovery|cost] [--seed N] [--real FOLDER]

Recovery: five encounters of the prior are drawn. What their remnants show edge-on, a4 and axis ratio at three radii
with errors, is the target, and a search of 100 evaluations has to find an encounter that matches it as often as the
known one does. Remnants are toys, drawn from what an encounter should do to the inclinations of the stars' orbits.
With --real they are simulated, with 19,500 particles over 3.5 Gyr, and all twelve parameters of the prior are free; the
first, evenly spread encounters are the same for all targets and are run once. That takes one to two hours of one core,
and is resumed from FOLDER. Cost: a merger of two dwarfs as `search` runs it, 44,000 particles over 4 Gyr, without gas
and with three tenths of the discs as gas. With --quick two targets with 40 evaluations, and 9,000 particles over 0.5
Gyr.

Keys of the last line:

    targets, evaluations, method, and with --real the number of different encounters that were run
    recovered                targets for which the mean fraction of directions of the best encounter's repeated runs is
                             at least that of the known encounter, less two standard deviations of either mean
    dry_cpu_seconds          of one core, from the first force to the end
    dry_particles, dry_gyr, dry_steps
    wet_over_dry             CPU time with gas over that without
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import record

from emeraldcut.camera.remnant_shape import RADII as ALL_RADII
from emeraldcut.camera.remnant_shape import view_remnant
from emeraldcut.mergers.tasks import begin, evolution_seed, plan
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import read_snapshot
from emeraldcut.runs import read_manifest
from emeraldcut.runs.run import MANIFEST
from emeraldcut.runs.writing import write_text
from emeraldcut.search.evaluation import STACK, Encounter, Remnant, bodies_of, evaluate
from emeraldcut.search.objective import judge
from emeraldcut.search.parameters import PriorSettings, encounter_of
from emeraldcut.search.search import Runner, SearchSettings, keep_stars, read_rows, search, simulate_encounter
from emeraldcut.search.target import Target, between

RADII = (1.5, 2.0, 2.5)
A4_ERROR, AXIS_RATIO_ERROR = 0.012, 0.03
REPEATS = 4
PRIORS = PriorSettings(
    host_stars_msun=(8e8,), host_halo_msun=(3e10,), host_scale_kpc=(0.8,), companion_scale_kpc=(1.0,),
    start_kpc=(5.0,), circularity=(0.8,), azimuth_deg=(0.0,), phase_deg=(0.0,), orbit_angle_deg=(50.0, 110.0),
)  # fmt: skip
SETTINGS = SearchSettings(
    evaluations=100, sobol=32, population=8, best=2, repeats=REPEATS, particles=12_000, small_particles=6_000,
    directions=32,
)  # fmt: skip
REAL = SearchSettings(
    evaluations=100, sobol=85, population=5, method="gp", best=1, repeats=REPEATS, particles=19_500,
    small_particles=19_500, duration_gyr=3.5,
)  # fmt: skip
LEAST_KNOWN = 0.05  # fraction of directions from which a known encounter's own repeats match its target
COST = {"host_gas_fraction": 0.3, "companion_gas_fraction": 0.3}


def toy(encounter: Encounter, seed: int, settings: SearchSettings, folder: Path | None = None) -> Remnant:
    """Both discs keep their stars, whose orbits take inclinations that share the orbit's angle as the masses do.

    They spread with the companion's tilt and with its dark matter, by a law of our own that gives boxes and none.
    """
    assert encounter.companion is not None
    assert encounter.start is not None
    first, second = encounter.host.disc_mass_msun, encounter.companion.disc_mass_msun
    share = second / (first + second)
    spread = 5 + 0.4 * encounter.start.tilt_deg + 6 * np.log(encounter.companion.halo_mass_msun / second)
    angle = encounter.start.orbit_angle_deg
    middle = np.array([angle * share, angle * (1 - share)])
    number = encounter.host.star_particles + encounter.companion.star_particles
    rng = np.random.default_rng(seed)
    snapshots = [drawn(number, middle, spread, rng) for _ in range(STACK)]
    facts = {"particles": number, "duration_gyr": 4.0, "energy_drift": 0.0, "separation_kpc": 0.0,
             "new_stars_msun": 0.0, "simulate_cpu_s": 0.0, "course": [[0.0, 5.0, 0.0, 0.0]]}  # fmt: skip
    return Remnant(snapshots, facts)


def drawn(number: int, middle_deg: np.ndarray, spread_deg: float, rng: np.random.Generator) -> Snapshot:
    """Stars on circular orbits of two families with nodes all around."""
    galaxy = np.arange(number) % 2
    radius, phase, node = rng.gamma(2.0, 1.0, number), *rng.uniform(0, 2 * np.pi, (2, number))
    tilt = np.radians(rng.normal(middle_deg[galaxy], spread_deg))
    towards = np.stack([np.cos(node), np.sin(node), np.zeros(number)], axis=1)
    beyond = np.stack([-np.sin(node) * np.cos(tilt), np.cos(node) * np.cos(tilt), np.sin(tilt)], axis=1)
    cosine, sine = np.cos(phase)[:, None], np.sin(phase)[:, None]
    position = radius[:, None] * (cosine * towards + sine * beyond)
    velocity = 40 * (cosine * beyond - sine * towards)
    return Snapshot(
        position.astype(np.float32), velocity.astype(np.float32), np.full(number, 1e5, np.float32),
        np.ones(number, np.int8), galaxy.astype(np.int8), 4.0,
    )  # fmt: skip


def kept(encounter: Encounter, seed: int, settings: SearchSettings, folder: Path, *, store: Path) -> Remnant:
    """A simulated remnant; its stars are kept in `store` for other searches that ask for the same run.

    What a run needs to be resumed is in `store` too, and not in `folder`, since another search may go on with it.
    """
    what = repr((encounter, seed, settings.duration_gyr, settings.evolve))
    own = store / f"{zlib.crc32(what.encode()):08x}-{seed}"
    if not (own / "facts.json").exists():
        remnant = simulate_encounter(encounter, seed, settings, own / "unfinished")
        keep_stars(own, remnant)
        write_text(own / "facts.json", json.dumps(remnant.facts))
        shutil.rmtree(own / "unfinished")
    snapshots = [read_snapshot(path) for path in sorted(own.glob("snapshot_*.hdf5"))]
    return Remnant(snapshots, json.loads((own / "facts.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Trials:
    """How recovery is tried: what runs the encounters, which are searched and how, and where it is kept."""

    runner: Runner
    settings: SearchSettings
    priors: PriorSettings
    folder: Path


def target_of(remnant: Remnant) -> tuple[str, Target]:
    """What a remnant shows edge-on, as the text of a target file and as a target."""
    views = view_remnant(bodies_of(remnant.snapshots), np.array([[0.0, 1.0, 0.0]]), RADII)
    values = {"a4": (views.a4[0], A4_ERROR), "axis_ratio": (views.axis_ratio[0], AXIS_RATIO_ERROR)}
    lines, limits = [], []
    for k, radius in enumerate(RADII):
        lines.append(f"[[isophote]]\nradius = {radius}")
        for name, (value, error) in values.items():
            lines.append(f"{name} = {value[k]}\n{name}_err = {error}")
            limits += between(name, [radius], value[k] - 2 * error, value[k] + 2 * error)
    return "\n".join(lines), Target("known", tuple(limits))


def known(trials: Trials, parameters: dict[str, float], seed: int) -> tuple[str, np.ndarray]:
    """The target of a known encounter, and the fractions of directions from which its own repeats match it.

    A repeat that `search` would reject, since its stars have not mixed, counts as 0.
    """
    encounter = encounter_of(parameters, "distance", trials.settings.small_particles)
    run = partial(trials.runner, encounter, settings=trials.settings, folder=trials.folder)
    text, own = target_of(run(seed=seed))
    found = []
    for k in range(1, 1 + REPEATS):
        remnant = run(seed=seed + k)
        evaluated = evaluate(bodies_of(remnant.snapshots), ALL_RADII, directions=trials.settings.directions)
        judged = judge(evaluated, own, remnant.facts, trials.settings.limits)
        found.append(judged["fraction"] if judged["mixed"] else 0.0)
    return text, np.array(found)


def recovery(targets: int, trials: Trials, seed: int) -> int:
    """How many of the targets are found again."""
    found = 0
    for k in range(targets):
        rng = np.random.default_rng([seed, k])
        while True:  # a known encounter that can be seen at all
            truth = trials.priors.at(rng.random(len(trials.priors.free)))
            text, fractions = known(trials, truth, 1000 + seed + 100 * k)
            if fractions.mean() >= LEAST_KNOWN:
                break
        own = trials.folder / f"target{k}"
        own.mkdir(parents=True, exist_ok=True)
        (own / "target.toml").write_text(text)
        run = own / "run"
        if not (run / MANIFEST).exists():
            search(own / "target.toml", run, trials.settings, trials.priors, seed=seed, runner=trials.runner)
        winner = read_manifest(run)["winners"][0]
        rows = [row for row in read_rows(run) if row["kind"] == "full" and row["of"] == winner]
        best = np.array([row["fraction"] if row["mixed"] else 0.0 for row in rows])
        error = np.sqrt((fractions.var(ddof=1) + best.var(ddof=1)) / REPEATS)
        again = best.mean() >= fractions.mean() - 2 * error
        found += again
        print(f"target {k}: known {fractions.mean():.2f}, best {best.mean():.2f} +- {error:.2f} (no. {winner}): "
              f"{'found' if again else 'not found'}", flush=True)  # fmt: skip
    return found


def cost(particles: int, gyr: float, seed: int) -> dict[str, float]:
    """CPU time of a merger without and with gas."""
    settings = SearchSettings().evolve
    prior = PriorSettings()
    middle = prior.at(np.full(len(prior.free), 0.5))
    seconds, facts = [], {}
    for parameters in (middle, middle | COST):
        suite = encounter_of(parameters, "distance", particles).suite(gyr)
        (task,) = plan(suite)
        first = begin(task, suite, seed, settings.softening_kpc)
        states = evolve(first, settings, until_gyr=gyr, seed=evolution_seed(seed, task))
        next(states)
        begun = time.process_time()
        steps = [row["steps"] for _, row in states][-1]
        seconds.append(time.process_time() - begun)
        print(f"{len(first):,} particles, {gyr:g} Gyr: {seconds[-1]:.1f} CPU s, {steps} steps", flush=True)
        facts = facts or {"dry_cpu_seconds": seconds[0], "dry_particles": len(first), "dry_gyr": gyr,
                          "dry_steps": int(steps)}  # fmt: skip
    return facts | {"wet_over_dry": seconds[1] / seconds[0]}


def recover(arguments: argparse.Namespace) -> dict[str, object]:
    """Tries recovery as the command line asks, and records it."""
    targets = 2 if arguments.quick else 5
    if arguments.real:
        store = arguments.real / "runs"
        trials = Trials(partial(kept, store=store), REAL, PriorSettings(), arguments.real)
        recovered = recovery(targets, trials, arguments.seed)
        figures = {"encounters": len(list(store.glob("*/facts.json")))}
    else:
        fewer = {"evaluations": 40, "sobol": 16} if arguments.quick else {}
        with TemporaryDirectory() as folder:
            trials = Trials(toy, replace(SETTINGS, method=arguments.method, **fewer), PRIORS, Path(folder))
            recovered = recovery(targets, trials, arguments.seed)
        figures = {}
    figures |= {"targets": targets, "evaluations": trials.settings.evaluations, "method": trials.settings.method,
                "recovered": recovered}  # fmt: skip
    record.save("search-recovery-real" if arguments.real else "search-recovery", figures, arguments)
    return figures


def main() -> None:
    parser = record.parser(__doc__, "fewer targets and particles", seed=0)
    parser.add_argument("--method", choices=("cma", "gp"), default="cma")
    parser.add_argument("--only", choices=("recovery", "cost"))
    parser.add_argument("--real", type=Path, help="simulate the encounters, and keep their runs in this folder")
    arguments = parser.parse_args()
    figures: dict[str, object] = {}
    if arguments.only != "cost":
        figures |= recover(arguments)
    if arguments.only != "recovery":
        spent = cost(*((9_000, 0.5) if arguments.quick else (44_000, 4.0)), arguments.seed)
        record.save("search-cost", spent, arguments)
        figures |= spent
    record.show(figures)


if __name__ == "__main__":
    main()
