"""Engines that are programs of their own: they are given particles in files, and their snapshots are read back.

None of their code is part of this package. See `program` for the contract that each module here keeps.
"""

ENGINES = {  # name of the engine, as `EvolveSettings.engine` has it: module that knows how to talk to it
    "amuse:fi": "emeraldcut.mergers.engines.amuse_codes",
    "amuse:gadget2": "emeraldcut.mergers.engines.amuse_codes",
    "gadget2": "emeraldcut.mergers.engines.gadget",
    "gadget4": "emeraldcut.mergers.engines.gadget",
    "swift": "emeraldcut.mergers.engines.swift",
}
