"""Can the screening network be trusted where 1 in 100 or 1 in 1,000 galaxies is rectangular?

    python benchmarks/prevalence.py [--quick] [--seed N] [--jobs N] [--network NAME] [--figures FOLDER]
    python benchmarks/prevalence.py --real FOLDER           also real galaxies
    python benchmarks/prevalence.py --thesis EPOCHS         also the thesis network (1000 epochs: 10 minutes more)

Draws galaxies that the training has not seen, from other seeds, and again from a shifted domain: larger images, other
PSFs, correlated noise, crowded fields and steeper profiles. Each is classified once, and the network is compared with
what else one could do. In the pools rectangular and obround galaxies are as rare as stated; the rest are half oval,
half other. Intervals are 68 %, by a bootstrap over galaxies. A full run takes about 20 minutes on 2 cores.

Keys of the last line, at S/N >= 60 and R_e >= 1.5 FWHM unless stated otherwise:

    negatives, rectangular     numbers of galaxies
    recall_1, recall_01        recall at precision 0.85, 1 in 100, and at precision 0.5, 1 in 1,000; [value, low, high]
    easy_recall_1              recall_1 without the kinds that the wide population adds
    threshold_log_odds         log odds of rectangular at which recall_1 is reached
    recall_by_snr, recall_by_size_fwhm
                               recall at that threshold
    recall_shifted, false_positives_shifted
                               [same, shifted domain] at that threshold: recall; fractions of oval, obround and other
    oval_rectangular           balanced accuracy of these two classes
    calibration, calibration_by_snr
                               expected calibration error, all classes equally frequent, S/N 10 to 300
    sets_by_snr, images_by_snr, sets_as_crepes
                               fraction of truths in the 90 % sets, by bins of S/N; galaxies there; whether crepes
                               makes the same sets from the same scores
    peers                      recall_1 of each alternative, and how much more the network has; [value, low, high]
    real                       images of each real set, number and fraction above the threshold, recall of warped ones
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import record
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.frame import frame_galaxies, warped
from emeraldcut.galaxies import synthesise, thesis_grid, thesis_maps
from emeraldcut.galaxies.population import KINDS
from emeraldcut.images import read_images
from emeraldcut.isophotes import measure
from emeraldcut.networks import CLASSES, ClassifySettings, TrainSettings, classify, load_network, train
from emeraldcut.networks.calibration import SNR_BINS, expected_calibration_error, in_set, priors, snr_bin
from emeraldcut.networks.train import WIDE
from emeraldcut.runs import map_chunks
from emeraldcut.similarity import compare
from emeraldcut.tables import read_table

HELD_OUT = replace(WIDE, exposures=1, snr_min=60.0, weights=(25, 3, 3, 25))
SHIFTED = replace(
    HELD_OUT,
    size=80,
    radius_max=0.22,
    psf_fwhm_min_pix=2.5,
    sersic_min=1.0,
    sersic_max=6.0,
    correlated=1.0,
    pictures=0.0,
    neighbours=3.0,
    sky_residual=0.5,
)
EQUAL = replace(WIDE, exposures=1)
MEASURED = ("a4", "a6", "a8", "axis_ratio")
SEEDS = {"pool": 7_000_001, "shifted": 7_000_002, "equal": 7_000_003}
CHUNK, BOOTSTRAPS = 500, 200
BAR_1, BAR_01 = (0.01, 0.85), (0.001, 0.5)  # prevalence, precision


def examine(part: range, settings, seed: int, network: str, peers: dict[str, str]) -> Table:
    """What the network and its peers say about one chunk, with the truth."""
    images = synthesise(replace(settings, number=len(part)), seed=seed, start=part.start)
    table = images.table["label", "kind", "scored", "truth_snr", "truth_radius_pix", "psf_fwhm_pix"]
    frames = None if peers is None else frame_galaxies(images)
    classified = classify(images, ClassifySettings(network=network), frames=frames)
    for name in CLASSES:
        table[f"p_{name}"] = numbers(classified[f"p_{name}"], 0.0)
    if peers is None:
        return table
    table["snr"] = [np.nan if first is None else first.snr for first in frames.quick_shapes]
    measured = measure(images, frames=frames)
    for name in MEASURED:
        table[name] = numbers(measured[name])
    table["cosine"] = numbers(compare(images, frames=frames)["similarity"], -9.0)
    for name, folder in peers.items():
        table[name] = numbers(classify(images, ClassifySettings(network=folder))["p_rectangular"], -1.0)
    return table


def gather(settings, number: int, seed: int, network: str, peers: dict[str, str] | None, jobs: int) -> dict:
    """Columns of `number` galaxies that are drawn and classified, without those in the grey zone."""
    stage = partial(examine, settings=settings, seed=seed, network=network, peers=peers)
    chunks = (range(start, min(start + CHUNK, number)) for start in range(0, number, CHUNK))
    tables = list(map_chunks(stage, chunks, jobs=jobs))
    found = {name: np.concatenate([np.asarray(t[name]) for t in tables]) for name in tables[0].colnames}
    keep = found["scored"].astype(bool)
    found = {name: values[keep] for name, values in found.items()}
    found["label"] = np.array([CLASSES.index(str(label)) for label in found["label"]])
    found["size"] = np.nan_to_num(found["truth_radius_pix"] / found["psf_fwhm_pix"], nan=99.0)  # stars have none
    return found


def select(found: dict, chosen: np.ndarray) -> dict:
    return {name: values[chosen] for name, values in found.items()}


def score_of(found: dict, prevalence: float) -> np.ndarray:
    """Log odds of rectangular at this prevalence; an image that cannot be classified ranks last."""
    p = np.stack([found[f"p_{name}"] for name in CLASSES], axis=1) * priors(CLASSES, prevalence)
    odds = np.log(p[:, 1] + 1e-30) - np.log(p[:, 0] + p[:, 2] + p[:, 3] + 1e-30)
    return np.where(p.sum(axis=1) > 0, odds, -99.0)


def curve(score: np.ndarray, label: np.ndarray, prevalence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and threshold by falling threshold in a pool of this prevalence."""
    fraction = priors(CLASSES, prevalence) / np.maximum(np.bincount(label, minlength=len(CLASSES)), 1)
    order = np.argsort(-score, kind="stable")
    weight = fraction[label[order]]
    true = np.cumsum(weight * (label[order] == 1))
    last = np.append(score[order][1:] != score[order][:-1], True)  # ties are taken together
    return (true / np.cumsum(weight))[last], (true / prevalence)[last], score[order][last]


