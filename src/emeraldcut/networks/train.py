"""Training: a labelled `ImageSet` in, a network and honest figures about it out. Needs Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

import emeraldcut
from emeraldcut.data.flags import usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.data.streaming import map_chunks
from emeraldcut.networks import screener, thesis
from emeraldcut.networks.network import CLASSES, calibrate, over_flips, save_network
from emeraldcut.networks.preprocessing import prepare
from emeraldcut.settings import setting

CHUNK = 500  # images prepared at a time
RECIPES = {"screener": screener, "thesis": thesis}


@dataclass(frozen=True)
class TrainSettings:
    """How to train; a setting that is not given takes the number of the chosen network."""

    network: str = setting("screener", "which network to train", choices=tuple(RECIPES))
    classes: tuple[str, ...] = setting(
        (), "labels to tell apart (screener: all four; thesis: oval,rectangular)", choices=CLASSES
    )
    normalise: str = setting(
        "peak",
        "thesis network only: 'peak' divides each image by its peak, because survey counts span orders of "
        "magnitude; 'none' leaves counts as they are, as the thesis did",
        choices=("peak", "none"),
    )
    epochs: int | None = setting(None, "passes through the training set (screener: 10; thesis: 1000)")
    batch_size: int | None = setting(None, "images per step (screener: 64; thesis: 200)")
    learning_rate: float | None = setting(None, "largest learning rate (screener: 0.004; thesis: 1.0)")
    patience: int | None = setting(
        None,
        "stop after this many epochs without gain on held-out galaxies, 0 = never (screener: 0; thesis: 50)",
    )
    holdout: float = setting(
        0.2,
        "fraction of galaxies kept out of training: half of them stop and calibrate, half give the figures",
    )


@dataclass
class TrainedNetwork:
    """A trained Keras model, its card (see `Network`) and a table with one row per epoch."""

    model: Any
    card: dict[str, Any]
    history: Table

    def save(self, folder: str | Path) -> Path:
        """Writes the network folder; see `save_network`."""
        return save_network(self.model, folder, self.card)


def train(
    images: ImageSet,
    settings: TrainSettings = TrainSettings(),
    *,
    seed: int = 0,
    frames: Any = None,
    jobs: int = 1,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> TrainedNetwork:
    """Trains a network on the labelled `images`.

    Rows whose label is not one of the classes, whose flag makes them unusable or that have `scored` False are
    left out. Galaxies (column `galaxy`, else `merger`, else `id`) are wholly in training or wholly held out.

    Parameters
    ----------
    images : with a column `label`.
    frames : of `frame_galaxies(images)`, if there already; for the screener.
    jobs : worker processes that prepare the images; the network itself is trained in this process.
    progress : called after each epoch with its number, the number of epochs and the figures so far.

    Raises
    ------
    ImportError
        If Keras is not installed.
    ValueError
        If there are no labels, or fewer than three galaxies of a class.
    """
    recipe = RECIPES[settings.network]
    classes = settings.classes or recipe.CLASSES
    preprocessing = "framed" if recipe is screener else {"none": "raw", "peak": "peak"}[settings.normalise]
    wanted = _wanted(images.table, classes)
    keras = import_keras()
    if frames is None:
        chunks = (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
        parts = list(map_chunks(partial(_prepared, preprocessing=preprocessing, size=recipe.SIZE), chunks, jobs=jobs))
        inputs, flags = (np.concatenate(part) for part in zip(*parts, strict=True))
    else:
        inputs, flags, _ = prepare(preprocessing, images, frames, recipe.SIZE)
    rows = np.flatnonzero(wanted & usable(flags))
    targets = np.array([classes.index(str(label)) for label in images.table["label"][rows]], dtype=np.int64)
    part = split_by_galaxy(galaxies_of(images.table)[rows], targets, len(classes), settings.holdout, seed)
    data = [(inputs[rows[part == k]], targets[part == k]) for k in range(3)]

    keras.utils.set_random_seed(seed)
    model, history = _fit(keras, recipe, data[0], data[1], len(classes), settings, seed, progress)

    def predict(stamps: np.ndarray) -> np.ndarray:
        return model.predict(stamps[..., None], batch_size=256, verbose=0)

    outputs = [over_flips(predict, x) if recipe.FLIPS else predict(x) for x, _ in data[1:]]
    temperature = fit_temperature(outputs[0], data[1][1])
    card = {
        "classes": list(classes),
        "input_size": recipe.SIZE,
        "preprocessing": preprocessing,
        "flips": recipe.FLIPS,
        "temperature": temperature,
        "training": _describe(data, classes),
        "metrics": evaluate(calibrate(outputs[1], temperature), data[2][1], classes),
        "epochs_run": len(history),
        "settings": asdict(settings),
        "seed": seed,
        "version": emeraldcut.__version__,
        "licence": "BSD-3-Clause",
    }
    return TrainedNetwork(model, card, history)


def _prepared(images: ImageSet, preprocessing: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Network input and flags of one chunk; nothing else of its frames is kept."""
    inputs, flags, _ = prepare(preprocessing, images, None, size)
    return inputs, flags


