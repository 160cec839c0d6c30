"""How well could the screening network's task be done at all? A classifier that knows almost everything.

    python benchmarks/oracle.py [--quick] [--seed N] [--jobs N] [--scenes N] [--per-class N]

The oracle is a likelihood-ratio classifier. Each scene has one light profile, PSF, noise level, position, size, S/N,
and axis ratio of the best-fitting ellipse. Galaxies of every class are drawn into it, without neighbours. The oracle
knows the noise-free images of all of them except the one that it classifies, and adds up their likelihoods by class.
Centre, axes, size, Sersic index, flux and sky are projected out of the residual, since no classifier can know them. The
network sees the same noisy images.

Keys of the last line: scenes, galaxies, and of the oracle, of one that knows only half of the models (`half_`; where
the two differ, more models would still help) and of the network (`network_`, with its own S/N and frame)

    recall_1, recall_1_snr_*   at precision 0.85 where 1 in 100 is rectangular, overall and by S/N
    recall_01                  at precision 0.5 where 1 in 1,000 is rectangular
    oval_rectangular           balanced accuracy of these two classes
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import record
from astropy.table import Table
from prevalence import BAR_01, BAR_1, pair_accuracy, recall_at, score_of, select

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.galaxies import shapes
from emeraldcut.galaxies.population import ROUND, draw_shape
from emeraldcut.galaxies.profiles import Body, Sersic
from emeraldcut.galaxies.sky import Psf, amplitude, draw
from emeraldcut.networks import CLASSES, ClassifySettings, classify
from emeraldcut.runs import map_chunks

KINDS = {
    "oval": {"ellipse": 5, "superellipse": 2, "harmonic": 2},
    "rectangular": {"superellipse": 4, "skewed_box": 2, "rounded_rectangle": 1, "rectangle": 1},
    "obround": {"obround": 3, "rounded_rectangle": 1, "soft_obround": 1},
    "other": {"disky": 1, "diamond": 1, "egg": 1},
}
SIDE, SMALLEST_FWHM = 64, 1.5
SNR_BINS = ((60, 100), (100, 170), (170, 300))
STEPS = {"dx": 0.02, "dy": 0.02, "dq": -0.01, "dn": 0.02, "dr": 0.01, "da": 1.0}


def outline(label: str, axis_ratio: float, rng: np.random.Generator) -> shapes.Shape | None:
    """A scored outline of this class whose best-fitting ellipse has this axis ratio, or None."""
    names, weights = zip(*KINDS[label].items(), strict=True)
    for _ in range(30):
        shape = draw_shape(label, str(rng.choice(names, p=np.array(weights) / sum(weights))), axis_ratio, rng)
        for _ in range(3):
            found = shapes.harmonics(shape)["axis_ratio"]
            scaled = min(shape.axis_ratio * axis_ratio / found, 1.0)
            if shape.name in ("obround", "rounded_rectangle"):  # corners do not stretch
                shape = shapes.rounded_rectangle(scaled, shape.parameters.get("corner", 1.0))
            else:
                shape = replace(shape, axis_ratio=scaled)
        terms = shapes.harmonics(shape)
        on_a_corner = label == "other" and terms["a4"] > 0 and axis_ratio > ROUND  # as well a box
        if shapes.label_of(terms) == (label, True) and not on_a_corner:
            return shape
    return None


def scene(numbers_: range, per_class: int, seed: int) -> dict[str, np.ndarray] | None:
    """One scene: noisy images, their classes and PSF, and the oracle's log likelihoods of the classes."""
    rng = np.random.default_rng([seed, numbers_.start])
    q, index = rng.uniform(0.3, 1), rng.uniform(0.5, 3) if rng.random() < 6 / 7 else rng.uniform(3, 5)
    radius = SIDE * np.exp(rng.uniform(np.log(0.06), np.log(0.25)))
    fwhm = rng.uniform(1.2, max(min(6.0, radius / SMALLEST_FWHM), 1.2))
    psf, angle, centre = Psf(fwhm, rng.uniform(2.5, 5)), rng.uniform(0, 180), (SIDE - 1) / 2 + rng.normal(0, 1, 2)
    gain, snr = np.sqrt(np.exp(rng.uniform(np.log(100), np.log(5000))) + 25), np.exp(rng.uniform(*np.log((60, 300))))

    def seen(shape, dx=0.0, dy=0.0, dn=0.0, dr=0.0, da=0.0):
        """The noise-free image of an outline, scaled to the same mean square radius as all others."""
        size = radius * np.sqrt(q / shape.axis_ratio) / np.sqrt(np.mean(shape.rho**2)) * (1 + dr)
        place = {"centre": (centre[0] + dx, centre[1] + dy), "position_angle_deg": angle + da, "radius_pix": size}
        return draw(Body(shape, Sersic(index + dn)), SIDE, psf=psf, **place).ravel()

    def counts(light):
        return light * amplitude(light, snr, gain, 1.0)

    drawn = [(k, outline(label, q, rng)) for k, label in enumerate(CLASSES) for _ in range(per_class)]
    drawn = [(k, shape) for k, shape in drawn if shape is not None]
    label, models = np.array([k for k, _ in drawn]), np.array([counts(seen(shape)) for _, shape in drawn])
    middle = shapes.superellipse(q, 3.0)
    base = counts(seen(middle))
    noise = np.sqrt(base / gain + 1)
    scale = base.sum() / seen(middle).sum()
    slopes = [scale * seen(middle, **{name: step}) - base for name, step in STEPS.items() if name != "dq"]
    slopes.append(scale * seen(shapes.superellipse(min(q, 0.99) + STEPS["dq"], 3.0)) - base)
    free = np.linalg.qr(np.array([*slopes, base, np.ones_like(base)]).T / noise[:, None])[0]
    images, likelihoods = [], {1: [], 2: []}  # with every model, with every second one
    few = np.arange(len(models)) % 2 == 0  # with half of the models: does their number matter?
    for i, model in enumerate(models):
        image = model + rng.normal(size=model.size) * np.sqrt(np.maximum(model, 0) / gain + 1)
        images.append(image.reshape(SIDE, SIDE).astype(np.float32))
        residuals = (image - models) / noise
        chi = (residuals**2).sum(axis=1) - ((residuals @ free) ** 2).sum(axis=1)
        others = np.arange(len(models)) != i  # its own model is not known
        for step, known in ((1, others), (2, others & few)):
            row = [np.logaddexp.reduce(-chi[known & (label == k)] / 2) - np.log(np.sum(known & (label == k)))
                   if np.any(known & (label == k)) else -1e9 for k in range(len(CLASSES))]  # fmt: skip
            likelihoods[step].append(row)
    return {
        "images": np.array(images),
        "label": label,
        "fwhm": np.full(len(label), fwhm),
        "truth_snr": np.full(len(label), snr),
        "likelihood": np.array(likelihoods[1]),
        "likelihood_half": np.array(likelihoods[2]),
    }


