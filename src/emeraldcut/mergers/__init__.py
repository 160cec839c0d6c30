"""Galaxies made, sent on orbits and run: progenitors, orbits and suites of mergers."""

from emeraldcut.mergers.diagnostics import MERGED, THICKENING, drifts
from emeraldcut.mergers.observing import TakeSettings, find_snapshots, last_snapshots, observe_run
from emeraldcut.mergers.orbits import Orbit, OrbitSettings, draw_orbits, kepler_orbit, place, thesis_orbits
from emeraldcut.mergers.progenitors import PROGENITORS, ProgenitorSettings, make_progenitor, scaled
from emeraldcut.mergers.suite import simulate
from emeraldcut.mergers.tasks import DIAGNOSTICS, SUITE, SuiteSettings, plan, shipped_suites, snapshots_of, suite_file

__all__ = [
    "DIAGNOSTICS",
    "MERGED",
    "Orbit",
    "OrbitSettings",
    "PROGENITORS",
    "ProgenitorSettings",
    "SUITE",
    "SuiteSettings",
    "THICKENING",
    "TakeSettings",
    "draw_orbits",
    "drifts",
    "kepler_orbit",
    "find_snapshots",
    "last_snapshots",
    "make_progenitor",
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
