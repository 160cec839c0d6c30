"""Rendering, telescope, labelled sets and the thesis's grid, against integration, statistics and counting."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import dblquad

from emeraldcut.data import concatenate
from emeraldcut.galaxies import confusers, population, shapes
from emeraldcut.galaxies.profiles import Body, Sersic, exponential
from emeraldcut.galaxies.sky import (
    Psf,
    amplitude,
    convolve,
    cosmic_rays,
    draw,
    draw_star,
    expose,
    gradient,
    hot_columns,
    neighbours,
    satellite_trail,
)
from emeraldcut.galaxies.synthesise import SynthesiseSettings, draw_galaxy, iterate_synthesise, synthesise
from emeraldcut.galaxies.thesis_grid import thesis_grid, thesis_maps

LONELY = {"neighbours": 0, "blemishes": 0, "gradient": 0, "sky_residual": 0, "radius_max": 0.12}


@pytest.fixture(scope="module")
def sample():
    return synthesise(SynthesiseSettings(number=400), seed=7)


def _oversampled(brightness, size, centre, angle_deg, radius_pix, times):
    """The same image by brute force: the mean of `times` x `times` points in each pixel."""
    offsets = (np.arange(times) + 0.5) / times - 0.5
    place = (np.arange(size)[:, None] + offsets).ravel()
    dx, dy = place[None, :] - centre[0], place[:, None] - centre[1]
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    light = brightness((dx * c + dy * s) / radius_pix, (dy * c - dx * s) / radius_pix) / radius_pix**2
    return light.reshape(size, times, size, times).mean(axis=(1, 3))


@pytest.mark.parametrize("index, axis_ratio, radius_pix", [(4.0, 0.5, 3.0), (1.0, 0.35, 6.0), (2.5, 0.8, 2.0)])
@pytest.mark.parametrize("make", [shapes.ellipse, shapes.rectangle])
def test_pixels_hold_the_integral_of_the_light(make, index, axis_ratio, radius_pix):
    body, centre = Body(make(axis_ratio), Sersic(index)), (15.8, 16.13)
    image = draw(body, 33, centre=centre, position_angle_deg=33, radius_pix=radius_pix)
    truth = _oversampled(body, 33, centre, 33, radius_pix, 51)
    assert image.sum() == pytest.approx(truth.sum(), rel=0.005)
    assert image[16, 16] == pytest.approx(truth[16, 16], rel=0.005)
    assert np.abs(image - truth).max() < 0.006 * truth.max()


def test_central_pixel_of_a_cusp_agrees_with_adaptive_integration():
    body = Body(shapes.ellipse(0.6), Sersic(4.0))
    image = draw(body, 21, radius_pix=4.0)
    quarter, _ = dblquad(
        lambda y, x: float(body(np.array(x), np.array(y))), 0, 0.125, 0, 0.125, epsabs=1e-7, epsrel=1e-5
    )
    assert image[10, 10] == pytest.approx(4 * quarter, rel=0.005)


@pytest.mark.parametrize("profile", [exponential(), Sersic(2.0, 4.0)])
def test_image_holds_the_flux_and_half_of_it_inside_the_half_light_isophote(profile):
    shape = shapes.superellipse(0.7, 3.5)
    image = draw_galaxy(shape, profile, size=301, radius_pix=20.0, position_angle_deg=20, flux=500.0)
    assert image.sum() == pytest.approx(500, rel=0.002)
    inside = _oversampled(lambda x, y: shape.radius(x, y) < 1, 301, (150, 150), 20, 20.0, 5) * 20.0**2
    assert (image * inside).sum() == pytest.approx(250, rel=0.005)


def test_position_angle_is_counter_clockwise_from_x_and_centre_is_x_y():
    where = {"size": (61, 81), "centre": (45.3, 25.7), "position_angle_deg": 30.0, "radius_pix": 5.0}
    image = draw_galaxy(shapes.ellipse(0.4), exponential(), **where)
    y, x = np.mgrid[:61, :81]
    mx, my = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
    assert (mx, my) == pytest.approx((45.3, 25.7), abs=0.05)
    xx, yy, xy = ((image * a * b).sum() for a, b in ((x - mx, x - mx), (y - my, y - my), (x - mx, y - my)))
    assert np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) == pytest.approx(30, abs=0.5)


@pytest.mark.parametrize("psf", [Psf(2.5), Psf(4.0, 3.0)])
def test_psf_has_its_width_and_unit_flux(psf):
    centre, half = psf(np.array(0.0), np.array(0.0)), psf(np.array(psf.fwhm_pix / 2), np.array(0.0))
    assert half == pytest.approx(centre / 2)
    grid = np.arange(-200, 201)
    assert psf(grid, grid[:, None]).sum() == pytest.approx(1, abs=0.002)
    assert psf.kernel().sum() == pytest.approx(1)
    star = draw_star(psf, 151, (75.2, 74.6))
    assert star.sum() == pytest.approx(1, abs=0.005)


def test_convolving_two_gaussians_adds_their_widths():
    """A Gaussian galaxy (Sersic 0.5, half light at 1.1774 sigma) stays one through a Gaussian PSF."""
    sigma, fwhm = 3.0, 4.0
    total = np.hypot(sigma, fwhm / 2.35482)
    half_light = np.sqrt(2 * np.log(2))
    disc, gaussian = shapes.ellipse(1.0), Sersic(0.5)
    seen = draw_galaxy(disc, gaussian, size=61, radius_pix=half_light * sigma, psf_fwhm_pix=fwhm)
    direct = draw_galaxy(disc, gaussian, size=61, radius_pix=half_light * total)
    assert np.abs(seen - direct).max() < 0.005 * direct.max()


@pytest.mark.parametrize("fwhm, beta", [(1.5, np.inf), (2.0, 3.0), (3.5, 2.5)])
def test_psf_on_a_cusp_agrees_with_a_finely_sampled_convolution(fwhm, beta):
    body, times, size = Body(shapes.ellipse(0.6), Sersic(3.0)), 7, 41
    centre = tuple((np.array([20.2, 19.7]) + 0.5) * times - 0.5)
    fine = _oversampled(body, size * times, centre, 20, 4.0 * times, 5)
    truth = convolve(fine, Psf(fwhm * times, beta).kernel())
    truth = truth.reshape(size, times, size, times).sum(axis=(1, 3))
    image = draw(body, size, centre=(20.2, 19.7), position_angle_deg=20, radius_pix=4.0, psf=Psf(fwhm, beta))
    assert np.abs(image - truth).max() < 0.01 * truth.max()


def test_convolution_does_not_wrap_around_the_edge():
    image = np.zeros((32, 40))
    image[0, 0] = 1.0
    kernel = Psf(3.0).kernel()
    seen, middle = convolve(image, kernel), kernel.shape[0] // 2
    assert seen[:5, :5] == pytest.approx(kernel[middle : middle + 5, middle : middle + 5])
    assert np.abs(seen[16:, :]).max() < 1e-12 and np.abs(seen[:, 20:]).max() < 1e-12


def test_exposure_noise_is_photon_and_read_noise():
    light = np.full((200, 200), 30.0)
    rng = np.random.default_rng(0)
    image = expose(light, sky_electrons=400.0, read_noise_electrons=5.0, gain=4.0, rng=rng)
    variance = (30 * 4 + 400 + 25) / 4**2
    assert image.mean() == pytest.approx(30, abs=5 * np.sqrt(variance) / 200)
    assert image.var() == pytest.approx(variance, rel=0.04)


def test_sky_parts_are_where_they_should_be():
    rng, psf = np.random.default_rng(1), Psf(2.5, 3.0)
    plane = gradient(64, rng=rng)
    assert plane.mean() == pytest.approx(0, abs=1e-12) and np.abs(plane).max() == pytest.approx(1)
    assert not neighbours(0, 64, psf, flux=10.0, keep_clear_pix=10, rng=rng).any()
    crowd = neighbours(12, 64, psf, flux=10.0, keep_clear_pix=20, rng=rng)
    peak = np.unravel_index(crowd.argmax(), crowd.shape)
    assert crowd.min() > -1e-9 and np.hypot(*(np.array(peak) - 31.5)) > 18
    assert np.count_nonzero(hot_columns(64, 1, rng=rng).any(axis=0)) == 1
    assert 0 < np.count_nonzero(cosmic_rays(64, 3, rng=rng)) < 3 * 30
    assert satellite_trail(64, psf, rng=rng).max() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", confusers.SKY, ids=lambda kind: kind.__name__)
def test_confusers_shine_everywhere_positively_and_mostly_inside_their_frame(kind):
    for seed in range(3):
        confuser = kind(np.random.default_rng(seed))
        assert confuser.kind == kind.__name__ and confuser.parameters
        image = draw(confuser.brightness, 128, radius_pix=8.0)
        assert np.isfinite(image).all() and image.min() >= 0
        # Half of the light lies within a few units: the frame's unit is about the half-light radius.
        y, x = np.mgrid[:128, :128] - 63.5
        assert image[np.hypot(x, y) < 16].sum() / image.sum() > 0.35


def test_a_galaxy_cut_by_the_edge_is_blank_on_one_side():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        cut, parameters = confusers.cut_by_edge(np.ones((40, 50)), (24.5, 19.5), 8.0, rng)
        blank = cut == 0
        assert blank.all(axis=0).sum() * 40 == blank.sum() or blank.all(axis=1).sum() * 50 == blank.sum()
        assert 0 < blank.sum() < blank.size
        assert -2.4 <= parameters["edge_distance_pix"] <= 6.4


def test_images_depend_on_seed_and_index_alone(sample):
    settings = SynthesiseSettings(number=5)
    part = synthesise(settings, seed=7, start=20)
    assert np.array_equal(part.pixels, sample.pixels[20:25])
    assert list(part.table["id"]) == list(sample.table["id"][20:25])
    chunks = list(iterate_synthesise(SynthesiseSettings(number=7), seed=7, chunk=3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 1]
    assert np.array_equal(np.concatenate([chunk.pixels for chunk in chunks]), sample.pixels[:7])
    assert {tuple(chunk.table.colnames) for chunk in chunks} == {tuple(sample.table.colnames)}
    assert not np.array_equal(synthesise(settings, seed=8).pixels, sample.pixels[:5])


def test_pixels_are_finite_float32_and_ids_unique(sample):
    assert sample.pixels.dtype == np.float32 and np.isfinite(sample.pixels).all()
    assert len(set(sample.table["id"])) == len(sample)
    assert sample.table["id"][3] == f"{sample.table['label'][3]}-000003"


def test_labels_are_what_the_truth_columns_say(sample):
    shaped = sample.table[np.isfinite(sample.table["truth_a4"])]
    assert len(shaped) > 250
    for row in shaped:
        terms = {name: row[f"truth_{name}"] for name in ("a3", "a4", "a6")} | {"b4": row["truth_b4_sin"]}
        assert shapes.label_of(terms)[0] == row["label"]
    assert 0.8 < np.mean(shaped["scored"]) < 1
    confused = sample.table[np.isnan(sample.table["truth_a4"])]
    assert set(confused["label"]) == {"other"}


@pytest.mark.slow
def test_weights_set_the_mix_of_classes():
    settings = SynthesiseSettings(
        number=300, size=32, classes=("rectangular", "oval"), weights=(0.1, 0.9), neighbours=0.0
    )
    labels = list(synthesise(settings, seed=1).table["label"])
    assert 12 <= labels.count("rectangular") <= 52  # 30 +- 4.2 sigma of the binomial
    assert set(labels) == {"rectangular", "oval"}


def test_truth_describes_the_noise_free_galaxy(sample):
    """Moments of the image give back the recorded position angle and centre of bright, lonely ovals."""
    settings = SynthesiseSettings(
        number=12, classes=("oval",), snr_min=3000, snr_max=3000, axis_ratio_max=0.7, sersic_max=1.2, **LONELY
    )
    images = synthesise(settings, seed=3)
    y, x = np.mgrid[:64, :64]
    for image, row in zip(images.pixels.astype(float), images.table, strict=True):
        dx, dy = x - row["truth_x_pix"], y - row["truth_y_pix"]
        image = image * (np.hypot(dx, dy) < 24)
        assert (image * dx).sum() / image.sum() == pytest.approx(0, abs=0.15)
        xx, yy, xy = (image * dx * dx).sum(), (image * dy * dy).sum(), (image * dx * dy).sum()
        angle = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
        assert abs((angle - row["truth_position_angle_deg"] + 90) % 180 - 90) < 3


def test_signal_to_noise_is_that_of_repeated_exposures():
    """Mean over scatter of the light in the brightest half, measured over 600 exposures of one galaxy."""
    light = draw_galaxy(shapes.rectangle(0.6), exponential(), size=48, radius_pix=6.0, psf_fwhm_pix=2.5)
    light *= amplitude(light, snr=40.0, gain=3.0, sky_sigma=4.0)
    ordered = np.sort(light, axis=None)[::-1]
    region = light >= ordered[np.searchsorted(np.cumsum(ordered), light.sum() / 2)]
    sky_electrons = (4.0 * 3.0) ** 2 - 25
    rng = np.random.default_rng(5)
    sums = [
        expose(light, sky_electrons=sky_electrons, read_noise_electrons=5.0, gain=3.0, rng=rng)[region].sum()
        for _ in range(600)
    ]
    assert np.mean(sums) / np.std(sums) == pytest.approx(40, rel=0.1)  # scatter of a scatter: 2.9 %
    assert light[region].sum() == pytest.approx(light.sum() / 2, rel=0.02)


@pytest.mark.slow
def test_settings_that_cannot_be_met_are_refused():
    for wrong, sentence in (
        ({"weights": (1.0,)}, "one number for each of the classes"),
        ({"classes": ()}, "at least one value"),
        ({"size": 8}, "'size' must be from 16 to 4096; received 8"),
        ({"snr_min": 30.0, "snr_max": 20.0}, "snr_min <= snr_max; received 30.0 and 20.0"),
        ({"axis_ratio_max": 1.2}, "'axis_ratio_max' must be above 0 and at most 1; received 1.2"),
        ({"psf_fwhm_min_pix": 9.0, "psf_fwhm_max_pix": 9.0}, r"psf_fwhm_min_pix <= radius_min \* size"),
    ):
        with pytest.raises(ValueError, match=sentence):
            SynthesiseSettings(**wrong)
    with pytest.raises(ValueError, match="no galaxy of kind"):
        rng = np.random.default_rng(0)
        population.draw_object("obround", "obround", axis_ratios=(0.95, 1), sersic_indices=(1, 2), rng=rng)


def _distinct(maps):
    return len({np.round(image, 6).tobytes() for image in maps})


@pytest.mark.slow
def test_thesis_grid_as_it_was_has_six_rectangles_and_no_rotation():
    grid = thesis_grid()
    maps = thesis_maps(grid, particles=None)
    labels = np.array(maps.table["label"])
    assert maps.pixels.shape == (108, 50, 50)
    assert [int((labels == label).sum()) for label in ("oval", "rectangular", "obround")] == [36, 36, 36]
    assert _distinct(maps.pixels[labels == "rectangular"]) == 6
    assert len(set(maps.table["galaxy"][labels == "rectangular"])) == 6
    assert _distinct(maps.pixels[labels == "oval"]) == 36 == _distinct(maps.pixels[labels == "obround"])
    # Upright: every map is its own mirror image.
    assert np.allclose(maps.pixels, maps.pixels[:, ::-1], atol=1e-6)
    assert np.allclose(maps.pixels, maps.pixels[:, :, ::-1], atol=1e-6)
    ratios = maps.table["truth_axis_ratio"][labels == "rectangular"]
    assert (ratios.min(), ratios.max()) == pytest.approx((2 / 3, 1))


@pytest.mark.slow
def test_repaired_thesis_grid_has_distinct_rotated_galaxies_of_the_labelled_shape():
    grid = thesis_grid(repaired=True, seed=2)
    maps = thesis_maps(grid, particles=None)
    for label in ("oval", "rectangular", "obround"):
        assert _distinct(maps.pixels[np.array(maps.table["label"]) == label]) == 36
    assert not np.allclose(maps.pixels, maps.pixels[:, ::-1], atol=1e-4)
    assert maps.pixels.sum(axis=(1, 2)) == pytest.approx(1, abs=0.01)
    assert all(shapes.label_of(shapes.harmonics(galaxy.shape)) == (galaxy.label, True) for galaxy in grid)


def test_particle_maps_count_particles_with_poisson_scatter_around_the_expectation():
    grid = [*thesis_grid()[::20], *thesis_grid(repaired=True)[::20]]
    counted, expected = thesis_maps(grid, particles=20_000, seed=4), thesis_maps(grid, particles=None)
    assert np.all(counted.pixels.sum(axis=(1, 2)) == 20_000)
    mean = expected.pixels * 20_000
    inside = mean > 0.98 * mean.max(axis=(1, 2), keepdims=True)
    chi2 = ((counted.pixels - mean) ** 2 / np.maximum(mean, 1e-9))[inside].mean()
    assert chi2 == pytest.approx(1, abs=0.1)
    again = thesis_maps(grid[3:4], particles=20_000, seed=4)
    assert not np.array_equal(again.pixels[0], counted.pixels[3]) and again.pixels.sum() == 20_000


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "distinct"), [("thesis", 6), ("repaired", 36)])
def test_the_thesis_grid_is_a_setting(grid, distinct):
    images = concatenate(list(iterate_synthesise(SynthesiseSettings(grid=grid), seed=1)))
    assert images.pixels.shape == (108, 50, 50)
    rectangles = images[np.asarray(images.table["label"] == "rectangular")]
    assert len(rectangles) == 36 and len(set(rectangles.table["galaxy"])) == distinct


def test_exposures_show_the_same_galaxy():
    """Three images of each: the same truth, another S/N and noise; image i whatever is asked for besides."""
    settings = SynthesiseSettings(number=12, exposures=3, population="wide")
    images = synthesise(settings, seed=5)
    table = images.table
    for first in range(0, 12, 3):
        rows = table[first : first + 3]
        assert len(set(rows["galaxy"])) == 1 and len(set(rows["id"])) == 3
        assert len(set(rows["truth_x_pix"])) == len(set(rows["kind"])) == 1
        assert len(set(rows["truth_snr"])) == 3
    assert len(set(table["galaxy"])) == 4
    part = synthesise(replace(settings, number=5), seed=5, start=4)
    np.testing.assert_array_equal(part.pixels, images.pixels[4:9])
    once = synthesise(replace(settings, number=4, exposures=1), seed=5)
    np.testing.assert_array_equal(once.pixels, images.pixels[::3])  # the first of each is what it was
    with pytest.raises(ValueError, match="'exposures' must be from 1 to 1000; received 0"):
        SynthesiseSettings(exposures=0)
