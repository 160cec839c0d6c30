"""Training of networks on labelled galaxies, with their accuracy on held-out galaxies. Needs Keras."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.table import Table, vstack

import emeraldcut
from emeraldcut.data.columns import numbers
from emeraldcut.data.flags import usable
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import MissingPackageError, UsageError
from emeraldcut.frame import ASSUMED_PSF_FWHM_PIX, emptied, known_psf, warped
from emeraldcut.galaxies import SynthesiseSettings, paint, synthesise
from emeraldcut.networks import screener, thesis
from emeraldcut.networks.calibration import (
    SNR_BINS,
    calibrate,
    count_found,
    expected_calibration_error,
    fit_calibration,
    fit_sets,
    in_set,
    snr_bin,
)
from emeraldcut.networks.network import CLASSES, save_network
from emeraldcut.networks.openset import OpenSet, fit_open_set
from emeraldcut.networks.preprocessing import prepare
from emeraldcut.runs.chatter import without_chatter
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import begin_or_go_on
from emeraldcut.runs.workers import map_chunks
from emeraldcut.settings import Settings, setting

CHUNK = 600  # images prepared at a time
PART = 20_000  # prepared images that are made 32-bit floats at a time
RECIPES: dict[str, Any] = {"screener": screener, "thesis": thesis}
# Galaxies as in surveys: the widest ranges in which labels are right, with cores, twists, dust and 8-bit pictures.
WIDE = SynthesiseSettings(
    population="wide",
    exposures=3,
    snr_min=10.0,
    snr_max=300.0,
    radius_min=0.06,
    radius_max=0.25,
    axis_ratio_min=0.3,
    sersic_max=5.0,
    psf_fwhm_min_pix=1.2,
    psf_fwhm_max_pix=6.0,
    gradient=1.0,
    sky_residual=0.3,
    correlated=0.25,
    pictures=0.25,
)
# And as they come from surveys: with saturated stars, defects, haloes, tight crops, resampling and colour pictures.
SURVEY = replace(
    WIDE, population="survey", gradient=2.0, pictures=0.35, colour=0.5, resampled=0.3, haloes=0.1, cropped=0.12
)
TRUTH = {"a4": (0, 0.05), "a6": (0, 0.02), "a8": (0, 0.02), "axis_ratio": (0.6, 0.2)}  # with typical middle and scatter
DRAWN_EPOCHS = 4  # for hundreds of thousands of drawn galaxies, with three images of each
PAUSE_SECONDS = 30.0  # between two checkpoints
BOXES = (3.0, 7.0)  # exponents of the superellipses that real galaxies are warped into
SMALLEST_BACKGROUND = 32  # side in pixels
PSF_UNKNOWN = 0.25  # fraction of training images for which the network does not get the PSF


@dataclass(frozen=True, kw_only=True)
class TrainSettings(Settings):
    """How a network is trained; the defaults of some settings depend on the network."""

    network: str = setting("screener", "which network to train", choices=tuple(RECIPES))
    classes: tuple[str, ...] = setting(
        (),
        "labels to distinguish; default for the screener all four, for the thesis network oval,rectangular",
        choices=CLASSES,
    )
    number: int = setting(
        330_000,
        "galaxies to draw if no set of images is given; each is seen three times",
        at_least=1,
        at_most=100_000_000,
    )
    without: tuple[str, ...] = setting((), "kinds of galaxies (column `kind`) to leave out of training")
    real: str = setting(
        "",
        "also train on these images of real galaxies: those without a label count as 'other', and smooth, large ones "
        "are also warped into rectangles",
    )
    backgrounds: str = setting(
        "",
        "also train on synthetic galaxies, one of each class, injected into these images instead of their central "
        "galaxy",
    )
    normalise: str = setting(
        "peak",
        "thesis network only: 'peak' divides each image by its peak, because survey counts span orders of "
        "magnitude; 'none' leaves counts as they are, as the thesis did",
        choices=("peak", "none"),
    )
    epochs: int | None = setting(
        None,
        "passes through the training set; default for the screener 4 (of drawn galaxies) or 12 (of a set), for the "
        "thesis network 1000",
        at_least=1,
        at_most=100_000,
    )
    batch_size: int | None = setting(
        None, "images per step; default for the screener 128, for the thesis network 200", at_least=1, at_most=100_000
    )
    learning_rate: float | None = setting(
        None,
        "largest learning rate; default for the screener 0.004, for the thesis network 1.0",
        above=0,
        at_most=1_000,
    )
    patience: int | None = setting(
        None,
        "stop after this many epochs without gain on held-out galaxies, 0: never; default for the screener 0, for the "
        "thesis network 50",
        at_least=0,
        at_most=100_000,
    )
    holdout: float = setting(
        0.2,
        "fraction of galaxies held out of training: half for early stopping and calibration, half for testing",
        above=0,
        below=1,
    )


@dataclass
class TrainedNetwork:
    """A trained Keras model, its card (see `Network`), its open set and a table with one row per epoch."""

    model: Any
    card: dict[str, Any]
    history: Table
    open_set: OpenSet | None = None

    def __repr__(self) -> str:
        accuracy = self.card["metrics"]["accuracy"]
        classes = ", ".join(self.card["classes"])
        return f"TrainedNetwork({classes}; {len(self.history)} epochs; accuracy {accuracy:.3f} of what was held out)"

    def save(self, folder: str | Path) -> Path:
        """Writes the network folder; see `save_network`."""
        return save_network(self.model, folder, self.card, self.open_set)


@dataclass
class Prepared:
    """Inputs of the network, and labels and measurements of each image."""

    inputs: np.ndarray
    labels: np.ndarray
    galaxies: np.ndarray
    wanted: np.ndarray
    snr: np.ndarray
    truth: np.ndarray

    @classmethod
    def join(cls, parts: list[Prepared]) -> Prepared:
        """Several chunks as one."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))

    def part(self, rows: np.ndarray, classes: tuple[str, ...]) -> Examples:
        """The images in `rows` as examples of the `classes`."""
        targets = np.array([classes.index(label) for label in self.labels[rows]], dtype=np.int64)
        return Examples(self.inputs[rows], targets, self.snr[rows], self.truth[rows])


