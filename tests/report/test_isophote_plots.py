"""Plots of isophotes, in Python and from the shell."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import emeraldcut
from emeraldcut.cli import main
from emeraldcut.errors import UsageError
from emeraldcut.images import write_images


@pytest.fixture(scope="module")
def images():
    return emeraldcut.synthesise(3, seed=4)


def test_a_figure_shows_everything_against_radius(images):
    profiles = emeraldcut.radial_profiles(images, radius_step=0.2)
    name = str(profiles["id"][-1])
    axes = emeraldcut.plot_isophotes(images, profiles, name)
    assert set(axes) >= {"image", "model", "residual", "brightness", "ellipticity", "position_angle", "a4", "a6"}
    own = profiles[[str(one) == name for one in profiles["id"]]]
    (line, *_), *_ = axes["a4"].containers
    np.testing.assert_allclose(line.get_ydata(), np.ma.compressed(np.ma.asarray(own["a4"])))
    assert axes["image"].figure._suptitle.get_text() == name


def test_own_axes_are_drawn_into(images):
    profiles = emeraldcut.radial_profiles(images)
    panel = Figure().add_subplot()
    assert emeraldcut.plot_isophotes(images, profiles, axes={"a4": panel}) == {"a4": panel}
    assert panel.get_ylabel() == "$a_4$" and panel.get_xlabel() == "semi-major axis (pixels)"


def test_a_galaxy_without_a_profile_is_named(images):
    with pytest.raises(UsageError, match="expects an image with a profile; received 'nobody'"):
        emeraldcut.plot_isophotes(images, emeraldcut.radial_profiles(images), "nobody")


@pytest.mark.slow
def test_measure_draws_the_first_galaxies(images, tmp_path):
    write_images(images, tmp_path / "set", command="test")
    arguments = ["measure", str(tmp_path / "set"), "--output", str(tmp_path / "t.csv"), "--quiet"]
    main([*arguments, "--plots", str(tmp_path / "plots"), "--most-plots", "2"])
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert len(drawn) == 2 and all(name.endswith(".png") for name in drawn)
