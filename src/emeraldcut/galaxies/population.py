"""The galaxies of each class: their kinds, how frequent each kind is, their parameters and their true shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from emeraldcut.errors import UsageError
from emeraldcut.galaxies import confusers, shapes
from emeraldcut.galaxies.profiles import Body, EdgeOnDisc, Sersic, Sum, half_light_radius

_OUTER = 1.5  # half-light radii: of the isophote that gives the truth where the shape changes with radius
ROUND = 0.8  # above this axis ratio a diamond could as well be a box seen at 45 degrees, so it is not scored
_TRUNCATED = 0.15  # fraction of galaxies that end at a sharp edge, as many discs do
_TRIES = 1000

# Relative frequencies of kinds within a class. They are choices for training, not astronomical abundances.
KINDS = {
    "oval": {"ellipse": 5, "superellipse": 2, "harmonic": 2, "lenticular": 1},
    "rectangular": {
        "superellipse": 4,
        "skewed_box": 2,
        "leda_like": 2,
        "rounded_rectangle": 1,
        "rectangle": 1,
    },
    "obround": {"obround": 3, "rounded_rectangle": 1, "soft_obround": 1},
    "other": {
        **{kind.__name__: 7 for kind in confusers.SKY},
        "disky": 7,
        "diamond": 7,
        "egg": 7,
        "cut_by_edge": 7,
        "star": 5,
        "artefact": 5,
    },
}
# Further variety of real galaxies: twists, cores, inner discs, boxes that change with radius, dust, faint arms.
WIDE_KINDS = {
    "oval": KINDS["oval"] | {"twisted": 2, "embedded_disc": 1},
    "rectangular": KINDS["rectangular"] | {"gradual_box": 2, "cored_box": 2},
    "obround": KINDS["obround"] | {"cored_obround": 1},
    "other": KINDS["other"] | {kind.__name__: 7 for kind in (confusers.dusty, confusers.faint_spiral)},
}
# What a survey really gives: boxes that change with radius or hold a disc as often as plain ones, and the stars, blends
# and defects that a list of its sources holds.
SURVEY_KINDS = {
    "oval": WIDE_KINDS["oval"],
    "rectangular": WIDE_KINDS["rectangular"] | {"leda_like": 4, "gradual_box": 4, "cored_box": 4},
    "obround": WIDE_KINDS["obround"],
    "other": WIDE_KINDS["other"] | {"star": 10, "artefact": 7, "bright_star": 30, "star_blend": 10, "defect": 8},
}
# Galaxies that are no candidates: among `other` only regular discs, as frequent beside ovals as 4 to 6.
ORDINARY_KINDS = KINDS | {"other": {"spiral": 14, "disky": 12, "barred": 7, "edge_on_disc": 7}}
POPULATIONS = {"standard": KINDS, "wide": WIDE_KINDS, "survey": SURVEY_KINDS, "ordinary": ORDINARY_KINDS}
ON_PIXELS = ("star", "artefact", "bright_star", "star_blend", "defect")


@dataclass(frozen=True)
class Galaxy:
    """An object as it is on the sky, before the telescope.

    Attributes
    ----------
    kind, label : str
    scored : bool
        False in the grey zone between labels.
    brightness : callable
        Surface brightness at (x, y) in the galaxy's frame, x along the major axis.
    unit : float
        Semi-major axis of the half-light isophote in that frame.
    truth : mapping of str to float
        Truth columns; empty for an object without a shape of its isophotes.
    """

    kind: str
    label: str
    brightness: Callable
    scored: bool = True
    unit: float = 1.0
    truth: Mapping[str, float] = field(default_factory=dict)


def draw_kind(label: str, rng: np.random.Generator, population: str = "standard") -> str:
    """A kind of the class `label`, drawn with the frequencies of the population."""
    names, weights = zip(*POPULATIONS[population][label].items(), strict=True)
    return str(rng.choice(names, p=np.array(weights) / sum(weights)))


def draw_object(
    label: str,
    kind: str,
    *,
    axis_ratios: tuple[float, float],
    sersic_indices: tuple[float, float],
    rng: np.random.Generator,
) -> Galaxy:
    """An object of this class and kind, which is none of `ON_PIXELS`, with parameters drawn by `rng`.

    Shapes whose harmonics belong to another class are drawn again. Those in the grey zone next to `label` are kept but
    not scored. Raises ValueError if there is no such galaxy in the range of axis ratios.
    """
    sky = {function.__name__: function for function in (*confusers.SKY, confusers.dusty, confusers.faint_spiral)}
    if kind in sky:
        confuser = sky[kind](rng)
        return Galaxy(kind, label, confuser.brightness)
    if kind == "cut_by_edge":  # an ordinary galaxy, most of whose outline is outside the image
        body = Body(shapes.ellipse(rng.uniform(*axis_ratios)), Sersic(_sersic_index(sersic_indices, rng)))
        return Galaxy(kind, label, body)
    for _ in range(_TRIES):
        axis_ratio, index = rng.uniform(*axis_ratios), _sersic_index(sersic_indices, rng)
        if kind in _COMPOSITES:
            galaxy = _composite(label, kind, axis_ratio, index, rng)
        else:
            galaxy = _homothetic(label, kind, axis_ratio, index, rng)
        if galaxy is not None:
            return galaxy
    raise UsageError(
        f"no galaxy of kind '{kind}' is '{label}' at axis ratios {axis_ratios[0]:g} to {axis_ratios[1]:g}; "
        "widen the range."
    )


def _sersic_index(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """A Sersic index: six of seven are from the lower 57 % of the range, which for 0.5 to 4 is 0.5 to 2.5."""
    low, high = limits
    middle = low + 0.57 * (high - low)
    return rng.uniform(low, middle) if rng.random() < 6 / 7 else rng.uniform(middle, high)


def _homothetic(label: str, kind: str, axis_ratio: float, index: float, rng: np.random.Generator) -> Galaxy | None:
    """A galaxy whose isophotes all have one shape, or None if its harmonics belong to another label."""
    shape = draw_shape(label, kind, axis_ratio, rng)
    terms = shapes.harmonics(shape)
    found, scored = shapes.label_of(terms)
    if found != label:
        return None
    profile = Sersic(index, rng.uniform(2.5, 5) if rng.random() < _TRUNCATED else np.inf)
    truth = _truth_columns(terms) | {"sersic_index": index}
    if "exponent" in shape.parameters:
        truth["exponent"] = shape.parameters["exponent"]
    if label == "other" and terms["a4"] > 0 and axis_ratio > ROUND:
        scored = False
    return Galaxy(kind, label, Body(shape, profile), scored, truth=truth)


def draw_shape(label: str, kind: str, axis_ratio: float, rng: np.random.Generator) -> shapes.Shape:
    """An outline of this kind with parameters drawn for the class `label`."""
    if kind == "ellipse":
        return shapes.ellipse(axis_ratio)
    if kind == "superellipse":
        exponent = rng.uniform(1.9, 2.15) if label == "oval" else _boxy_exponent(rng)
        return shapes.superellipse(axis_ratio, exponent)
    if kind == "harmonic":
        small = rng.normal(0, [0.008, 0.004, 0.003], (2, 3))
        orders = (3, 4, 6)
        return shapes.harmonic_outline(
            axis_ratio, dict(zip(orders, small[0], strict=True)), dict(zip(orders, small[1], strict=True))
        )
    if kind == "skewed_box":
        return shapes.skewed_box(axis_ratio, _boxy_exponent(rng), float(np.clip(rng.normal(0, 7), -12, 12)))
    if kind == "rectangle":
        return shapes.rectangle(axis_ratio)
    if kind == "rounded_rectangle":
        corner = rng.uniform(0.05, 0.5) if label == "rectangular" else rng.uniform(0.55, 1)
        return shapes.rounded_rectangle(axis_ratio, corner)
    if kind == "obround":
        return shapes.obround(axis_ratio)
    if kind == "soft_obround":  # half-way to an ellipse: harmonics smaller by the power
        sharp = shapes.obround(axis_ratio)
        return shapes.Shape("soft_obround", axis_ratio, sharp.rho ** rng.uniform(0.6, 1))
    if kind == "disky":
        return shapes.disky(axis_ratio, rng.uniform(0.025, 0.07))
    if kind == "diamond":
        return shapes.diamond(axis_ratio, rng.uniform(1.0, 1.65))
    return shapes.egg(axis_ratio, rng.uniform(0.035, 0.1))


def _boxy_exponent(rng: np.random.Generator) -> float:
    """An exponent from 2.4, in the grey zone, to 9; low ones, as galaxies have, are more frequent."""
    return float(np.exp(rng.uniform(np.log(2.4), np.log(9))))


def _lenticular(label: str, axis_ratio: float, index: float, rng: np.random.Generator) -> tuple[Callable, float]:
    """A round bulge in an inclined disc, whose isophotes all are nearly elliptical."""
    fraction = rng.uniform(0.1, 0.5)
    bulge = Body(shapes.ellipse(rng.uniform(axis_ratio, 1)), Sersic(index), rng.uniform(0.2, 0.5))
    return Sum((Body(shapes.ellipse(axis_ratio), Sersic(1.0)), bulge), (1 - fraction, fraction)), axis_ratio


def _leda_like(label: str, axis_ratio: float, index: float, rng: np.random.Generator) -> tuple[Callable, float]:
    """A body that is oval inside and a box outside, around a small edge-on disc, as in LEDA 074886."""
    knots = rng.uniform(0.2, 0.5) * np.array([1.0, 3.0, 5.0])
    middle = rng.uniform(2.5, 3.4)
    box = shapes.GradualBox(axis_ratio, tuple(knots), (2.0, middle, middle + rng.uniform(0.3, 2)))
    length = rng.uniform(0.1, 0.3)
    disc, fraction = EdgeOnDisc(length, length * rng.uniform(0.15, 0.35)), rng.uniform(0.03, 0.2)
    return Sum((Body(box, Sersic(min(index, 2.0))), disc), (1 - fraction, fraction)), axis_ratio


def _twisted(label: str, axis_ratio: float, index: float, rng: np.random.Generator) -> tuple[Callable, float]:
    """An elliptical galaxy whose inner isophotes are turned and of another axis ratio."""
    turn, fraction = np.radians(rng.uniform(5, 40)) * rng.choice([-1, 1]), rng.uniform(0.1, 0.4)
    inner = Body(shapes.ellipse(rng.uniform(max(axis_ratio - 0.15, 0.3), 1)), Sersic(index), rng.uniform(0.2, 0.5))
    outer = Body(shapes.ellipse(axis_ratio), Sersic(rng.uniform(0.7, 2)))

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        return (1 - fraction) * outer(x, y) + fraction * inner(along, across)

    return brightness, axis_ratio


def _embedded_disc(label: str, axis_ratio: float, index: float, rng: np.random.Generator) -> tuple[Callable, float]:
    """An elliptical galaxy around a small edge-on disc that its outer isophotes do not show."""
    length, fraction = rng.uniform(0.08, 0.3), rng.uniform(0.02, 0.15)
    disc = EdgeOnDisc(length, length * rng.uniform(0.15, 0.35))
    return Sum((Body(shapes.ellipse(axis_ratio), Sersic(index)), disc), (1 - fraction, fraction)), axis_ratio


def _gradual_box(label: str, axis_ratio: float, index: float, rng: np.random.Generator) -> tuple[Callable, float]:
    """A box whose exponent rises or falls outwards."""
    inner, outer = np.exp(rng.uniform(np.log(2), np.log(6), 2))
    knots = (rng.uniform(0.3, 0.8), rng.uniform(1.6, 3.0))
    box = shapes.GradualBox(axis_ratio, knots, (float(inner), float(outer)))
    return Body(box, Sersic(min(index, 2.5))), axis_ratio


def _cored(label: str, axis_ratio: float, index: float, rng: np.random.Generator) -> tuple[Callable, float]:
    """A box or an obround around a rounder core."""
    kind = "superellipse" if label == "rectangular" else "obround"
    fraction, radius = rng.uniform(0.03, 0.3), rng.uniform(0.12, 0.4)
    core = Body(shapes.ellipse(rng.uniform(axis_ratio, 1)), Sersic(rng.uniform(0.7, 2)), radius)
    return Sum(
        (Body(draw_shape(label, kind, axis_ratio, rng), Sersic(index)), core), (1 - fraction, fraction)
    ), axis_ratio


_COMPOSITES = {
    "lenticular": _lenticular,
    "leda_like": _leda_like,
    "twisted": _twisted,
    "embedded_disc": _embedded_disc,
    "gradual_box": _gradual_box,
    "cored_box": _cored,
    "cored_obround": _cored,
}


def _composite(label: str, kind: str, axis_ratio: float, index: float, rng: np.random.Generator) -> Galaxy | None:
    """A galaxy of several bodies, or None if its outer isophote belongs to another label."""
    brightness, axis_ratio = _COMPOSITES[kind](label, axis_ratio, index, rng)
    unit = half_light_radius(brightness, axis_ratio)
    terms = shapes.harmonics(shapes.trace_isophote(brightness, _OUTER * unit, axis_ratio))
    found, scored = shapes.label_of(terms)
    if found != label:
        return None
    return Galaxy(kind, label, brightness, scored, unit, _truth_columns(terms))


def _truth_columns(terms: Mapping[str, float]) -> dict[str, float]:
    """Harmonics under the names of the table."""
    names = {"axis_ratio": "axis_ratio", "a3": "a3", "a4": "a4", "b4": "b4_sin", "a6": "a6", "a8": "a8"}
    return {f"truth_{name}": terms[key] for key, name in names.items()}
