"""A trained network: a folder with model.json, model.weights.h5 and card.json, and its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from emeraldcut.data.flags import usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.networks.calibration import IDENTITY, calibrate, expected_found, in_set
from emeraldcut.networks.card import card_page
from emeraldcut.networks.inference import Predictor, input_shape
from emeraldcut.networks.keras_files import Layer, read_keras
from emeraldcut.networks.openset import OpenSet
from emeraldcut.networks.preprocessing import PREPROCESSING, prepare

SHIPPED = Path(__file__).parent / "weights"
OPEN_SET = "open_set.npz"
CLASSES = ("oval", "rectangular", "obround", "other")
# By the number of outputs; the thesis's integer labels are 1, 2, 3 in this order.
THESIS_CLASSES = {2: ("oval", "rectangular"), 3: ("oval", "rectangular", "obround")}


@dataclass(frozen=True)
class Answers:
    """What a network says of images, in the order of its classes; NaN where an image cannot be classified.

    Attributes
    ----------
    probabilities : (n, k) float32
        Calibrated, at equal priors.
    typical : (n,) float32
        Share of galaxies of the training's classes that are at least as unusual; NaN if the network cannot say.
    possible : (n, k) bool
        The classes that the true one is among with probability 0.9; all of them if the network cannot say.
    """

    probabilities: np.ndarray
    typical: np.ndarray
    possible: np.ndarray


@dataclass(frozen=True)
class Network:
    """A trained network with its card.

    Attributes
    ----------
    name : str
        As it was asked for: `screener`, or the folder's name.
    layers : list of `Layer`
    card : dict
        `classes` (in the order of the outputs), `input_size` (pixels), `preprocessing` (a name in
        `PREPROCESSING`), `calibration` (see `calibrate`), and `sets` (see `fit_sets`) if it has them;
        networks trained here also say `training`, `metrics`, `settings`, `seed`, `version` and `licence`.
    open_set : OpenSet or None
    folder : Path
    threads, precision
        See `Predictor`.
    """

    name: str
    layers: list[Layer]
    card: dict[str, Any]
    open_set: OpenSet | None = None
    folder: Path = Path()
    threads: int = 1
    precision: str = "f32"

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that it tells apart, in the order of its outputs."""
        return tuple(self.card["classes"])

    @property
    def weights_file(self) -> Path:
        """The file that its weights were read from."""
        return _weights_file(self.folder)

    @cached_property
    def predictor(self) -> Predictor:
        """The compiled network, made when first needed."""
        return Predictor(self.layers, threads=self.threads, precision=self.precision)

    def expected_found(self, prevalence: float, snr: np.ndarray) -> dict[str, list[float]] | None:
        """What is to be expected among images of these snr (n,), see `calibration.expected_found`; None if unknown."""
        counts = self.card.get("metrics", {}).get("found")
        return None if counts is None else expected_found(counts, self.classes, prevalence, snr)

    def predict(self, images: ImageSet, frames: Any = None) -> np.ndarray:
        """Probabilities (n, k) at equal priors; NaN in the rows of images that cannot be classified."""
        inputs, flags, snr = prepare(self.card["preprocessing"], images, frames, self.card["input_size"])
        return self.answer(inputs, usable(flags), snr).probabilities

    def answer(self, inputs: np.ndarray, good: np.ndarray, snr: np.ndarray) -> Answers:
        """What it says of prepared `inputs` (n, size, size[, channels]) where they are `good` (n,), given their snr."""
        n, k = len(inputs), len(self.classes)
        probabilities, typical = np.full((n, k), np.nan, np.float32), np.full(n, np.nan, np.float32)
        possible = np.ones((n, k), dtype=bool)
        outputs, features = self.predictor(inputs, good)
        probabilities[good] = calibrate(outputs, self.card["calibration"], snr[good])
        if self.open_set is not None:
            typical[good] = self.open_set.typical(features)
        if self.card.get("sets"):
            possible[good] = in_set(probabilities[good], self.card["sets"], snr[good])
        return Answers(probabilities, typical, possible)


