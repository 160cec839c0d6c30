"""Particles and what moves them."""

from emeraldcut.nbody.gravity import accelerations
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.nbody.snapshot_files import read_snapshot, write_snapshot

__all__ = [
    "EvolveSettings",
    "Snapshot",
    "accelerations",
    "evolve",
    "read_snapshot",
    "write_snapshot",
]
