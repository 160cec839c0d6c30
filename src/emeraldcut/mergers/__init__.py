"""Light from dynamics: progenitors, orbits, gravity, suites of mergers, and the camera that looks at them."""

from emeraldcut.mergers.camera import THESIS_MAPS, ObserveSettings, observe
from emeraldcut.mergers.gravity import accelerations
from emeraldcut.mergers.leapfrog import EvolveSettings, evolve
from emeraldcut.mergers.orbits import Orbit, OrbitSettings, draw_orbits, kepler_orbit, place, thesis_orbits
from emeraldcut.mergers.progenitors import PROGENITORS, ProgenitorSettings, make_progenitor, scaled
from emeraldcut.mergers.suite import (
    SUITE,
    THICKENING,
    SuiteSettings,
    TakeSettings,
    last_snapshots,
    observe_run,
    plan,
    simulate,
)

__all__ = [
    "PROGENITORS",
    "SUITE",
    "THESIS_MAPS",
    "THICKENING",
    "EvolveSettings",
    "ObserveSettings",
    "Orbit",
    "OrbitSettings",
    "ProgenitorSettings",
    "SuiteSettings",
    "TakeSettings",
    "accelerations",
    "draw_orbits",
    "evolve",
    "kepler_orbit",
    "last_snapshots",
    "make_progenitor",
    "observe",
    "observe_run",
    "place",
    "plan",
    "scaled",
    "simulate",
    "thesis_orbits",
]