def recall_at(score, label, prevalence: float, precision: float) -> float:
    precisions, recalls, _ = curve(score, label, prevalence)
    return float(recalls[precisions >= precision].max(initial=0))


def bootstrap(scores: list[np.ndarray], label: np.ndarray, prevalence: float, precision: float, seed: int):
    """Recall of each score (BOOTSTRAPS + 1, n): for all galaxies, then for samples drawn from them."""
    rng = np.random.default_rng(seed)
    samples = [np.arange(len(label)), *(rng.integers(0, len(label), len(label)) for _ in range(BOOTSTRAPS))]
    return np.array([[recall_at(s[rows], label[rows], prevalence, precision) for s in scores] for rows in samples])


def with_interval(values: np.ndarray) -> list[float]:
    """[value, low, high] from a bootstrap."""
    return [float(values[0]), *map(float, np.quantile(values[1:], (0.16, 0.84)))]


def logistic(fit: dict, pool: dict) -> np.ndarray:
    """Logistic regression on a4, a6, a8 and q with their squares and products, fitted at equal class weights."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    x, new = (np.nan_to_num(np.stack([f[name] for name in MEASURED], axis=1)) for f in (fit, pool))
    model = LogisticRegression(max_iter=2000, class_weight="balanced")
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2), model).fit(np.clip(x, -1, 1), fit["label"])
    p = model.predict_proba(np.clip(new, -1, 1)) * priors(CLASSES, BAR_1[0])
    return np.log(p[:, 1] / p[:, [0, 2, 3]].sum(axis=1))


def thesis_networks(epochs: int, seed: int, folder: Path) -> dict[str, str]:
    """The thesis network, trained on the thesis grid (repaired)."""
    if not epochs:
        return {}
    settings = TrainSettings(network="thesis", classes=("oval", "rectangular"), epochs=epochs, patience=0)
    grid = thesis_maps(thesis_grid(repaired=True, seed=seed), seed=seed)
    train(grid, settings, seed=seed).save(folder / "thesis")
    return {"thesis_network": str(folder / "thesis")}


def calibration(equal: dict, network) -> dict:
    """Calibration and conformal sets of galaxies of all S/N, all classes equally frequent."""
    p = np.stack([equal[f"p_{name}"] for name in CLASSES], axis=1)
    seen = p.sum(axis=1) > 0
    p, label, snr = p[seen], equal["label"][seen], equal["snr"][seen]
    where, sets = snr_bin(snr), in_set(p, network.card["sets"], snr)
    held = sets[np.arange(len(label)), label]
    bins = range(len(SNR_BINS) - 1)
    return {
        "calibration": expected_calibration_error(p, label),
        "calibration_by_snr": [expected_calibration_error(p[where == k], label[where == k]) for k in bins],
        "sets_by_snr": [float(held[where == k].mean()) for k in bins],
        "images_by_snr": [int(np.sum(where == k)) for k in bins],
        "sets_as_crepes": same_as_crepes(p, label, snr),
    }


def same_as_crepes(p: np.ndarray, label: np.ndarray, snr: np.ndarray) -> bool:
    """Whether our sets, fitted to half of the galaxies, are those of crepes for the other half."""
    from crepes import ConformalClassifier

    from emeraldcut.networks.calibration import fit_sets

    half = len(label) // 2
    ours = in_set(p[half:], fit_sets(p[:half], label[:half], snr[:half]), snr[half:])
    peer = ConformalClassifier()
    scores = 1 - p.astype(np.float64)
    peer.fit(scores[np.arange(half), label[:half]], bins=snr_bin(snr[:half]))
    theirs = peer.predict_set(scores[half:], bins=snr_bin(snr[half:]), confidence=0.9, smoothing=False)
    return bool(np.array_equal(ours, theirs.astype(bool)))


def real(folder: Path, threshold: float, network: str, seed: int, figure: Path | None) -> dict:
    """Real galaxies, none known to be rectangular, and smooth ones of them warped into rectangles."""
    result, above = {}, []
    for name in ("efigi", "galaxy_zoo"):
        images = read_images(folder / name / "images")
        classified = classify(images, ClassifySettings(network=network))
        score = score_of({f"p_{c}": numbers(classified[f"p_{c}"], 0.0) for c in CLASSES}, BAR_1[0])
        chosen = np.flatnonzero(score >= threshold)
        above += [
            (f"{name} {images.table['id'][k]}", images.pixels[k], score[k]) for k in chosen[np.argsort(-score[chosen])]
        ]
        result[name] = {"images": len(images), "above": len(chosen), "fraction": len(chosen) / len(images)}
        if name == "efigi":
            result["warped"] = _warped(images, folder / name, threshold, network, seed)
    if figure is not None:
        draw_above(above, figure / "real_above_threshold.png")
    return result


def _warped(images: ImageSet, folder: Path, threshold: float, network: str, seed: int) -> dict:
    """Recall of real E and S0 galaxies whose isophotes have been made superellipses of exponent 3.5 to 6."""
    labels = read_table(folder / "labels.csv")
    kind = {str(row[labels.colnames[0]]).removesuffix(".jpg"): row["t"] for row in labels}
    types = np.array([kind.get(str(i).split("/")[-1], 99) for i in images.table["id"]], dtype=float)
    rng, pixels = np.random.default_rng(seed), []
    for i in np.flatnonzero((types >= -6) & (types <= -1)):
        box = warped(np.asarray(images.pixels[i], np.float32), rng.uniform(3.5, 6))
        if box is not None:
            pixels.append(box)
    table = classify(ImageSet(pixels, Table({"id": np.arange(len(pixels))})), ClassifySettings(network=network))
    score = score_of({f"p_{c}": numbers(table[f"p_{c}"], 0.0) for c in CLASSES}, BAR_1[0])
    return {"images": len(pixels), "recall": float(np.mean(score >= threshold))}


# --- figures


def draw_above(above: list, path: Path) -> None:
    """All real galaxies above the threshold, in one figure."""
    from matplotlib.figure import Figure

    columns = min(max(len(above), 1), 6)
    rows = max(-(-len(above) // columns), 1)
    figure = Figure(figsize=(2.1 * columns, 2.5 * rows), layout="constrained")
    for k in range(rows * columns):
        panel = figure.add_subplot(rows, columns, k + 1)
        panel.set_axis_off()
        if k < len(above):
            name, image, score = above[k]
            low, high = np.nanpercentile(image, (20, 99.7))
            stretched = np.arcsinh(np.clip((image - low) / (high - low + 1e-9), 0, 1) * 8)
            panel.imshow(stretched, origin="lower", cmap="magma")
            panel.set_title(f"{name.split('/')[-1]}\nlog odds {score:.1f}", fontsize=8)
    figure.savefig(path, dpi=110, facecolor="white")


def draw_curves(pool: dict, equal: dict, peers: dict[str, np.ndarray], path: Path) -> None:
    """Precision against recall of the network and its peers, and accuracy for pairs of classes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.6))
    grid = figure.add_gridspec(2, 4)
    for column, (prevalence, precision) in enumerate((BAR_1, BAR_01)):
        panel = figure.add_subplot(grid[0, 2 * column : 2 * column + 2])
        lines = {"network": score_of(pool, prevalence), **peers}
        for name, score in lines.items():
            p, r, _ = curve(score, pool["label"], prevalence)
            style = {"color": "#0f8a5f", "linewidth": 2.2} if name == "network" else {"linewidth": 1.2}
            panel.plot(r, p, label=name.replace("_", " "), **style)
        panel.axhline(precision, color="0.6", linewidth=0.8, linestyle=":")
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=f"{prevalence:g} rectangular")
        panel.legend(frameon=False, fontsize=8)
    pairs = ((0, 1), (1, 2), (1, 3), (0, 3))
    edges = np.array([10, 20, 40, 80, 160, 300])
    sizes = ((1.2, 1.5), (1.5, 3), (3, 99))
    for column, (a, b) in enumerate(pairs):
        panel = figure.add_subplot(grid[1, column])
        for low, high in sizes:
            accuracy = [pair_accuracy(equal, a, b, edges[k : k + 2], (low, high)) for k in range(len(edges) - 1)]
            label = f"R$_e$ {low:g}-{high:g} FWHM" if high < 90 else f"R$_e$ > {low:g} FWHM"
            panel.plot(np.sqrt(edges[1:] * edges[:-1]), accuracy, "o-", markersize=3, label=label)
        panel.set(xscale="log", ylim=(0.45, 1.01), xlabel="S/N", title=f"{CLASSES[a]} or {CLASSES[b]}")
        panel.set_xticks([10, 30, 100, 300], ["10", "30", "100", "300"])
        panel.minorticks_off()
        panel.grid(alpha=0.25)
    figure.axes[2].set_ylabel("balanced accuracy")
    figure.axes[2].legend(frameon=False, fontsize=8, loc="lower right")
    for panel in figure.axes:
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110, facecolor="white")