def main() -> None:
    parser = record.parser(__doc__, "6 scenes", seed=0)
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--per-class", type=int, default=60)
    parser.add_argument("--save", help="a file .npz for images, truth, likelihoods and probabilities")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    n = 6 if arguments.quick else arguments.scenes
    go = partial(scene, per_class=12 if arguments.quick else arguments.per_class, seed=arguments.seed)
    scenes = list(map_chunks(go, (range(k, k + 1) for k in range(n)), jobs=arguments.jobs))
    all_of = {name: np.concatenate([s[name] for s in scenes]) for name in scenes[0]}
    label = all_of["label"]
    images = ImageSet(all_of["images"], Table({"id": np.arange(len(label)), "psf_fwhm_pix": all_of["fwhm"]}))
    classified = classify(images, ClassifySettings())
    classifiers = {
        "": _by_name(all_of["likelihood"]),
        "half_": _by_name(all_of["likelihood_half"]),
        "network_": {f"p_{name}": numbers(classified[f"p_{name}"], 0.0) for name in CLASSES},
    }
    result = {"scenes": n, "galaxies": len(label)}
    for name, found in classifiers.items():
        for key, bar in (("recall_1", BAR_1), ("recall_01", BAR_01)):
            result[name + key] = recall_at(score_of(found, bar[0]), label, *bar)
        for low, high in SNR_BINS:
            here = (all_of["truth_snr"] >= low) & (all_of["truth_snr"] < high)
            key = f"{name}recall_1_snr_{low}_{high}"
            result[key] = recall_at(score_of(select(found, here), BAR_1[0]), label[here], *BAR_1)
        facts = found | {"label": label, "truth_snr": all_of["truth_snr"], "size": all_of["fwhm"]}
        result[f"{name}oval_rectangular"] = pair_accuracy(facts, 0, 1)
    if arguments.save:
        np.savez(arguments.save, **all_of, **{f"network_{k}": v for k, v in classifiers["network_"].items()})
    record.finish("oracle", result, arguments)


def _by_name(likelihood: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities at equal priors from log likelihoods (n, k)."""
    equal = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    return {f"p_{name}": equal[:, k] / equal.sum(axis=1) for k, name in enumerate(CLASSES)}


if __name__ == "__main__":
    main()
