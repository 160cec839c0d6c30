"""Objective: the fraction of all directions from which a remnant looks like the target, and whether it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emeraldcut.search.evaluation import Evaluated
from emeraldcut.search.target import Target

CLOSEST = 0.1  # fraction of the directions, the closest ones, whose closeness tells bad remnants apart
REJECTED = -1.0  # added to the score of a remnant that does not count


@dataclass(frozen=True)
class Limits:
    """What a remnant must have done to count: nodes of its stars' orbits mixed, both galaxies in one place."""

    nodes: float
    separation_kpc: float


def judge(evaluated: Evaluated, target: Target, facts: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The scores of a remnant.

    Returns
    -------
    dict
        `fraction` and `fraction_choosing`, of directions that match the target, in the snapshots to score by and in
        those to choose by; `boxy_fraction`, those with a4 at most -0.04 at 1.5 to 2.5 half-light semi-major axes, in
        the snapshots to score by; `best_view`, the number of the direction that comes closest in the snapshots to
        choose by, and `best_view_matches`, whether it matches in the others; `mixed`, whether the remnant counts;
        `score`, what the search maximises: the fraction, and less than one direction more for how close the closest
        come, so that remnants without any match are told apart; of one that does not count, 1 less.
    """
    matching, choosing = target.matches(evaluated.scoring), target.matches(evaluated.choosing)
    closeness = target.closeness(evaluated.scoring)
    closest = np.sort(closeness)[-max(round(CLOSEST * len(closeness)), 1) :].mean()
    best = int(np.argmax(target.closeness(evaluated.choosing)))
    nodes = np.nanmax([evaluated.families[f"nodes_{name}"] for name in ("host", "companion")])
    mixed = bool(nodes <= limits.nodes and facts["separation_kpc"] <= limits.separation_kpc)
    score = matching.mean() + closest / (len(matching) + 1)
    return {
        "fraction": float(matching.mean()),
        "fraction_choosing": float(choosing.mean()),
        "boxy_fraction": float(evaluated.scoring.boxy().mean()),
        "best_view": best,
        "best_view_matches": bool(matching[best]),
        "mixed": mixed,
        "score": float(score + (0 if mixed else REJECTED)),
    }