@dataclass
class Examples:
    """Inputs (n, ...), targets (n,), signal-to-noise ratios (n,) and truths (n, m; NaN if unknown) of some galaxies."""

    inputs: np.ndarray
    targets: np.ndarray
    snr: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def parts(self, order: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, list, list]]:
        """Batches for Keras in the given order: inputs, [targets, truths] and weights of some thousands of images."""
        order = np.arange(len(self)) if order is None else order
        for start in range(0, len(order), PART):
            rows = order[start : start + PART]
            x, truth = self.inputs[rows].astype(np.float32), self.truth[rows]
            known = np.isfinite(truth).all(axis=1)
            weights = [np.ones(len(rows), np.float32), known.astype(np.float32)]
            yield x if x.ndim == 4 else x[..., None], [self.targets[rows], np.where(known[:, None], truth, 0)], weights


Parts = tuple[Examples, Examples, Examples]  # for training, for stopping and calibration, for the figures


# long: half of it documents its parameters
def train(
    images: ImageSet | None = None,
    settings: TrainSettings = TrainSettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    real: ImageSet | None = None,
    backgrounds: ImageSet | None = None,
    folder: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> TrainedNetwork:
    """Trains a network on labelled images, or on synthetic galaxies that it draws.

    Rows are left out if their label is not one of the classes, their flag makes them unusable, or `scored` is False.
    All images of a galaxy (column `galaxy`, else `merger`, else `id`) are either in training or held out.

    Parameters
    ----------
    images : with a column `label`; if not given, `settings.number` galaxies are drawn as in `SURVEY`.
    real, backgrounds : images of real galaxies, see the settings of these names.
    jobs : worker processes that draw and prepare the images; the network itself is trained in this process.
    folder : where checkpoints are kept until the training is finished; the same call resumes from there, and ends with
        the same network, to the last bit, as if it had not been stopped.
    overwrite : begin again where `folder` holds a training that was begun with other settings or images.
    progress : is told of each part of the galaxies that is prepared, and of each epoch with its losses and accuracies.

    Raises
    ------
    ImportError
        If Keras is not installed.
    ValueError
        If there are no labels, or fewer than three galaxies of a class.
    FileExistsError
        The folder holds an unfinished training with other settings or images, and `overwrite` is not set.

    Examples
    --------
    >>> import emeraldcut
    >>> drawn = emeraldcut.synthesise(60, size=32, classes=("oval", "rectangular"), seed=1)
    >>> trained = emeraldcut.train(drawn, network="thesis", epochs=2)
    >>> trained.card["classes"], len(trained.history)
    (['oval', 'rectangular'], 2)
    """
    recipe, keras = RECIPES[settings.network], import_keras()
    classes = settings.classes or recipe.CLASSES
    preprocessing = "raw" if settings.normalise == "none" and recipe is thesis else recipe.PREPROCESSING
    sets = {"images": images, "real_images": real, "backgrounds_images": backgrounds}
    hashes = {f"{name}_sha256": _content(part) for name, part in sets.items() if part is not None}
    steps = _Steps(folder, {"settings": asdict(settings), "seed": seed} | hashes, overwrite)
    prepare_set = partial(
        _prepared, preprocessing=preprocessing, size=recipe.SIZE, classes=classes, without=settings.without
    )
    work = _work_to_do(images, real, backgrounds, settings.number, classes, seed)
    everything = Prepared.join(list(steps.prepared(prepare_set, work, jobs, progress)))
    parts = _split(everything, classes, settings.holdout, seed)
    del everything  # several gigabytes

    keras.utils.set_random_seed(seed)
    epochs = settings.epochs or (DRAWN_EPOCHS if images is None else recipe.EPOCHS)
    model, history = _fit(keras, recipe, *parts[:2], len(classes), settings, epochs, seed, steps, progress)
    with_features = keras.Model(model.inputs, [model.outputs[0], _features(model)])
    results, open_set = _calibrated(with_features, parts, classes, with_snr=recipe is screener, seed=seed)
    card = {
        "classes": list(classes),
        "input_size": recipe.SIZE,
        "preprocessing": preprocessing,
        **results,
        "epochs_run": len(history),
        "drawn_from": asdict(replace(SURVEY, classes=classes)) if images is None else None,
        "settings": asdict(settings),
        "seed": seed,
        "version": emeraldcut.__version__,
        "licence": "BSD-3-Clause",
    }
    steps.remove()
    return TrainedNetwork(model, card, history, open_set)


def _content(images: ImageSet) -> str:
    """SHA-256 of all that is known of images: pixels, PSFs and table."""
    digest = sha256()
    for array in (*images.pixels, *(images.psfs or ())):
        digest.update(repr(np.shape(array)).encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array, dtype=np.float32).tobytes())
    for name in images.table.colnames:
        values = "\0".join(map(str, images.table[name].tolist()))
        digest.update(f"{name}\0{values}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _work_to_do(
    images: ImageSet | None,
    real: ImageSet | None,
    backgrounds: ImageSet | None,
    number: int,
    classes: tuple[str, ...],
    seed: int,
) -> list[Callable[[], ImageSet]]:
    """Functions that make the chunks of the training set, from given images or drawn galaxies and from real ones."""
    work: list[Callable[[], ImageSet]]
    if images is None:
        drawn = replace(SURVEY, classes=classes, number=number * SURVEY.exposures)
        work = [
            partial(_drawn, range(start, min(start + CHUNK, drawn.number)), settings=drawn, seed=seed)
            for start in range(0, drawn.number, CHUNK)
        ]
    else:
        _check_labels(images.table)
        work = [partial(_same, images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
    for further, make in ((real, _with_boxes), (backgrounds, _painted)):
        if further is not None:
            work += [
                partial(make, further[start : start + CHUNK], classes=classes, seed=seed + start)
                for start in range(0, len(further), CHUNK)
            ]
    return work


def _split(everything: Prepared, classes: tuple[str, ...], holdout: float, seed: int) -> Parts:
    """The wanted images, split by galaxy: for training, for stopping and calibration, and for tests."""
    rows = np.flatnonzero(everything.wanted)
    labels = np.array([classes.index(label) for label in everything.labels[rows]], dtype=np.int64)
    where = split_by_galaxy(everything.galaxies[rows], labels, len(classes), holdout, seed)
    training, calibration, figures = (everything.part(rows[where == k], classes) for k in range(3))
    return training, calibration, figures


def _calibrated(
    model: Any, parts: Parts, classes: tuple[str, ...], *, with_snr: bool, seed: int
) -> tuple[dict[str, Any], OpenSet | None]:
    """Calibration and test results of a trained network for its card, and if `with_snr` its sets and open set."""
    training, calibration, figures = parts
    known = [_outputs_and_features(model, part) for part in parts]
    said: dict[str, Any] = {"calibration": fit_calibration(known[1][0], calibration.targets, calibration.snr)}
    p = [calibrate(known[k][0], said["calibration"], part.snr) for k, part in ((1, calibration), (2, figures))]
    open_set = None
    if with_snr:
        said["sets"] = fit_sets(p[0], calibration.targets, calibration.snr)
        rng = np.random.default_rng([seed, 1])
        open_set = fit_open_set(known[0][1], training.targets, known[1][1], rng=rng)
    said["training"] = _describe(parts, classes)
    said["metrics"] = evaluate(p[1], figures, classes, said.get("sets"))
    return said, open_set


def _features(model: Any) -> Any:
    """The input tensor of the last layer of a Keras model."""
    return model.layers[-1].input


def _outputs_and_features(model: Any, part: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and features of all images of a part."""
    answers = [model.predict(x, batch_size=512, verbose=0) for x, *_ in part.parts()]
    outputs, features = (np.concatenate(arrays) for arrays in zip(*answers, strict=True))
    return outputs, features


def _prepared(
    images: ImageSet, preprocessing: str, size: int, classes: tuple[str, ...], without: tuple[str, ...]
) -> Prepared:
    """One chunk, prepared for the network."""
    inputs, flags, snr = prepare(preprocessing, images, None, size)
    table = images.table
    labels = np.array([str(label) for label in table["label"]])
    wanted = np.isin(labels, classes) & usable(flags)
    if "scored" in table.colnames:
        wanted &= np.array(table["scored"], dtype=bool)
    if without and "kind" in table.colnames:
        wanted &= ~np.isin(np.array(table["kind"], dtype=str), without)
    inputs = inputs.astype(np.float16) if preprocessing == "folded" else inputs  # to save memory
    truth = np.full((len(images), len(TRUTH)), np.nan, np.float32)
    for k, (name, (middle, scatter)) in enumerate(TRUTH.items()):
        if f"truth_{name}" in table.colnames:
            truth[:, k] = (numbers(table[f"truth_{name}"]) - middle) / scatter
    return Prepared(inputs, labels, galaxies_of(table), wanted, snr, truth)


def _drawn(numbers: range, settings: SynthesiseSettings, seed: int) -> ImageSet:
    """One chunk of drawn galaxies, some of them with an unknown PSF."""
    images = synthesise(replace(settings, number=len(numbers)), seed=seed, start=numbers.start)
    for row in range(len(images)):
        if np.random.default_rng([seed, numbers.start + row, 1]).random() < PSF_UNKNOWN:
            images.table["psf_fwhm_pix"][row] = np.nan
    return images


def _same(images: ImageSet) -> ImageSet:
    return images


def _with_boxes(images: ImageSet, classes: tuple[str, ...], seed: int) -> ImageSet:
    """Real galaxies, and those of them that are suitable a second time, warped into rectangles."""
    rng, table = np.random.default_rng([seed, 2]), images.table.copy()
    known = [str(label) for label in table["label"]] if "label" in table.colnames else [""] * len(table)
    table["label"] = np.array([label if label in classes else "other" for label in known], dtype=object)
    table["galaxy"] = np.array([f"real {name}" for name in galaxies_of(images.table)], dtype=object)
    exponents = rng.uniform(*BOXES, len(images))
    good = usable(table["flag"])
    tried = [warped(np.asarray(pixels, np.float32), c) if ok else None
             for pixels, c, ok in zip(images.pixels, exponents, good, strict=True)]  # fmt: skip
    boxes = {k: box for k, box in enumerate(tried) if box is not None}
    again = table[list(boxes)]
    again["label"] = "rectangular"
    return ImageSet([*images.pixels, *boxes.values()], vstack([table, again], metadata_conflicts="silent"))


def _painted(images: ImageSet, classes: tuple[str, ...], seed: int) -> ImageSet:
    """A synthetic galaxy of each class in the middle square of every image, instead of the galaxy there."""
    pixels, rows, widths = [], [], known_psf(images)
    for k in np.flatnonzero(usable(images.table["flag"])).tolist():
        image, sigma, place = emptied(images.pixels[k], widths[k])
        side = min(image.shape)
        if side < SMALLEST_BACKGROUND or not sigma > 0:
            continue
        corner = (np.array(image.shape[::-1]) - side) // 2
        square = image[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
        middle = np.full(2, (side - 1) / 2)
        centre = middle if place is None or np.abs(place - corner - middle).max() > side / 4 else place - corner
        for label in classes:
            rng = np.random.default_rng([seed, k, CLASSES.index(label)])
            fwhm = widths[k] if np.isfinite(widths[k]) else ASSUMED_PSF_FWHM_PIX
            painted, row = paint(
                square,
                replace(WIDE, classes=(label,)),
                psf_fwhm_pix=min(fwhm, WIDE.radius_min * side),
                sky_sigma=sigma,
                centre=(centre[0], centre[1]),
                rng=rng,
            )
            pixels.append(painted.astype(np.float32))
            name = str(images.table["id"][k])
            row |= {"id": f"{label} on {name}", "galaxy": f"background {name}", "psf_fwhm_pix": widths[k]}
            rows.append(row)
    if not rows:
        return ImageSet([], Table({"label": np.array([], dtype=object)}))
    return ImageSet.from_rows(pixels, rows)


def _work(task: tuple[Callable[[], ImageSet]], prepare_set: Callable[[ImageSet], Prepared]) -> Prepared:
    """One chunk, made and prepared in a worker process."""
    return prepare_set(task[0]())


class _Steps:
    """Checkpoints in a folder, from which an interrupted training resumes; without a folder nothing is kept."""

    def __init__(self, folder: str | Path | None, facts: dict[str, Any], overwrite: bool):
        self.folder, self.saved = None if folder is None else Path(folder) / "unfinished", 0.0
        if self.folder is None:
            return
        facts = facts | {"version": emeraldcut.__version__}
        try:
            begin_or_go_on(self.folder / "facts.json", facts, "a training")
        except FileExistsError:
            if not overwrite:
                raise
            self.remove()
            begin_or_go_on(self.folder / "facts.json", facts, "a training")

    def prepared(
        self,
        prepare_set: Callable[[ImageSet], Prepared],
        work: list[Callable[[], ImageSet]],
        jobs: int,
        progress: Progress,
    ) -> Iterator[Prepared]:
        """The prepared chunks, from the folder or made by `work`."""
        files = [None if self.folder is None else self.folder / f"{k:05d}.npz" for k in range(len(work))]
        todo = [k for k, file in enumerate(files) if file is None or not file.exists()]
        progress.begin(len(work), "parts", "preparing")
        progress.advance(len(work) - len(todo))
        stage = partial(_work, prepare_set=prepare_set)
        made = map_chunks(stage, ((work[k],) for k in todo), jobs=jobs, progress=progress)
        for k, file in enumerate(files):
            if file is not None and k not in todo:
                with np.load(file) as arrays:
                    yield Prepared(**arrays)
                continue
            part = next(made)
            if file is not None:
                _write_whole(file, partial(np.savez, **vars(part)))
            yield part

    def load(self, keras: Any) -> tuple[Any, list[dict[str, float]], list[np.ndarray] | None] | None:
        """The model after the last epoch that was kept, with its optimiser, history and best weights."""
        if self.folder is None or not (self.folder / "history.json").exists():
            return None
        rows, best = json.loads((self.folder / "history.json").read_text()), None
        if (file := self.folder / f"best-{len(rows)}.npz").exists():
            with np.load(file) as arrays:
                best = [arrays[name] for name in arrays]
        return keras.saving.load_model(self.folder / f"epoch-{len(rows)}.keras"), rows, best

    def save(self, model: Any, rows: list[dict[str, float]], best: list[np.ndarray] | None) -> None:
        """Keeps the model after an epoch, at most twice a minute; the history names the valid files."""
        if self.folder is None or time.monotonic() - self.saved < PAUSE_SECONDS:
            return
        self.saved = time.monotonic()
        before = {*self.folder.glob("epoch-*.keras"), *self.folder.glob("best-*.npz")}
        now = [self.folder / f"epoch-{len(rows)}.keras", self.folder / f"best-{len(rows)}.npz"]
        model.save(now[0])
        if best is not None:
            np.savez(now[1], *best)
        _write_whole(self.folder / "history.json", lambda f: f.write(json.dumps(rows).encode()))
        for file in before - set(now):  # one of this epoch may be left by a process that was killed before it was whole
            file.unlink()

    def remove(self) -> None:
        """Forgets what was kept: the training is done."""
        if self.folder is not None:
            for file in self.folder.iterdir():
                file.unlink()
            self.folder.rmdir()


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file under another name and then renames it, so that it is always complete."""
    with open(path.with_suffix(".part"), "wb") as file:
        write(file)
    path.with_suffix(".part").replace(path)


def import_keras() -> Any:
    """Keras 3; ImportError with advice if it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with without_chatter():
            import keras
    except ImportError as error:
        text = f"training needs Keras and TensorFlow ({error}): pip install 'emeraldcut[train]'"
        raise MissingPackageError(text) from error
    return keras


def _check_labels(table: Table) -> None:
    if "label" not in table.colnames:
        raise UsageError(
            "training needs images with a column 'label'; received none. "
            "Use `emeraldcut synthesise`, or a table of files with labels."
        )


def galaxies_of(table: Table) -> np.ndarray:
    """The galaxy (n,) of each row, from the column `galaxy`, else `merger`, else `id`."""
    name = next(name for name in ("galaxy", "merger", "id") if name in table.colnames)
    return np.array([str(value) for value in table[name]])


def split_by_galaxy(galaxies: np.ndarray, targets: np.ndarray, n_classes: int, holdout: float, seed: int) -> np.ndarray:
    """The part (n,) of each image: 0 for training, 1 for stopping and calibration, 2 for tests.

    All images of a galaxy are in one part. Each class (that of a galaxy's first image) is split on its own: `holdout` /
    2 of its galaxies, and at least one, are in each of parts 1 and 2, so that all classes are in all parts.
    """
    names, first, inverse = np.unique(galaxies, return_index=True, return_inverse=True)
    part = np.zeros(len(names), dtype=np.int64)
    for target in range(n_classes):
        members = np.flatnonzero(targets[first] == target)
        if len(members) < 3:
            raise UsageError(
                f"training needs 3 or more usable galaxies of a class; class {target + 1} has {len(members)}."
            )
        members = np.random.default_rng([seed, target]).permutation(members)
        number = min(max(round(holdout * len(members) / 2), 1), (len(members) - 1) // 2)
        part[members[:number]], part[members[number : 2 * number]] = 1, 2
    return part[inverse]


def _fit(keras, recipe, training, stopping, n_classes, settings, epochs, seed, steps, progress) -> tuple[Any, Table]:
    """The trained model, with the weights of its best epoch if it stops early, and its history."""
    batch_size = settings.batch_size or recipe.BATCH_SIZE
    patience = recipe.PATIENCE if settings.patience is None else settings.patience
    kept = steps.load(keras)
    if kept is not None:
        learner, rows, best_weights = kept
    else:
        per_epoch = sum(-(-min(PART, len(training) - start) // batch_size) for start in range(0, len(training), PART))
        model, rows, best_weights = recipe.build(keras, n_classes), [], None
        truth = keras.layers.Dense(len(TRUTH), name="truth")(_features(model))
        learner = keras.Model(model.inputs, [model.outputs[0], truth])
        optimizer = recipe.optimizer(keras, settings.learning_rate or recipe.LEARNING_RATE, epochs * per_epoch)
        # Cross-entropy of integer targets is the thesis's categorical cross-entropy without writing ones and zeros.
        losses, weights = ["sparse_categorical_crossentropy", "huber"], [1.0, recipe.TRUTH_WEIGHT]
        learner.compile(optimizer, loss=losses, loss_weights=weights, metrics=[["accuracy"], []])
    names = {"loss": f"{learner.output_names[0]}_loss", "accuracy": f"{learner.output_names[0]}_accuracy"}
    best = min((row["holdout_loss"] for row in rows), default=np.inf)
    best_epoch = int(np.argmin([row["holdout_loss"] for row in rows])) if rows else 0
    progress.begin(epochs, "epochs", "training")
    progress.advance(len(rows))
    for epoch in range(len(rows), epochs):
        if patience and epoch - 1 - best_epoch >= patience:
            break
        _seed(keras, learner, seed, epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(training))
        row = {"epoch": epoch + 1, "loss": 0.0, "accuracy": 0.0, "holdout_loss": 0.0, "holdout_accuracy": 0.0}
        for x, y, weights in training.parts(order):
            fit = learner.fit(x, y, sample_weight=weights, batch_size=batch_size, epochs=1, verbose=0, shuffle=False)
            for name, key in names.items():
                row[name] += fit.history[key][0] * len(x) / len(training)
        for x, y, weights in stopping.parts():
            found = learner.evaluate(x, y, sample_weight=weights, batch_size=512, verbose=0, return_dict=True)
            for name, key in names.items():
                row[f"holdout_{name}"] += found[key] * len(x) / len(stopping)
        rows.append(row)
        if patience and row["holdout_loss"] < best:
            best, best_weights, best_epoch = row["holdout_loss"], learner.get_weights(), epoch
        steps.save(learner, rows, best_weights)
        progress.advance(1, **{name: value for name, value in row.items() if name != "epoch"})
    if best_weights is not None:
        learner.set_weights(best_weights)
    return keras.Model(learner.inputs, learner.outputs[0]), Table(rows)


def _seed(keras: Any, learner: Any, seed: int, epoch: int) -> None:
    """Makes what is drawn in an epoch, also by layers such as Dropout, independent of the epoch that training began at.

    Keras keeps the state of each layer's random numbers among the variables of the model, but not in its files.
    """
    keras.utils.set_random_seed(seed + epoch)
    for place, variable in enumerate(learner.variables):
        if variable.name == "seed_generator_state":
            first = np.random.default_rng([seed, epoch, place]).integers(2**31)
            variable.assign(np.array([first, 0], dtype=variable.dtype))


def evaluate(
    probabilities: np.ndarray, part: Examples, classes: tuple[str, ...], sets: list[float] | None
) -> dict[str, Any]:
    """Accuracy, cross-entropy, confusion matrix (rows: truth, columns: result) and calibration of held-out galaxies."""
    targets = part.targets
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (targets, probabilities.argmax(axis=1)), 1)
    chosen = probabilities[np.arange(len(targets)), targets]
    result = {
        "number": len(targets),
        "accuracy": float(np.trace(confusion) / len(targets)),
        "cross_entropy": float(-np.mean(np.log(np.clip(chosen, 1e-12, None)))),
        "confusion": confusion.tolist(),
        "calibration_error": expected_calibration_error(probabilities, targets),
    }
    if sets is None:
        return result
    result["found"] = count_found(probabilities, targets, part.snr, classes) if "rectangular" in classes else None
    where, held = snr_bin(part.snr), in_set(probabilities, sets, part.snr)[np.arange(len(targets)), targets]
    result["by_snr"] = [
        {
            "snr": [float(low), float(high) if np.isfinite(high) else None],
            "number": int((where == k).sum()),
            "accuracy": float(np.mean(probabilities[where == k].argmax(axis=1) == targets[where == k])),
            "calibration_error": expected_calibration_error(probabilities[where == k], targets[where == k]),
            "sets_hold": float(held[where == k].mean()),
        }
        for k, (low, high) in enumerate(pairwise(SNR_BINS))
        if (where == k).any()
    ]
    return result


def _describe(parts: Parts, classes: tuple[str, ...]) -> dict[str, Any]:
    """The number of images of each class in training, calibration and tests."""
    return {
        name: {label: int(np.sum(part.targets == k)) for k, label in enumerate(classes)}
        for name, part in zip(("training", "calibration", "figures"), parts, strict=True)
    }
