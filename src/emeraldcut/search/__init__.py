"""Search: initial conditions of encounters whose remnants look like a galaxy."""

from emeraldcut.search.evaluation import Encounter, run_encounter
from emeraldcut.search.parameters import PriorSettings
from emeraldcut.search.remnant_shape import Body, Views, body_of, even_directions, families, view_remnant
from emeraldcut.search.search import EVALUATIONS, TABLE, WINNERS, SearchSettings, read_rows, search, stored_target
from emeraldcut.search.target import BUILT_IN, Constraint, Target, read_target

__all__ = [
    "BUILT_IN",
    "Body",
    "Constraint",
    "EVALUATIONS",
    "Encounter",
    "PriorSettings",
    "SearchSettings",
    "TABLE",
    "Target",
    "Views",
    "WINNERS",
    "body_of",
    "even_directions",
    "families",
    "read_rows",
    "read_target",
    "run_encounter",
    "search",
    "stored_target",
    "view_remnant",
]
