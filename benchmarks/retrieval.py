"""How well does each method find rectangular galaxies that are 2 % of all?

    python benchmarks/retrieval.py [--quick] [--seed N] [--real FOLDER] [--thesis-epochs N]

Without --real: a held-out synthetic pool of 1,000 galaxies (20 rectangular, 20 obround, the rest half oval, half
confusers) with PSF, noise, neighbours and sky gradients. With --real (a folder with EFIGI's `images` and `labels.csv`):
smooth real galaxies (types E to S0) are warped into rectangles, which keeps their noise, neighbours and texture, and
hidden among all others; the record is `retrieval-real`.

Keys of the last line: galaxies, rectangular, and by method

    found_in_first_20        rectangles among the top 20
    precision_at_k           fraction of the K rectangles that rank among the top K
    median_rank, worst_rank  of the rectangles; ties have the worst rank
"""

from __future__ import annotations

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import record
from astropy.table import Table

from emeraldcut.data import ImageSet, concatenate
from emeraldcut.frame import frame_galaxies, warped
from emeraldcut.galaxies import SynthesiseSettings, synthesise, thesis_grid, thesis_maps
from emeraldcut.images import read_images
from emeraldcut.networks import ClassifySettings, TrainSettings, classify, train
from emeraldcut.screening import examine
from emeraldcut.similarity import CompareSettings, compare

FIRST = 20


def scored_galaxies(number: int, seed: int, **settings) -> ImageSet:
    """`number` synthetic galaxies outside the grey zone."""
    sets, have, start = [], 0, 0
    while have < number:
        images = synthesise(SynthesiseSettings(number=number, **settings), seed=seed, start=start)
        sets.append(images[np.asarray(images.table["scored"], bool)])
        have, start = have + len(sets[-1]), start + number
    return concatenate(sets)[:number]


def synthetic_pool(number: int, seed: int) -> ImageSet:
    """The synthetic pool, 2 % rectangular."""
    k = max(number // 50, 2)
    half = (number - 2 * k) // 2
    parts = {"rectangular": k, "obround": k, "oval": half, "other": number - 2 * k - half}
    return concatenate(
        [scored_galaxies(n, seed + i, classes=(c,), snr_min=30.0) for i, (c, n) in enumerate(parts.items())]
    )


def real_pool(folder: Path, seed: int, limit: int | None) -> ImageSet:
    """Real galaxies, 2 % of them smooth ones warped into rectangles."""
    rng = np.random.default_rng(seed)
    images = read_images(folder / "images")
    labels = Table.read(folder / "labels.csv", format="ascii.csv")
    name = labels.colnames[0]
    kind = {str(row[name]).removesuffix(".jpg"): row["t"] for row in labels}
    types = np.array([kind.get(str(i).split("/")[-1], 99) for i in images.table["id"]], dtype=float)
    if limit:
        keep = np.sort(rng.permutation(len(images))[:limit])
        images, types = images[keep], types[keep]
    pixels = [np.asarray(p, np.float32) for p in images.pixels]
    label = np.array(["other"] * len(images), dtype=object)
    wanted = len(images) // 50
    for i in rng.permutation(np.nonzero((types >= -6) & (types <= -1))[0]):
        box = warped(pixels[i], rng.uniform(3.5, 6))
        if box is not None:
            pixels[i], label[i] = box, "rectangular"
            wanted -= 1
        if wanted == 0:
            break
    return ImageSet(pixels, Table({"id": images.table["id"], "label": label}))


def thesis_network(epochs: int, seed: int, folder: Path) -> dict[str, np.ndarray | None]:
    """The thesis network, trained twice: on our noisy ovals and rectangles, and on the thesis grid (repaired)."""
    ours = synthesise(
        SynthesiseSettings(number=6000, size=50, classes=("oval", "rectangular"), snr_min=30), seed=seed + 1000
    )
    grid = thesis_maps(thesis_grid(repaired=True, seed=seed), seed=seed)
    names = {}
    for name, images in (("thesis network, our images", ours), ("thesis network, its grid", grid)):
        settings = TrainSettings(network="thesis", classes=("oval", "rectangular"), epochs=epochs)
        train(images, settings, seed=seed).save(folder / name)
        names[name] = str(folder / name)
    return names


def ranks(score, truth: np.ndarray) -> np.ndarray:
    """Ranks (from 1) of the true ones by falling score; ties have the worst rank, no score ranks last."""
    values = np.ma.filled(np.ma.asarray(score, dtype=float), -np.inf)
    return np.sort([int((values >= values[i]).sum()) for i in np.nonzero(truth)[0]])


def main() -> None:
    parser = record.parser(__doc__, "200 galaxies, no thesis network", seed=30_000)  # of training: below 1,000
    parser.add_argument("--real", type=Path, help="folder of the EFIGI images and labels.csv")
    parser.add_argument("--thesis-epochs", type=int, default=20)
    arguments = parser.parse_args()
    number = 200 if arguments.quick else 1000
    if arguments.real:
        pool = real_pool(arguments.real, arguments.seed, number if arguments.quick else None)
    else:
        pool = synthetic_pool(number, arguments.seed)
    truth = np.asarray(pool.table["label"] == "rectangular")
    print(f"{len(pool)} galaxies, {truth.sum()} rectangular")
    start = time.process_time()
    frames = frame_galaxies(pool)
    print(f"framed, {(time.process_time() - start) / len(pool) * 1e3:.1f} ms of CPU time per galaxy")
    table = examine(pool)
    framed = compare(pool, CompareSettings(method="frame"), frames=frames)
    methods = {
        "raw cosine (thesis)": compare(pool, CompareSettings(method="cosine"))["similarity"],
        "SIFT": compare(pool, CompareSettings(method="sift"))["similarity"],
        "framed similarity": framed["similarity"],
        "framed p-value": -framed["similarity_p"],
        "measured a4": -table["a4"],
        "measured p_boxy": table["p_boxy"],
        "screening network": table["p_rectangular"],
        "combined score": table["score"],
    }
    if not arguments.quick and find_spec("keras"):
        with tempfile.TemporaryDirectory() as folder:
            for name, path in thesis_network(arguments.thesis_epochs, 0, Path(folder)).items():
                methods[name] = classify(pool, ClassifySettings(network=path))["p_rectangular"]
    figures = {}
    print(f"{'method':<30}{'in first 20':>12}{'in first K':>12}{'median rank':>13}{'worst rank':>12}")
    for name, score in methods.items():
        r = ranks(score, truth)
        k = len(r)
        figures[name] = {
            "found_in_first_20": (r <= FIRST).sum(),
            "precision_at_k": (r <= k).sum() / k,
            "median_rank": np.median(r),
            "worst_rank": r[-1],
        }
        first, precision, median, worst = figures[name].values()
        print(f"{name:<30}{first:>12}{precision:>12.2f}{median:>13.0f}{worst:>12}")
    figures = {"galaxies": len(pool), "rectangular": truth.sum(), "methods": figures}
    record.finish("retrieval-real" if arguments.real else "retrieval", figures, arguments, peers=("keras",))


if __name__ == "__main__":
    main()
