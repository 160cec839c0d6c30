"""Classify: the probability of each class for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.flags import Flag, usable
from emeraldcut.data.imageset import ImageSet, add_flags
from emeraldcut.frame import FrameSet
from emeraldcut.frame.frame import example_galaxy
from emeraldcut.frame.quick_shape import quick_shape_example
from emeraldcut.networks.calibration import shift_priors
from emeraldcut.networks.network import CLASSES, Network, load_network
from emeraldcut.networks.openset import OpenSet
from emeraldcut.networks.preprocessing import FOLDED_SIZE, folded_maps, prepare
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.settings import Settings, setting

UNUSUAL = 0.001  # a galaxy is flagged if a smaller fraction of known galaxies is at least as unusual


@dataclass(frozen=True, kw_only=True)
class ClassifySettings(Settings):
    """Which network classifies the images, and how it is run."""

    network: str = setting(
        "screener", "'screener', which ships with the package, or a folder with model.json and weights", reads=True
    )
    classes: tuple[str, ...] = setting(
        (),
        "classes of the outputs, in order, of a network without a card; default for two outputs oval,rectangular",
        choices=CLASSES,
    )
    threads: int = setting(
        1, "threads of the network; for many images more --jobs are faster", at_least=1, at_most=1_024
    )
    fast: bool = setting(
        False, "use 16-bit arithmetic (bf16) where available; probabilities then differ slightly between machines"
    )
    prevalence: float | None = setting(
        None,
        "expected fraction of rectangular galaxies among the images, for the probabilities; if not given, all classes "
        "are assumed equally frequent",
        above=0,
        below=1,
    )


def classify(
    images: ImageSet,
    settings: ClassifySettings = ClassifySettings(),
    *,
    frames: Any = None,
    network: Network | None = None,
) -> Table:
    """The class probabilities of each image, which depend on this image alone.

    Parameters
    ----------
    frames : the result of `frame_galaxies(images)`, if it was computed before.
    network : a loaded network, instead of the one that `settings` names.

    Returns
    -------
    Table
        The table of the images with these columns:

        - `p_oval`, `p_rectangular`, `p_obround`, `p_other`: probabilities at the stated prevalence; masked if the
          network has no such class or the image cannot be classified
        - `class`: the most probable class at equal priors; empty if there is none
        - `network`, `flag`, `flag_text`
        - `possible`, if the network has prediction sets: classes that contain the true one in nine of ten cases
        - `typical`, if the network has an open set: the fraction of galaxies of known classes that are at least as
          unusual; below 0.001 the galaxy is flagged UNUSUAL, as unlike all training data
    """
    compile_ahead("classify", quick_shape_example, classify_example)
    if network is None:
        network = load_network(
            settings.network,
            classes=settings.classes,
            threads=settings.threads,
            precision="bf16" if settings.fast else "f32",
        )
    inputs, flags, snr = prepare(network.card["preprocessing"], images, frames, network.card["input_size"])
    good = usable(flags)
    answers = network.answer(inputs, good, snr)
    probabilities = answers.probabilities
    names = np.array([*network.classes, ""], dtype=object)
    best = np.nan_to_num(probabilities, nan=-1).argmax(axis=1) if len(images) else np.zeros(0, dtype=np.int64)
    if settings.prevalence is not None:
        probabilities = shift_priors(probabilities, network.classes, settings.prevalence)
    table = images.table.copy()
    for name in CLASSES:
        table[f"p_{name}"] = _probability(network, name, probabilities, good)
    table["class"] = names[np.where(good, best, len(network.classes))]
    table["network"] = np.array([network.name] * len(images), dtype=object)
    if network.card.get("sets"):
        table["possible"] = np.where(good, _words(answers.possible, network.classes), "")
    if network.open_set is not None:
        table["typical"] = MaskedColumn(np.nan_to_num(answers.typical), mask=~good)
        flags = flags | np.where(good & (answers.typical < UNUSUAL), int(Flag.UNUSUAL), 0)
    if frames is not None:  # the flags of the frame come first
        table["flag"], table["flag_text"] = frames.table["flag"], frames.table["flag_text"]
    add_flags(table, flags)
    return describe_columns(table)


def _words(possible: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """The names of the classes that are set in each row (n, k), separated by spaces, (n,)."""
    number = 1 << np.arange(len(classes))
    words = [
        " ".join(name for name, bit in zip(classes, number, strict=True) if k & bit) for k in range(2 ** len(classes))
    ]
    return np.array(words, dtype=object)[possible @ number]


def _probability(network: Network, name: str, probabilities: np.ndarray, good: np.ndarray) -> MaskedColumn:
    """The column of one class, masked where it is not known."""
    has = name in network.classes
    values = probabilities[:, network.classes.index(name)] if has else np.zeros(len(good), dtype=np.float32)
    mask = ~good if has else np.ones(len(good), dtype=bool)
    return MaskedColumn(np.where(mask, 0, values), mask=mask)


def classify_example() -> None:
    """What is compiled ahead, see `numerics.jit`: all but the network itself, which would take time to load."""
    galaxy = example_galaxy()
    images = ImageSet([galaxy.segmentation.image], Table({"id": ["a"]}))
    folded_maps(images, FrameSet(images.table, [galaxy]), FOLDED_SIZE)
    axes = np.eye(2, dtype=np.float32)
    OpenSet(axes, axes, axes, np.zeros((3, 2), np.float32)).distances(axes)