def import_keras() -> Any:
    """Keras 3, or an ImportError that says how to get it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import keras
    except ImportError as error:
        text = f"training needs Keras and TensorFlow ({error}): pip install 'emeraldcut[train]'"
        raise ImportError(text) from error
    return keras


def _wanted(table: Table, classes: tuple[str, ...]) -> np.ndarray:
    """Boolean (n,): rows with one of the `classes` as label that are not excluded by `scored`."""
    if "label" not in table.colnames:
        raise ValueError(
            "training needs images with a column 'label'; received none. "
            "Use `emeraldcut synthesise`, or a table of files with labels."
        )
    wanted = np.array([str(label) in classes for label in table["label"]], dtype=bool)
    return wanted & np.array(table["scored"], dtype=bool) if "scored" in table.colnames else wanted


def galaxies_of(table: Table) -> np.ndarray:
    """The name (n,) of the galaxy that each row shows: column `galaxy`, else `merger`, else `id`."""
    name = next(name for name in ("galaxy", "merger", "id") if name in table.colnames)
    return np.array([str(value) for value in table[name]])


def split_by_galaxy(galaxies: np.ndarray, targets: np.ndarray, n_classes: int, holdout: float, seed: int) -> np.ndarray:
    """(n,) of 0 (training), 1 (stopping and calibration) or 2 (figures), the same for all images of a galaxy.

    Each class is split on its own (by the class of a galaxy's first image), `holdout` / 2 of its galaxies to
    each of 1 and 2 and at least one, so that all classes are in all three.
    """
    if not 0 < holdout < 1:
        raise ValueError(f"setting 'holdout' must lie between 0 and 1; received {holdout}.")
    names, first, inverse = np.unique(galaxies, return_index=True, return_inverse=True)
    part = np.zeros(len(names), dtype=np.int64)
    for target in range(n_classes):
        members = np.flatnonzero(targets[first] == target)
        if len(members) < 3:
            raise ValueError(
                f"training needs 3 or more usable galaxies of a class; class {target + 1} has {len(members)}."
            )
        members = np.random.default_rng([seed, target]).permutation(members)
        number = min(max(round(holdout * len(members) / 2), 1), (len(members) - 1) // 2)
        part[members[:number]], part[members[number : 2 * number]] = 1, 2
    return part[inverse]


def _fit(keras, recipe, training, stopping, n_classes, settings, seed, progress) -> tuple[Any, Table]:
    """The trained model, with the weights of its best epoch if it may stop early, and its history."""
    batch_size = settings.batch_size or recipe.BATCH_SIZE
    epochs = settings.epochs or recipe.EPOCHS
    patience = recipe.PATIENCE if settings.patience is None else settings.patience
    steps = epochs * -(-len(training[0]) // batch_size)
    model = recipe.build(keras, n_classes)
    optimizer = recipe.optimizer(keras, settings.learning_rate or recipe.LEARNING_RATE, steps)
    # Cross-entropy of integer targets is the thesis's categorical cross-entropy without writing ones and
    # zeros.
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    rows, best, best_weights, best_epoch = [], np.inf, None, 0
    for epoch in range(epochs):
        x = mirror(training[0], np.random.default_rng([seed, epoch])) if recipe.FLIPS else training[0]
        fit = model.fit(x[..., None], training[1], batch_size=batch_size, epochs=1, verbose=0)
        loss, accuracy = model.evaluate(stopping[0][..., None], stopping[1], batch_size=256, verbose=0)
        figures = {name: fit.history[name][0] for name in ("loss", "accuracy")}
        rows.append({"epoch": epoch + 1, **figures, "holdout_loss": loss, "holdout_accuracy": accuracy})
        if progress is not None:
            progress(epoch + 1, epochs, rows[-1])
        if patience and loss < best:
            best, best_weights, best_epoch = loss, model.get_weights(), epoch
        if patience and epoch - best_epoch >= patience:
            break
    if best_weights is not None:
        model.set_weights(best_weights)
    return model, Table(rows)


def mirror(stamps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of `stamps` (n, ny, nx), each mirrored in x, in y, in both or in neither at random."""
    result = stamps.copy()
    flip_y, flip_x = rng.random((2, len(stamps))) < 0.5
    result[flip_y] = result[flip_y, ::-1]
    result[flip_x] = result[flip_x, :, ::-1]
    return result


def fit_temperature(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The temperature (see `calibrate`) at which `probabilities` (n, k) make `targets` (n,) most likely."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        chosen = calibrate(probabilities, np.exp(log_temperature))[np.arange(len(targets)), targets]
        return -float(np.mean(np.log(np.clip(chosen, 1e-12, None))))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.2), np.log(5)), method="bounded").x))


def evaluate(probabilities: np.ndarray, targets: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Accuracy, cross-entropy and confusion matrix (rows: truth, columns: answer) of held-out galaxies."""
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (targets, probabilities.argmax(axis=1)), 1)
    chosen = probabilities[np.arange(len(targets)), targets]
    return {
        "number": len(targets),
        "accuracy": float(np.trace(confusion) / len(targets)),
        "cross_entropy": float(-np.mean(np.log(np.clip(chosen, 1e-12, None)))),
        "confusion": confusion.tolist(),
    }


def _describe(data: list, classes: tuple[str, ...]) -> dict[str, Any]:
    """How many images of each class training, calibration and the figures used."""
    names = ("training", "calibration", "figures")
    return {
        name: {label: int(np.sum(targets == k)) for k, label in enumerate(classes)}
        for name, (_, targets) in zip(names, data, strict=True)
    }