def pair_accuracy(found: dict, a: int, b: int, snr=(0, np.inf), size=(0, np.inf)) -> float:
    """Balanced accuracy for classes `a` and `b` alone; kinds without a size count in all bins of size."""
    here = (found["truth_snr"] >= snr[0]) & (found["truth_snr"] < snr[1])
    here &= ((found["size"] >= size[0]) & (found["size"] < size[1])) | (found["size"] == 99.0)
    right = []
    for one, other in ((a, b), (b, a)):
        chosen = here & (found["label"] == one)
        right.append(np.mean(found[f"p_{CLASSES[one]}"][chosen] > found[f"p_{CLASSES[other]}"][chosen]))
    return float(np.mean(right))


def main() -> None:
    parser = record.parser(__doc__, "3,000 galaxies instead of 115,000", seed=0)
    parser.add_argument("--network", default="screener")
    parser.add_argument("--real", type=Path, help="folder with efigi/ and galaxy_zoo/")
    parser.add_argument("--thesis", type=int, default=0, metavar="EPOCHS", help="also train the thesis network")
    parser.add_argument("--figures", type=Path, help="folder for pictures (default: docs/pictures, not with --quick)")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    figures = arguments.figures or (None if arguments.quick else record.PICTURES)
    scale = 0.025 if arguments.quick else 1.0
    network = load_network(arguments.network)
    with tempfile.TemporaryDirectory() as folder:
        thesis = thesis_networks(arguments.thesis, arguments.seed, Path(folder))
        go = partial(gather, network=arguments.network, jobs=arguments.jobs)
        pool = go(HELD_OUT, round(62_000 * scale), SEEDS["pool"] + arguments.seed, peers=thesis)
        equal = go(EQUAL, round(24_000 * scale), SEEDS["equal"] + arguments.seed, peers={})
        shifted = go(SHIFTED, round(28_000 * scale), SEEDS["shifted"] + arguments.seed, peers=None)
    pool, shifted = (select(found, found["size"] >= 1.5) for found in (pool, shifted))
    label = pool["label"]
    peers = {
        "a4_threshold": -np.nan_to_num(pool["a4"], nan=9.0),
        "logistic_a4_a6_a8_q": logistic(select(equal, (equal["truth_snr"] >= 60) & (equal["size"] >= 1.5)), pool),
        "framed_cosine": pool["cosine"],
        **{name: pool[name] for name in thesis},
    }
    recalls = bootstrap([score_of(pool, 0.01), *peers.values()], label, *BAR_1, arguments.seed)
    rare = bootstrap([score_of(pool, 0.001)], label, *BAR_01, arguments.seed)
    precisions, _, thresholds = curve(score_of(pool, 0.01), label, 0.01)
    good = np.flatnonzero(precisions >= BAR_1[1])
    threshold = float(thresholds[good[-1]]) if len(good) else np.inf
    plain = np.array([kind in {k for kinds in KINDS.values() for k in kinds} for kind in pool["kind"]])
    easy = bootstrap([score_of(pool, 0.01)[plain]], label[plain], *BAR_1, arguments.seed)
    result = {
        "negatives": int(np.sum(label != 1)),
        "rectangular": int(np.sum(label == 1)),
        "recall_1": with_interval(recalls[:, 0]),
        "recall_01": with_interval(rare[:, 0]),
        "easy_recall_1": with_interval(easy[:, 0]),
        "threshold_log_odds": threshold,
        "recall_shifted": [float(np.mean(score_of(f, 0.01)[f["label"] == 1] >= threshold)) for f in (pool, shifted)],
        "false_positives_shifted": [
            [float(np.mean(score_of(f, 0.01)[f["label"] == k] >= threshold)) for k in (0, 2, 3)]
            for f in (pool, shifted)
        ],
        "oval_rectangular": pair_accuracy(pool, 0, 1),
        **calibration(equal, network),
        "peers": {
            name: {"recall": with_interval(recalls[:, k]), "network_more": with_interval(recalls[:, 0] - recalls[:, k])}
            for k, name in enumerate(peers, start=1)
        },
    }
    by_snr, by_size = ((60, 100), (100, 170), (170, 300)), ((1.5, 2), (2, 3), (3, 5), (5, 99))
    box, found = label == 1, score_of(pool, 0.01) >= threshold
    result["recall_by_snr"] = {
        f"{low}-{high}": float(found[box & (pool["truth_snr"] >= low) & (pool["truth_snr"] < high)].mean())
        for low, high in by_snr
    }
    result["recall_by_size_fwhm"] = {
        f"{low}-{high}": float(found[box & (pool["size"] >= low) & (pool["size"] < high)].mean())
        for low, high in by_size
    }
    if arguments.real:
        result["real"] = real(arguments.real, threshold, arguments.network, arguments.seed, figures)
    if figures:
        draw_curves(pool, equal, peers, figures / "prevalence.png")
    record.finish("prevalence", result, arguments, peers=("crepes", "keras", "scikit-learn"))


if __name__ == "__main__":
    main()
