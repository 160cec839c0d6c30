"""Engines that are programs of their own: they are given particles in files, and their snapshots are read back.

None of their code is part of this package. See `program` for the contract that each module here keeps.
"""
