"""One evaluation: an encounter is made, run, and its remnant viewed from all sides, on two halves of its snapshots."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emeraldcut.camera.particle_isophote import particle_isophote_example
from emeraldcut.mergers.encounters import EncounterSettings
from emeraldcut.mergers.progenitors import ProgenitorSettings
from emeraldcut.mergers.tasks import SuiteSettings, begin, evolution_seed, plan, progenitor_text
from emeraldcut.nbody.leapfrog import evolve, examples
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.search.remnant_shape import Body, Views, body_of, families, view_remnant
from emeraldcut.settings import items

STACK = 6  # last snapshots: every other one to choose views by, the rest to score them
EVOLVE = EvolveSettings(softening_kpc=(0.4, 0.1, 0.1, 0.1, 0.1), accuracy=0.6, output_gyr=0.125)
DURATION_GYR = 4.0


@dataclass(frozen=True)
class Encounter:
    """Two galaxies and how they meet."""

    host: ProgenitorSettings
    companion: ProgenitorSettings
    start: EncounterSettings

    def suite(self, duration_gyr: float) -> SuiteSettings:
        """The suite of `simulate` that runs this encounter once, and nothing else."""
        return SuiteSettings(
            **{item.name: getattr(self.start, item.name) for item in items(EncounterSettings)},
            progenitor=progenitor_text(self.host),
            companion=progenitor_text(self.companion),
            grid="encounter",
            orbits=1,
            duration_gyr=duration_gyr,
            control=False,
        )


@dataclass(frozen=True)
class Remnant:
    """The end of a run.

    Attributes
    ----------
    snapshots : list of Snapshot
        The last `STACK`, the latest last.
    facts : dict
        `particles`, `energy_drift` (largest relative change), `separation_kpc` of the two centres at the end,
        `simulate_cpu_s`, `duration_gyr`.
    """

    snapshots: list[Snapshot]
    facts: dict[str, Any]


def run_encounter(
    encounter: Encounter,
    *,
    seed: int,
    settings: EvolveSettings = EVOLVE,
    duration_gyr: float = DURATION_GYR,
) -> Remnant:
    """Runs an encounter to its end, in one thread: the particles of `simulate` with `Encounter.suite` and this seed."""
    suite = encounter.suite(duration_gyr)
    (task,) = plan(suite)
    gas = max(encounter.host.gas_fraction, encounter.companion.gas_fraction) > 0
    compile_ahead("simulate", *examples(settings, gas), particle_isophote_example)
    begun, last, energies, row = time.process_time(), deque[Snapshot](maxlen=STACK), [], dict[str, Any]()
    first = begin(task, suite, seed, settings.softening_kpc)
    for state, row in evolve(first, settings, until_gyr=duration_gyr, seed=evolution_seed(seed, task)):
        energies.append(row["energy"])
        last.append(state)
    facts = {
        "particles": len(first),
        "duration_gyr": float(duration_gyr),
        "energy_drift": float(np.max(np.abs(np.array(energies) / energies[0] - 1))),
        "separation_kpc": float(row["separation_kpc"]),
        "simulate_cpu_s": time.process_time() - begun,
    }
    return Remnant(list(last), facts)


@dataclass(frozen=True)
class Evaluated:
    """What a remnant shows, in the snapshots to choose views by and in those to score by; and its families of stars."""

    choosing: Views
    scoring: Views
    families: dict[str, float]


def evaluate(bodies: Sequence[Body], radii: tuple[float, ...]) -> Evaluated:
    """The views of a remnant's last snapshots, every other one apart, from the same directions."""
    return Evaluated(
        view_remnant(bodies[1::2], radii=radii), view_remnant(bodies[::2], radii=radii), families(bodies[-1])
    )


def bodies_of(snapshots: Sequence[Snapshot]) -> list[Body]:
    """The stars of each snapshot in the frame of the remnant."""
    return [body_of(snapshot) for snapshot in snapshots]
