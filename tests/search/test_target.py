"""Targets: built in, from TOML, from a measured profile; and what matches them."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from emeraldcut.camera.remnant_shape import RADII, Views
from emeraldcut.cli import main
from emeraldcut.errors import UsageError
from emeraldcut.galaxies.profiles import Body, Sersic
from emeraldcut.galaxies.shapes import superellipse
from emeraldcut.galaxies.sky import draw
from emeraldcut.search.target import BUILT_IN, Constraint, Target, read_target
from emeraldcut.tables.files import write_table


def views_of(a4, q, a6=0.0) -> Views:
    """Views with the given profiles (d, 5)."""
    a4 = np.atleast_2d(np.asarray(a4, float))
    full = [np.broadcast_to(np.asarray(v, float), a4.shape) for v in (a6, q)]
    return Views(np.zeros((len(a4), 3)), RADII, a4, *full, np.full(a4.shape, 0.005), np.ones(len(a4)))


def test_leda_is_what_was_published():
    leda = read_target("leda074886")
    emerald = [0.02, 0.0, -0.06, -0.065, -0.07]
    assert leda.matches(views_of([emerald], 0.7)).all()
    assert leda.matches(views_of([emerald], 0.7, a6=0.05)).all()  # a6 is not published
    for wrong in (
        [-0.02, 0.0, -0.06, -0.065, -0.07],
        [0.02, 0.0, -0.04, -0.065, -0.07],
        [0.02, 0.0, -0.06, -0.065, -0.09],
    ):
        assert not leda.matches(views_of([wrong], 0.7)).any()
    assert not leda.matches(views_of([emerald], 0.6)).any()
    assert "Graham" in leda.about


def test_closeness_falls_with_distance_and_is_nothing_without_an_isophote():
    box = BUILT_IN["box"]
    closeness = box.closeness(views_of([[0, 0, -0.05, -0.05, -0.05], [0, 0, -0.03, -0.04, -0.04], [0, 0, 0, 0, 0],
                                        [0, 0, np.nan, -0.05, -0.05]], 0.7))  # fmt: skip
    assert closeness[0] == 1
    assert 1 > closeness[1] > closeness[2] > closeness[3] == 0


def test_a_file_gives_values_with_errors_or_limits(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "my galaxy"\n[[isophote]]\nradius = 1.5\na4 = -0.06\na4_err = 0.01\naxis_ratio_at_most = 0.8\n'
        "[[isophote]]\nradius = 0.7\na4_at_least = 0.01\na4_at_most = 0.04\n"
    )
    target = read_target(file)
    assert target.name == "my galaxy"
    assert target.radii == (0.7, 1.5)
    assert target.constraints[0].low == pytest.approx(-0.08)
    assert target.constraints[0].high == pytest.approx(-0.04)
    assert [str(c) for c in target.constraints] == [
        "a4 at 1.5 a_e: -0.08 to -0.04", "axis_ratio at 1.5 a_e: at most +0.8", "a4 at 0.7 a_e: +0.01 to +0.04"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text, words",
    [("", "constrains nothing"), ("[[isophote]]\nradius = 1\n", "constrains nothing"),
     ("isophote = 3", "expects tables"),
     ("[[isophote]]\na4_at_least = 0\n", "radius above 0"), ("[[isophote]]\nradius = 1\na4 = 0\n", "needs 'a4_err'"),
     ("[[isophote]]\nradius = 1\nb4 = 0\n", "unknown key 'b4'"), ("[[isophote]]\nradius = 'x'\n", "finite number"),
     ("[[isophote]]\nradius = 1\na4_at_least = 1\na4_at_most = 0\n", "no a4")],
)  # fmt: skip
def test_files_that_say_too_little_are_refused(tmp_path, text, words):
    file = tmp_path / "t.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_target(file)


def test_rotation_can_be_asked_for(tmp_path):
    file = tmp_path / "t.toml"
    file.write_text("[[isophote]]\nradius = 0.5\nrotation_km_s = 33\nrotation_km_s_err = 5\n")
    target = read_target(file)
    assert target.motion
    assert not read_target("box").motion
    views = replace(views_of(np.zeros((2, 5)), 0.7), rotation_km_s=np.array([[30.0] * 5, [50.0] * 5]))
    assert list(target.matches(views)) == [True, False]


def test_the_inner_disc_of_leda_can_be_left_out():
    assert read_target("leda074886_outside").radii == (1.5, 2.0, 2.5)


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match="targets are leda074886, box"):
        read_target("m87")


def test_a_measured_profile_is_a_target(tmp_path):
    radius = np.geomspace(2, 41, 30)
    rows = Table({"id": ["g"] * 30, "isophote_radius_pix": radius, "a4": -0.001 * radius, "a4_err": np.full(30, 0.001),
                  "a6": np.zeros(30), "a6_err": np.full(30, 0.01), "axis_ratio": np.full(30, 0.7),
                  "axis_ratio_err": np.full(30, 0.001)})  # fmt: skip
    write_table(rows, tmp_path / "profiles.ecsv")
    file = tmp_path / "t.toml"
    file.write_text('profile = "profiles.ecsv"\nhalf_light_radius_pix = 20.0\nuse = ["a4", "axis_ratio"]\n')
    target = read_target(file)
    assert target.radii == (0.5, 1.0, 1.5, 2.0)  # 2.5 is beyond the profile
    at = {(c.quantity, c.radius): c for c in target.constraints}
    assert at["a4", 1.0].low == pytest.approx(-0.02 - 2 * 0.005, abs=1e-4)  # the least error, not the measured one
    assert at["axis_ratio", 2.0].high == pytest.approx(0.74)
    for wrong, words in (
        ("", "half_light_radius_pix"),
        ('id = "h"\nhalf_light_radius_pix = 20', "must hold one galaxy"),
    ):
        file.write_text(f'profile = "profiles.ecsv"\n{wrong}\n')
        with pytest.raises(UsageError, match=words):
            read_target(file)


@pytest.mark.slow
def test_the_profile_of_an_image_is_a_target(tmp_path):
    """A box of exponent 3 and axis ratio 0.7, whose a4/a is -0.057 (superellipse): measured, and then a target."""
    light = draw(Body(superellipse(0.7, 3.0), Sersic(1.0), 12.0), 161)
    np.save(tmp_path / "box.npy", 1e6 * light + np.random.default_rng(1).normal(0, 1, light.shape))
    measure = ["measure", str(tmp_path / "box.npy"), "--profiles", str(tmp_path / "profiles.ecsv")]
    assert main([*measure, "-o", str(tmp_path / "shapes.ecsv"), "--quiet"]) == 0
    target = read_target(tmp_path / "profiles.ecsv")
    at = {(c.quantity, c.radius): c for c in target.constraints}
    for radius in (1.0, 1.5):
        assert at["a4", radius].low < -0.057 < at["a4", radius].high
        assert at["axis_ratio", radius].low < 0.7 < at["axis_ratio", radius].high


def test_a_target_needs_a_constraint():
    with pytest.raises(UsageError, match="constrains nothing"):
        Target("none", ())
    assert Target("one", (Constraint("a6", 1.0, high=0.0),)).radii == (1.0,)
