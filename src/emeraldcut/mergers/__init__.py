"""Light from dynamics: progenitors, orbits, gravity, suites of mergers, and the camera that looks at them."""

from emeraldcut.mergers.camera import THESIS_DIRECTIONS, THESIS_MAPS, ObserveSettings, observe, observe_both
from emeraldcut.mergers.orbits import Orbit, OrbitSettings, draw_orbits, kepler_orbit, place, thesis_orbits
from emeraldcut.mergers.progenitors import PROGENITORS, ProgenitorSettings, make_progenitor, scaled
from emeraldcut.mergers.remnant import look_at
from emeraldcut.mergers.suite import (
    DIAGNOSTICS,
    MERGED,
    SUITE,
    THICKENING,
    SuiteSettings,
    TakeSettings,
    drifts,
    last_snapshots,
    observe_run,
    plan,
    shipped_suites,
    simulate,
    snapshots_of,
    suite_file,
)

__all__ = [
    "DIAGNOSTICS",
    "MERGED",
    "ObserveSettings",
    "Orbit",
    "OrbitSettings",
    "PROGENITORS",
    "ProgenitorSettings",
    "SUITE",
    "SuiteSettings",
    "THESIS_DIRECTIONS",
    "THESIS_MAPS",
    "THICKENING",
    "TakeSettings",
    "draw_orbits",
    "drifts",
    "kepler_orbit",
    "last_snapshots",
    "look_at",
    "make_progenitor",
    "observe",
    "observe_both",
    "observe_run",
    "place",
    "plan",
    "scaled",
    "shipped_suites",
    "simulate",
    "snapshots_of",
    "suite_file",
    "thesis_orbits",
]
