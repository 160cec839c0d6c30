"""Standard errors against the scatter of what is measured: at low S/N, and where only the width of a PSF is known."""

import numpy as np
import pytest

from emeraldcut.data.flags import Flag
from emeraldcut.galaxies import draw_galaxy, shapes
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.isophotes import measure
from tests.helpers import images, sky_noise_for


@pytest.mark.slow
def test_errors_grow_by_a_second_order_at_low_snr():
    """Without it, errors would hold half of the truths at S/N 15, where they are about 0.07, of fits that settle."""
    rng, held = np.random.default_rng(0), []
    for shape in (shapes.ellipse(0.6), shapes.superellipse(0.7, 3)):
        clean = draw_galaxy(shape, Sersic(1.0), size=80, radius_pix=9, position_angle_deg=40, psf_fwhm_pix=2.5)
        truth, sigma = measure(images(clean))[0], sky_noise_for(clean, 15)
        table = measure(images(*[clean + rng.normal(0, sigma, clean.shape) for _ in range(800)]))
        table = table[(table["flag"] & Flag.NOT_CONVERGED) == 0]
        assert len(table) > 550
        held += [
            np.ma.mean(np.abs(table[name] - truth[name]) < table[f"{name}_err"])
            for name in ("a4", "a6", "a8", "b4_sin")
        ]
    assert 0.64 < np.mean(held) < 0.72


@pytest.mark.parametrize(("axis_ratio", "radius_pix", "fwhm"), [(0.6, 6, 3.0), (0.5, 5, 3.0), (0.8, 6, 4.0)])
def test_errors_are_those_of_other_wings_of_the_psf(axis_ratio, radius_pix, fwhm):
    """Without noise, through PSFs of the stated width: the widest wings seen in surveys (Moffat 2.5), narrow ones
    (Moffat 5), and next to none (Moffat 50 is a Gaussian). The outer two are wrong by two standard errors."""
    shape, pulls = shapes.superellipse(axis_ratio, 4), []
    for beta in (2.5, 5.0, 50.0):
        image = draw_galaxy(
            shape, Sersic(1.0), size=96, radius_pix=radius_pix, psf_fwhm_pix=fwhm, psf_beta=beta, position_angle_deg=20
        )
        row, truth = measure(images(image, psf_fwhm_pix=[fwhm]))[0], shapes.harmonics(shape)
        pulls.append([(row[name] - truth[name]) / row[f"{name}_err"] for name in ("axis_ratio", "a4")])
    rms = np.sqrt(np.mean(np.square(pulls), axis=0))
    assert np.all((rms > 1.4) & (rms < 2.2)), rms
