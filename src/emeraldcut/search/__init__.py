"""Search: initial conditions of encounters whose remnants look like a galaxy."""

from emeraldcut.search.evaluation import Encounter, run_encounter
from emeraldcut.search.parameters import PriorSettings
from emeraldcut.search.search import EVALUATIONS, TABLE, WINNERS, SearchSettings, read_rows, search, stored_target
from emeraldcut.search.target import BUILT_IN, Constraint, Target, read_target

__all__ = [
    "BUILT_IN",
    "Constraint",
    "EVALUATIONS",
    "Encounter",
    "PriorSettings",
    "SearchSettings",
    "TABLE",
    "Target",
    "WINNERS",
    "read_rows",
    "read_target",
    "run_encounter",
    "search",
    "stored_target",
]
