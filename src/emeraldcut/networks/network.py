"""Trained networks: folders with model.json, model.weights.h5 and card.json, and their results."""

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
from emeraldcut.runs.reading import read_json

SHIPPED = Path(__file__).parent / "weights"
OPEN_SET = "open_set.npz"
CLASSES = ("oval", "rectangular", "obround", "other")
# By the number of outputs; the thesis's integer labels are 1, 2, 3 in this order.
THESIS_CLASSES = {2: ("oval", "rectangular"), 3: ("oval", "rectangular", "obround")}


@dataclass(frozen=True)
class Answers:
    """The results of a network, in the order of its classes; NaN where an image cannot be classified.

    Attributes
    ----------
    probabilities : (n, k) float32
        Calibrated, at equal priors.
    typical : (n,) float32
        Fraction of galaxies of the known classes that are at least as unusual; NaN if the network has no open set.
    possible : (n, k) bool
        Prediction sets, which contain the true class with probability 0.9; all classes if the network has none.
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
        `screener`, or the name of the folder.
    layers : list of `Layer`
    card : dict
        `classes` (in the order of the outputs), `input_size` (pixels), `preprocessing` (a name in
        `PREPROCESSING`), `calibration` (see `calibrate`), and `sets` (see `fit_sets`) if it has prediction sets.
        Networks of `train` also have `training`, `metrics`, `settings`, `seed`, `version` and `licence`.
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
        """The classes in the order of the outputs."""
        return tuple(self.card["classes"])

    @property
    def weights_file(self) -> Path:
        """The file of the weights."""
        return _weights_file(self.folder)

    @cached_property
    def predictor(self) -> Predictor:
        """The compiled network, made when first needed."""
        try:
            return Predictor(self.layers, threads=self.threads, precision=self.precision)
        except (UsageError, ImportError):
            raise
        except Exception as error:  # of OpenVINO, or of settings of layers that do not go together
            reason = str(error).strip().split("\n")[-1].rstrip(".")
            raise UsageError(f"the layers of network '{self.name}' cannot be put together ({reason}).") from error

    def expected_found(self, prevalence: float, snr: np.ndarray) -> dict[str, list[float]] | None:
        """Expected numbers among images of this S/N (n,), see `calibration.expected_found`; None if unknown."""
        counts = self.card.get("metrics", {}).get("found")
        return None if counts is None else expected_found(counts, self.classes, prevalence, snr)

    def predict(self, images: ImageSet, frames: Any = None) -> np.ndarray:
        """Probabilities (n, k) at equal priors; NaN in the rows of images that cannot be classified."""
        inputs, flags, snr = prepare(self.card["preprocessing"], images, frames, self.card["input_size"])
        return self.answer(inputs, usable(flags), snr).probabilities

    def answer(self, inputs: np.ndarray, good: np.ndarray, snr: np.ndarray) -> Answers:
        """The results for prepared `inputs` (n, size, size[, channels]) that are `good` (n,), given their S/N (n,)."""
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
    """The network called `name`, which is a folder or ships with the package (`screener`).

    A folder has `model.json`, `model.weights.h5` and `card.json`. Without a card it is read as a network of the thesis
    (`model.json` and `model.h5`), for raw 50 x 50 maps, with classes by the number of outputs. `classes` are then the
    names of the outputs, such as ("rectangular", "obround").

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
    """The network in `folder`, compiled once for all chunks unless its files change."""
    architecture, card_file = folder / "model.json", folder / "card.json"
    layers = read_keras(architecture if architecture.is_file() else None, _weights_file(folder))
    try:
        card = read_json(card_file) if card_file.is_file() else _thesis_card(layers, classes)
        _check_card(folder, layers, card)
        open_set = _read_open_set(folder / OPEN_SET)
    except UsageError:
        raise
    except Exception as error:  # of JSON, of numpy, or of what is not there
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise UsageError(f"the card or the open set of network '{folder}' cannot be read: {reason}.") from error
    return Network(folder.name, layers, card, open_set, folder, threads, precision)


def _read_open_set(path: Path) -> OpenSet | None:
    """The open set in a file, None if there is none."""
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        open_set = OpenSet.from_arrays(arrays)
    if not all(np.isfinite(values).all() for values in open_set.arrays().values()):
        raise UsageError(f"'{path}' has values that are not finite; train the network again.")
    return open_set


def save_network(model: Any, folder: str | Path, card: dict[str, Any], open_set: OpenSet | None = None) -> Path:
    """Writes a Keras 3 `model` to `folder`. The card is last, so that a folder with a card is complete."""
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
    """The card of a network of the thesis, which has none."""
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
    if not isinstance(card, dict):
        raise UsageError(f"the card of network '{folder}' must be a JSON object; it is a {type(card).__name__}.")
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