def load_network(name: str | Path, *, classes: Sequence[str] = (), threads: int = 1, precision: str = "f32") -> Network:
    """The network called `name`: one that comes with the program (`screener`), or a folder.

    A folder has `model.json`, `model.weights.h5` and `card.json`. Without a card it is read as one of the
    thesis (`model.json` and `model.h5`): raw 50 x 50 maps, classes by the number of outputs. `classes` names
    the outputs where there is no card, e.g. ("rectangular", "obround").

    Raises
    ------
    FileNotFoundError
        If there is no such network.
    ValueError
        If its files cannot be used.
    """
    folder = SHIPPED / name if (SHIPPED / name / "card.json").is_file() else Path(name)
    if not folder.is_dir():
        shipped = sorted(path.parent.name for path in SHIPPED.glob("*/card.json"))
        known = f"one of {', '.join(shipped)}, or " if shipped else ""
        raise FileNotFoundError(f"a network is {known}a folder with its files; found no '{name}'.")
    files = ((path.name, path.stat()) for path in sorted(folder.iterdir()))
    changed = tuple((file, stat.st_mtime_ns, stat.st_size) for file, stat in files)
    return _read_network(folder.resolve(), changed, tuple(classes), threads, precision)


@lru_cache(maxsize=4)
def _read_network(folder: Path, changed: tuple, classes: tuple[str, ...], threads: int, precision: str) -> Network:
    """The network in `folder`, kept while its files stay as they are: chunks share one compilation."""
    architecture, card_file = folder / "model.json", folder / "card.json"
    layers = read_keras(architecture if architecture.is_file() else None, _weights_file(folder))
    card = json.loads(card_file.read_text()) if card_file.is_file() else _thesis_card(layers, classes)
    _check_card(folder, layers, card)
    open_set = None
    if (folder / OPEN_SET).is_file():
        with np.load(folder / OPEN_SET) as arrays:
            open_set = OpenSet.from_arrays(arrays)
    return Network(folder.name, layers, card, open_set, folder, threads, precision)


def save_network(model: Any, folder: str | Path, card: dict[str, Any], open_set: OpenSet | None = None) -> Path:
    """Writes a Keras 3 `model` as `folder`; the card goes last, so that a folder with a card is complete."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    (folder / "model.json").write_text(json.dumps(json.loads(model.to_json()), indent=1) + "\n")
    bare = type(model).from_config(model.get_config())  # the trained one writes its optimiser too
    bare.set_weights(model.get_weights())
    bare.save_weights(folder / "model.weights.h5")
    (folder / OPEN_SET).unlink(missing_ok=True)
    if open_set is not None:
        arrays: dict[str, Any] = open_set.arrays()
        np.savez_compressed(folder / OPEN_SET, **arrays)
    (folder / "card.md").write_text(card_page(card))
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return folder


def _weights_file(folder: Path) -> Path:
    for name in ("model.weights.h5", "model.h5"):
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.h5"))
    if len(found) != 1:
        raise UsageError(f"network folder '{folder}' needs one .h5 file with weights; it has {len(found)}.")
    return found[0]


def _thesis_card(layers: list[Layer], classes: Sequence[str]) -> dict[str, Any]:
    """What is known of a network of the thesis that came without a card."""
    outputs = layers[-1].parameters.get("units") or next(
        layer.parameters["units"] for layer in reversed(layers) if layer.kind == "Dense"
    )
    classes = tuple(classes) or THESIS_CLASSES.get(outputs, ())
    if len(classes) != outputs:
        raise UsageError(f"a network with {outputs} outputs and no card needs as many `classes`; received {classes}.")
    size = input_shape(layers)[0]
    known = {"classes": list(classes), "input_size": size, "preprocessing": "raw"}
    return known | {"calibration": IDENTITY}


def _check_card(folder: Path, layers: list[Layer], card: dict[str, Any]) -> None:
    missing = {"classes", "input_size", "preprocessing", "calibration"} - set(card)
    if missing:
        raise UsageError(f"the card of network '{folder}' lacks {', '.join(sorted(missing))}.")
    if card["preprocessing"] not in PREPROCESSING:
        raise UsageError(f"the card of network '{folder}' has preprocessing '{card['preprocessing']}'; "
                         f"known are {', '.join(PREPROCESSING)}.")  # fmt: skip
    if unknown := set(card["classes"]) - set(CLASSES):
        raise UsageError(f"network '{folder}' has a class '{unknown.pop()}'; known are {', '.join(CLASSES)}.")
    if input_shape(layers)[:2] != (card["input_size"],) * 2:
        raise UsageError(f"network '{folder}' takes images of {input_shape(layers)[:2]} pixels, its card says "
                         f"{card['input_size']}.")  # fmt: skip
