"""Shapes measured on synthetic galaxies of known shape, and the time against photutils' `Ellipse` on the same stamps.

    python benchmarks/measure.py [--quick] [--neighbours MEAN] [--seed N]

Galaxies: oval, rectangular and obround, S/N 50 to 300, axis ratio 0.35 to 1, Sersic index 0.5 to 4, Moffat PSF of 1.5
to 4 pixels, 64 x 64 pixels. The last line is one JSON object:

    speed_ratio            CPU time of photutils over ours, from pixels to numbers, same stamps, one core
    bias_a4                median of measured minus true a4/a, for galaxies with PSF FWHM <= half the half-light radius
    coverage_68            share of these whose a4 interval of one standard error holds the truth
    lost_fraction          share of galaxies without a number
    axis_ratio_within_003, angle_within_3deg (q < 0.8)             shares, all galaxies
    axis_ratio_noise_limit                                         share that the stated errors alone would allow
    axis_ratio_within_003_resolved_snr100, angle_within_3deg_resolved_snr100
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import numpy as np
from scipy.special import erf

from emeraldcut.data import ImageSet
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.isophotes import measure


def photutils_seconds(images: ImageSet) -> tuple[float, int]:
    """CPU seconds of photutils' isophote fit with good start values, and how many galaxies it fitted."""
    from photutils.isophote import Ellipse, EllipseGeometry

    truth, fitted, start = images.table, 0, time.process_time()
    for i, image in enumerate(images.pixels):
        geometry = EllipseGeometry(
            truth["truth_x_pix"][i],
            truth["truth_y_pix"][i],
            truth["truth_radius_pix"][i],
            min(1 - truth["truth_axis_ratio"][i], 0.9),
            np.radians(truth["truth_position_angle_deg"][i]),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            isophotes = Ellipse(np.asarray(image, float), geometry=geometry).fit_image()
        fitted += len(isophotes) > 0
    return time.process_time() - start, fitted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few galaxies, within 50 seconds")
    parser.add_argument("--neighbours", type=float, default=0.0, help="mean number of neighbours an image")
    parser.add_argument("--seed", type=int, default=40_000)
    arguments = parser.parse_args()
    number, peers = (120, 20) if arguments.quick else (1500, 100)
    settings = SynthesiseSettings(
        number=number,
        classes=("oval", "rectangular", "obround"),
        snr_min=50,
        neighbours=arguments.neighbours,
        blemishes=0,
    )
    images = synthesise(settings, seed=arguments.seed)
    measure(images[:2])  # imports and caches are not what is timed
    start = time.process_time()
    table = measure(images)
    ours = (time.process_time() - start) / number
    theirs, fitted = photutils_seconds(images[:peers])
    print(f"emeraldcut {ours * 1e3:.1f} ms, photutils {theirs / peers * 1e3:.0f} ms; it fitted {fitted} of {peers}")

    truth = images.table
    same_everywhere = ~np.isin(truth["kind"], ["leda_like", "lenticular"])  # one axis ratio at all radii
    lost = np.ma.getmaskarray(table["a4"])
    q_error = np.ma.filled(table["axis_ratio"] - truth["truth_axis_ratio"], 9.0)
    turn = (np.ma.filled(table["position_angle_deg"] - truth["truth_position_angle_deg"], 90) + 90) % 180 - 90
    good_q, good_angle = np.abs(q_error) < 0.03, np.abs(turn) < 3
    flat = np.asarray(truth["truth_axis_ratio"] < 0.8)
    resolved = same_everywhere & np.asarray(truth["psf_fwhm_pix"] <= truth["truth_radius_pix"] / 2) & ~lost
    bright = resolved & np.asarray(truth["truth_snr"] > 100)
    a4_error = np.ma.filled(table["a4"] - truth["truth_a4"], 9.0)
    q_sigma = np.ma.filled(table["axis_ratio_err"], 1.0)
    figures = {
        "speed_ratio": theirs / peers / ours,
        "bias_a4": float(np.median(a4_error[resolved])),
        "coverage_68": float(np.mean(np.abs(a4_error[resolved]) < table["a4_err"][resolved])),
        "lost_fraction": float(lost.mean()),
        "axis_ratio_within_003": float(good_q[same_everywhere].mean()),
        "axis_ratio_noise_limit": float(np.mean(erf(0.03 / np.maximum(q_sigma, 1e-9) / np.sqrt(2))[same_everywhere])),
        "angle_within_3deg": float(good_angle[same_everywhere & flat].mean()),
        "axis_ratio_within_003_resolved_snr100": float(good_q[bright].mean()),
        "angle_within_3deg_resolved_snr100": float(good_angle[bright & flat].mean()),
    }
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
