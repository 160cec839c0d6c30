"""Does `search` find again what is known, and what does one of its runs cost?

    python benchmarks/search.py [--quick] [--method cma|gp] [--only recovery|cost] [--seed N]

Recovery: five encounters of the prior are drawn. What their remnants show edge-on, a4 and axis ratio at three radii
with errors, is the target, and a search of 100 evaluations has to find an encounter that matches it as often as the
known one does. Remnants are toys, drawn from what an encounter should do to the inclinations of the stars' orbits; a
simulation of each would take hours. Cost: a merger of two dwarfs as `search` runs it, 44,000 particles over 4 Gyr,
without gas and with three tenths of the discs as gas. With --quick two targets with 40 evaluations, and 9,000 particles
over 0.5 Gyr.

Keys of the last line:

    targets, evaluations, method
    recovered                targets for which the mean fraction of directions of the best encounter's repeated runs is
                             at least that of the known encounter, less two standard deviations of either mean
    dry_cpu_seconds          of one core, from the first force to the end
    dry_particles, dry_gyr, dry_steps
    wet_over_dry             CPU time with gas over that without
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import record

from emeraldcut.mergers.tasks import begin, evolution_seed, plan
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.search.evaluation import STACK, Encounter, Remnant, bodies_of
from emeraldcut.search.parameters import PriorSettings, encounter_of
from emeraldcut.search.remnant_shape import even_directions, view_remnant
from emeraldcut.search.search import SearchSettings, read_rows, search
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


def target_file(encounter: Encounter, seed: int, folder: Path) -> tuple[Path, np.ndarray]:
    """The target of a known encounter, and the fractions of directions from which its own repeats match it."""
    file = folder / "target.toml"
    views = view_remnant(bodies_of(toy(encounter, seed, SETTINGS).snapshots), np.array([[0.0, 1.0, 0.0]]), RADII)
    file.write_text(
        "\n".join(
            f"[[isophote]]\nradius = {radius}\na4 = {views.a4[0, k]}\na4_err = {A4_ERROR}\n"
            f"axis_ratio = {views.axis_ratio[0, k]}\naxis_ratio_err = {AXIS_RATIO_ERROR}"
            for k, radius in enumerate(RADII)
        )
    )
    limits = [
        one
        for k, radius in enumerate(RADII)
        for name, value, error in (
            ("a4", views.a4[0, k], A4_ERROR), ("axis_ratio", views.axis_ratio[0, k], AXIS_RATIO_ERROR)
        )
        for one in between(name, [radius], value - 2 * error, value + 2 * error)
    ]  # fmt: skip
    own = Target("known", tuple(limits))
    directions = even_directions(SETTINGS.directions)
    found = [
        own.matches(
            view_remnant(bodies_of(toy(encounter, seed + k, SETTINGS).snapshots[::2]), directions, RADII)
        ).mean()
        for k in range(1, 1 + REPEATS)
    ]
    return file, np.array(found)


def recovery(targets: int, settings: SearchSettings, seed: int) -> int:
    """How many of the targets are found again."""
    found = 0
    for k in range(targets):
        rng = np.random.default_rng([seed, k])
        while True:  # a known encounter that can be seen at all
            truth = PRIORS.at(rng.random(len(PRIORS.free)))
            with TemporaryDirectory() as folder:
                file, known = target_file(
                    encounter_of(truth, "distance", SETTINGS.particles), seed + 100 * k, Path(folder)
                )
                if known.mean() < 0.05:
                    continue
                run = search(file, Path(folder) / "run", settings, PRIORS, seed=seed + k, runner=toy)
                rows = [row for row in read_rows(run) if row["kind"] == "full"]
            break
        best = np.array([row["fraction"] for row in rows if row["of"] == run.manifest["winners"][0]])
        error = np.sqrt((known.var(ddof=1) + best.var(ddof=1)) / REPEATS)
        again = best.mean() >= known.mean() - 2 * error
        found += again
        print(f"target {k}: known {known.mean():.2f}, best {best.mean():.2f} +- {error:.2f}: "
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


def main() -> None:
    parser = record.parser(__doc__, "fewer targets and particles", seed=0)
    parser.add_argument("--method", choices=("cma", "gp"), default="cma")
    parser.add_argument("--only", choices=("recovery", "cost"))
    arguments = parser.parse_args()
    settings = replace(
        SETTINGS, method=arguments.method, **({"evaluations": 40, "sobol": 16} if arguments.quick else {})
    )
    figures: dict[str, object] = {}
    if arguments.only != "cost":
        targets = 2 if arguments.quick else 5
        recovered = recovery(targets, settings, arguments.seed)
        figures |= {"targets": targets, "evaluations": settings.evaluations, "method": settings.method,
                    "recovered": recovered}  # fmt: skip
    if arguments.only != "recovery":
        figures |= cost(*((9_000, 0.5) if arguments.quick else (44_000, 4.0)), arguments.seed)
    record.finish("search", figures, arguments)


if __name__ == "__main__":
    main()
