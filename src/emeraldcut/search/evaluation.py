"""One evaluation: an encounter is made, run, and its remnant viewed from all sides, on two halves of its snapshots."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.camera.particle_isophote import particle_isophote_example
from emeraldcut.camera.remnant_shape import DIRECTIONS, Body, Views, body_of, even_directions, families, view_remnant
from emeraldcut.mergers.encounters import EncounterSettings, TidalOrbit
from emeraldcut.mergers.progenitors import ProgenitorSettings
from emeraldcut.mergers.tasks import SuiteSettings, begin, evolution_seed, plan, progenitor_text
from emeraldcut.nbody.centre import offset
from emeraldcut.nbody.leapfrog import evolve, examples
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import read_snapshot, write_snapshot
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.settings import items

STACK = 6  # last snapshots: every other one to choose views by, the rest to score them
# With 0.6 the emerald takes 1,792 steps and not 896, its energy drifts by 2.4e-4 and not by 2.6e-4, and its boxy
# fraction is 0.47 in place of 0.45: within the noise of both.
ACCURACY = 1.2
EVOLVE = EvolveSettings(softening_kpc=(0.4, 0.1, 0.1, 0.1, 0.1), accuracy=ACCURACY, output_gyr=0.125)
DURATION_GYR = 4.0


@dataclass(frozen=True)
class Encounter:
    """Two galaxies and how they meet; or, of the rivals of a merger, one galaxy alone or in a tide.

    Attributes
    ----------
    host : ProgenitorSettings
    companion : ProgenitorSettings or None
        None for a galaxy that meets no other.
    start : EncounterSettings or None
        None together with the companion.
    tide : TidalOrbit or None
    """

    host: ProgenitorSettings
    companion: ProgenitorSettings | None = None
    start: EncounterSettings | None = None
    tide: TidalOrbit | None = None

    def suite(self, duration_gyr: float) -> SuiteSettings:
        """The suite of `simulate` that runs this encounter once, and nothing else."""
        common: dict[str, Any] = {
            "progenitor": progenitor_text(self.host), "orbits": 1, "duration_gyr": duration_gyr, "control": False
        }  # fmt: skip
        if self.companion is None or self.start is None:
            return SuiteSettings(grid="alone", **common)
        orbit = {item.name: getattr(self.start, item.name) for item in items(EncounterSettings)}
        return SuiteSettings(grid="encounter", companion=progenitor_text(self.companion), **orbit, **common)

    def evolve(self, settings: EvolveSettings) -> EvolveSettings:
        """How its particles are moved: as `settings` say, in its tide."""
        return settings if self.tide is None else self.tide.applied(settings)

    @property
    def gas(self) -> bool:
        """Whether any galaxy has gas."""
        return any(one is not None and one.gas_fraction > 0 for one in (self.host, self.companion))


@dataclass(frozen=True)
class Remnant:
    """The end of a run.

    Attributes
    ----------
    snapshots : list of Snapshot
        The last `STACK`, the latest last.
    facts : dict
        `particles`, `energy_drift` (largest relative change), `separation_kpc` of the two centres at the end (0 where
        there is one galaxy), `new_stars_msun`, `simulate_cpu_s`, `duration_gyr`, and the `course`: of each output the
        time in Gyr and x, y and z of the companion's centre from the host's in kpc.
    """

    snapshots: list[Snapshot]
    facts: dict[str, Any]


def run_encounter(
    encounter: Encounter,
    *,
    seed: int,
    settings: EvolveSettings = EVOLVE,
    duration_gyr: float = DURATION_GYR,
    folder: Path | None = None,
) -> Remnant:
    """Runs an encounter to its end, in one thread: the particles of `simulate` with `Encounter.suite` and this seed.

    With a `folder` its last snapshots are kept there, and a run that was stopped goes on from them, to the same
    particles. Who has taken what the remnant shows removes the folder.
    """
    suite, settings = encounter.suite(duration_gyr), encounter.evolve(settings)
    (task,) = plan(suite)
    compile_ahead("simulate", *examples(settings, encounter.gas), particle_isophote_example)
    begun = time.process_time()
    kept, rows, spent = _kept(folder)
    last = deque(kept, maxlen=STACK)
    states: Iterable[tuple[Snapshot, dict[str, Any]]] = ()
    if not last or last[-1].time_gyr < duration_gyr:
        first = last.pop() if last else begin(task, suite, seed, settings.softening_kpc)
        rows = rows[:-1]  # that of `first` comes again
        states = evolve(first, settings, until_gyr=duration_gyr, seed=evolution_seed(seed, task))
    for state, row in states:
        rows.append(
            {"energy": row["energy"], "new_stars": row["new_stars_mass"],
             "course": [float(v) for v in (state.time_gyr, *offset(state))]}
        )  # fmt: skip
        last.append(state)
        if folder is not None:
            about = dict(state.about) | {"rows": rows, "cpu_s": spent + time.process_time() - begun}
            _keep(folder, replace(state, about=about))
    energies = np.array([row["energy"] for row in rows])
    facts = {
        "particles": len(last[-1]),
        "duration_gyr": float(duration_gyr),
        "energy_drift": float(np.max(np.abs(energies / energies[0] - 1))),
        "separation_kpc": float(np.nan_to_num(np.linalg.norm(rows[-1]["course"][1:]))),
        "new_stars_msun": float(rows[-1]["new_stars"]),
        "simulate_cpu_s": spent + time.process_time() - begun,
        "course": [[round(v, 4) for v in row["course"]] for row in rows],
    }
    return Remnant(list(last), facts)


def _kept(folder: Path | None) -> tuple[list[Snapshot], list[dict[str, Any]], float]:
    """The last snapshots of a run that was stopped, in the order of time; the rows so far, and CPU time."""
    paths = [] if folder is None else sorted(folder.glob("state_*.hdf5"))[-STACK:]
    if not paths:
        return [], [], 0.0
    states = [read_snapshot(path) for path in paths]
    rows, spent = states[-1].about["rows"], states[-1].about["cpu_s"]
    own = [{name: v for name, v in state.about.items() if name not in ("rows", "cpu_s")} for state in states]
    return [replace(state, about=about) for state, about in zip(states, own, strict=True)], rows, spent


def _keep(folder: Path, state: Snapshot) -> None:
    """Writes a snapshot of a run that goes on, and removes those that are no longer among the last."""
    write_snapshot(state, folder / f"state_{len(state.about['rows']):05d}.hdf5")
    for old in sorted(folder.glob("state_*.hdf5"))[:-STACK]:
        old.unlink()


@dataclass(frozen=True)
class Evaluated:
    """What a remnant shows, in the snapshots to choose views by and in those to score by; and its families of stars."""

    choosing: Views
    scoring: Views
    families: dict[str, float]


def evaluate(
    bodies: Sequence[Body], radii: tuple[float, ...], motion: bool = False, directions: int = DIRECTIONS
) -> Evaluated:
    """The views of a remnant's last snapshots, every other one apart, from the same directions."""
    seen_from = even_directions(directions)
    choosing, scoring = (view_remnant(bodies[k::2], seen_from, radii, motion) for k in (1, 0))
    return Evaluated(choosing, scoring, families(bodies[-1]))


def bodies_of(snapshots: Sequence[Snapshot]) -> list[Body]:
    """The stars of each snapshot in the frame of the remnant."""
    return [body_of(snapshot) for snapshot in snapshots]
