"""Classify: the probability of each class for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table

from emeraldcut.data.columns import describe_columns
from emeraldcut.data.flags import SENTENCES, usable
from emeraldcut.data.imageset import ImageSet, add_flag
from emeraldcut.networks.network import CLASSES, Network, load_network
from emeraldcut.networks.preprocessing import prepare
from emeraldcut.settings import setting


@dataclass(frozen=True)
class ClassifySettings:
    """Which network, and how it runs."""

    network: str = setting("screener", "the network: 'screener', or a folder with model.json and weights")
    classes: tuple[str, ...] = setting(
        (),
        "what the outputs of a network without a card mean, in their order (2: oval,rectangular)",
        choices=CLASSES,
    )
    threads: int = setting(1, "threads of the network; many images are faster with more processes instead")
    precision: str = setting("f32", "arithmetic; bf16 is faster on some processors", choices=("f32", "bf16"))

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads expects at least 1; received {self.threads}.")


def classify(
    images: ImageSet,
    settings: ClassifySettings = ClassifySettings(),
    *,
    seed: int = 0,
    frames: Any = None,
    network: Network | None = None,
) -> Table:
    """The probabilities that a network gives to each image; a row depends on its own image alone.

    Parameters
    ----------
    frames : of `frame_galaxies(images)`, if there already.
    network : a loaded network, which saves reading it for every chunk; else the one that `settings` names.
    seed : not used, because nothing is drawn; all stages take one.

    Returns
    -------
    Table
        Everything that the input's table holds, with `p_oval`, `p_rectangular`, `p_obround`, `p_other` (masked where
        the network has no such class or the image cannot be classified), `class` (the most probable one; empty if
        there is none), `network`, `flag`, `flag_text`.
    """
    if network is None:
        network = load_network(
            settings.network, classes=settings.classes, threads=settings.threads, precision=settings.precision
        )
    inputs, flags, frames = prepare(network.card["preprocessing"], images, frames, network.card["input_size"])
    good = usable(flags)
    probabilities = network.probabilities(inputs, good)
    table = images.table.copy()
    for name in CLASSES:
        table[f"p_{name}"] = _probability(network, name, probabilities, good)
    names = np.array([*network.classes, ""], dtype=object)
    best = np.nan_to_num(probabilities, nan=-1).argmax(axis=1) if len(images) else np.zeros(0, dtype=np.int64)
    table["class"] = names[np.where(good, best, len(network.classes))]
    table["network"] = np.array([network.name] * len(images), dtype=object)
    framed = network.card["preprocessing"] == "framed"
    _copy_flags(table, (frames if framed else images).table, flags)
    return describe_columns(table)


def _probability(network: Network, name: str, probabilities: np.ndarray, good: np.ndarray) -> MaskedColumn:
    """The column of one class, masked where nothing is known."""
    has = name in network.classes
    values = probabilities[:, network.classes.index(name)] if has else np.zeros(len(good), dtype=np.float32)
    mask = ~good if has else np.ones(len(good), dtype=bool)
    return MaskedColumn(np.where(mask, 0, values), mask=mask)


def _copy_flags(table: Table, source: Table, flags: np.ndarray) -> None:
    """`flag` and `flag_text` of `source` into `table`, and whatever else is set in `flags`."""
    table["flag"] = np.array(source["flag"], dtype=np.int64)
    table["flag_text"] = np.array([str(text) for text in source["flag_text"]], dtype=object)
    for bit in SENTENCES:
        add_flag(table, (flags & bit) != 0, bit)
