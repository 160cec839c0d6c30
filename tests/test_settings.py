"""Settings: one description of each from which checks, flags, help, TOML and docs come."""

import argparse
import dataclasses
import math
import pickle
import tomllib
from importlib import import_module
from pkgutil import walk_packages

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emeraldcut
from emeraldcut.cli import COMMANDS, load
from emeraldcut.errors import UsageError
from emeraldcut.galaxies import SynthesiseSettings
from emeraldcut.isophotes import MeasureSettings
from emeraldcut.mergers import SuiteSettings
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.settings import Range, Settings, add_flags, build, from_file, from_flags, items, setting, to_toml
from emeraldcut.similarity import CompareSettings

NO_MODULES = ("amuse_worker", "__main__")  # programs
HOSTILE = ['"', "\\", "\n", "\r\n", "\t", "\x00", "\x1f", "\x7f", "\x85", "\u2028", "#", "'''", "é", "a, b", " "]


def all_classes():
    for module in walk_packages(emeraldcut.__path__, "emeraldcut."):
        if not module.name.endswith(NO_MODULES):
            import_module(module.name)
    return sorted(Settings.__subclasses__(), key=lambda cls: cls.__name__)


CLASSES = [cls for cls in all_classes() if cls.__module__.startswith("emeraldcut.")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Everything(Settings):
    """A setting of every kind."""

    text: str = setting("a", "text")
    perhaps: str | None = setting(None, "text, or nothing")
    number: float = setting(1.0, "a number")
    whole: int = setting(1, "a whole number", at_least=-(2**80))
    yes: bool = setting(True, "yes or no")
    texts: tuple[str, ...] = setting(("a",), "texts")
    numbers: tuple[float, ...] | None = setting(None, "numbers", above=0, not_empty=True)


# --- the classes of the package


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class_is_frozen_takes_keywords_only_and_is_described(cls):
    made = cls(**({"catalogue": "t.csv", "survey": "x"} if cls.__name__ == "FetchSettings" else {}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, items(cls)[0].name, 1)
    with pytest.raises(TypeError):
        cls(items(cls)[0].default)
    for item in items(cls):
        assert item.help and item.help[-1] != "." and "\n" not in item.help
        assert not (item.optional and item.default is not None)  # else TOML could not say "none"


@pytest.mark.parametrize("name", COMMANDS)
def test_settings_of_one_command_have_names_of_their_own(name):
    names = [item.name for cls in COMMANDS[name].settings for item in items(load(cls))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("cls", CLASSES)
def test_bounds_hold_and_are_named(cls):
    """Each number is tried just outside its range, and as no number."""
    for item in items(cls):
        if item.kind not in (int, float):
            continue
        next_to = (lambda bound, end: bound + int(math.copysign(1, end))) if item.kind is int else math.nextafter
        outside = [math.nan, math.inf, "wide", True]
        limits = item.limits
        outside += [next_to(bound, -math.inf) for bound in (limits.at_least,) if bound is not None]
        outside += [next_to(bound, math.inf) for bound in (limits.at_most,) if bound is not None]
        outside += [bound for bound in (limits.above, limits.below) if bound is not None]
        for value in outside:
            with pytest.raises(UsageError, match=f"setting '{item.name}' (must be|expects)"):
                cls(**{item.name: value})


@pytest.mark.parametrize("cls", CLASSES)
def test_every_number_has_a_largest_and_a_smallest_value(cls):
    """Of 1e300 and the like some made a command run for ever, or end in a traceback."""
    for item in items(cls):
        if item.kind not in (int, float) or item.name == "seed":
            continue
        limits = item.limits
        assert limits.at_least is not None or limits.above is not None, item.name
        assert limits.at_most is not None or limits.below is not None, item.name
        for value in (1e300, -1e300):
            with pytest.raises(UsageError, match=f"setting '{item.name}' must be"):
                cls(**{item.name: value})


def values_of(item):
    """What a setting may hold, hostile texts among them."""
    if item.choices:
        one = st.sampled_from(item.choices)
    elif item.kind is str:
        one = st.text() | st.sampled_from(
            ['"', "\\", "\n", "\r\n", "\t", "\x00", "\x1f", "\x7f", "\x85", "\u2028", "#", "'''", "é"]
        )
    elif item.kind is bool:
        one = st.booleans()
    else:
        limits = item.limits
        low = limits.at_least if limits.at_least is not None else limits.above
        high = limits.at_most if limits.at_most is not None else limits.below
        kind = st.integers if item.kind is int else st.floats
        extra = {} if item.kind is int else {"allow_nan": False, "allow_infinity": False}
        one = kind(low, high, **extra).filter(lambda value: value in limits)
    if item.many:
        one = st.lists(one, min_size=int(item.not_empty), max_size=4).map(tuple)
    return st.none() | one if item.optional else one


def settings_of(cls):
    def made(values):
        try:
            return cls(**values)
        except UsageError:  # values that do not go together
            return None

    return st.fixed_dictionaries({}, optional={item.name: values_of(item) for item in items(cls)}).map(made)


@pytest.mark.parametrize("cls", [Everything, *CLASSES])
def test_toml_brings_back_the_same_settings(cls, tmp_path_factory):
    path = tmp_path_factory.mktemp("toml") / "settings.toml"

    @settings(max_examples=100 if cls is Everything else 25, deadline=None)
    @given(settings_of(cls))
    def holds(one):
        if one is None:
            return
        assert build(cls, tomllib.loads(to_toml(one))) == one
        path.write_text(to_toml(one), encoding="utf-8", newline="")
        assert from_file(path, cls) == (one,)
        assert pickle.loads(pickle.dumps(one)) == one

    holds()


# --- what is converted, and what is refused


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"mass_ratios": 3}, (3.0,)),
        ({"mass_ratios": 2.5}, (2.5,)),
        ({"mass_ratios": "1, 2,,3"}, (1.0, 2.0, 3.0)),
        ({"mass_ratios": [1, 4]}, (1.0, 4.0)),
        ({"mass_ratios": np.array([1.0, 2.0])}, (1.0, 2.0)),
    ],
)
def test_one_value_is_a_tuple_of_one(values, expected, tmp_path):
    assert SuiteSettings(**values).mass_ratios == expected == build(SuiteSettings, values).mass_ratios


def test_a_scalar_in_toml_is_a_tuple_of_one(tmp_path):
    (tmp_path / "s.toml").write_text("mass_ratios = 2\nhalo_particles = 1e4\n")
    (suite,) = from_file(tmp_path / "s.toml", SuiteSettings)
    assert suite.mass_ratios == (2.0,) and suite.halo_particles == 10_000
    assert CompareSettings(reference="a.fits").reference == ("a.fits",)


def test_paths_and_numbers_of_numpy_are_taken(tmp_path):
    made = Everything(text=tmp_path, number=np.float32(0.5), whole=np.int64(3))
    assert (made.text, made.number, made.whole) == (str(tmp_path), 0.5, 3)
    assert [type(value) for value in (made.text, made.number, made.whole)] == [str, float, int]


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"text": 5}, "setting 'text' expects text; received 5."),
        ({"text": None}, "setting 'text' must have a value; received none."),
        ({"text": "half a pair \ud800"}, "setting 'text' expects text"),
        ({"text": b"bytes"}, "setting 'text' expects text"),
        ({"number": "1,2"}, "setting 'number' expects a finite number; received '1,2'."),
        ({"number": [1.0]}, "setting 'number' expects a finite number"),
        ({"whole": 1.5}, "setting 'whole' expects a whole number; received 1.5."),
        ({"yes": 1}, "setting 'yes' expects true or false; received 1."),
        ({"yes": "false"}, "setting 'yes' expects true or false"),
        ({"texts": [["a"]]}, r"setting 'texts' expects text; received \['a'\]"),
        ({"texts": {"a": 1}}, "setting 'texts' expects text"),
        ({"numbers": (1.0, -2.0)}, "every value of setting 'numbers' must be above 0; received -2.0."),
        ({"numbers": ()}, "setting 'numbers' expects at least one value; received none."),
        ({"nmber": 1}, "unknown setting 'nmber'; known settings are text, perhaps, number"),
    ],
)
def test_what_is_refused_is_refused_with_a_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        build(Everything, values)
    if "nmber" not in values:
        with pytest.raises(ValueError, match=sentence):  # which a UsageError is
            Everything(**values)


def test_a_file_is_utf8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    path = tmp_path / "s.toml"
    for mark in (b"", b"\xef\xbb\xbf"):  # as editors on Windows begin a file
        path.write_bytes(mark + 'text = "Gérard – 星系"\n'.encode())
        assert from_file(path, Everything)[0].text == "Gérard – 星系"
    path.write_bytes('text = "Gérard"'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"s\.toml' cannot be read as TOML: 'utf-8' codec"):
        from_file(path, Everything)


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("nothere.toml", None, r"no TOML file named '.*nothere\.toml'\."),
        ("s.toml", "a = = 1", "cannot be read as TOML"),
        ("s.toml", "nmber = 1", r"unknown setting 'nmber' in '.*s\.toml'; known settings are text"),
        (".", None, "cannot be read: Is a directory"),
    ],
)
def test_files_that_cannot_be_read_get_a_sentence(name, content, sentence, tmp_path):
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=sentence):
        from_file(tmp_path / name, Everything)


# --- flags and help


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    (tmp_path / "s.toml").write_text("inner_radius = 0.5\nouter_radius = 2\n")
    parser = argparse.ArgumentParser()
    add_flags(parser, MeasureSettings)
    words = ["--settings", str(tmp_path / "s.toml"), "--outer-radius", "3"]
    (made,) = from_flags(parser.parse_args(words), MeasureSettings)
    assert (made.inner_radius, made.outer_radius, made.unresolved_ratio) == (0.5, 3.0, 1.0)


def test_help_tells_ranges_and_defaults():
    parser = argparse.ArgumentParser(formatter_class=lambda prog: argparse.HelpFormatter(prog, width=400))
    add_flags(parser, SynthesiseSettings)
    text = parser.format_help()
    assert "--number N" in text and "number of images (from 1 to 100,000,000; default: 1000)" in text
    assert "--weights X,..." in text
    assert "(above 0 and at most 0.5; default: 0.2)" in text
    assert "equal if not given (from 0 to 1,000,000)" in text
    parser = argparse.ArgumentParser(formatter_class=lambda prog: argparse.HelpFormatter(prog, width=400))
    add_flags(parser, EvolveSettings)
    text = parser.format_help()
    assert "below which no stars form (from 0 to 1e18; default: 3e6)" in text
    assert "(from 1e-6 to 1000; default: 0.05)" in text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_defaults_are_written_as_they_are_read(value):
    (item,) = (one for one in items(MeasureSettings) if one.name == "inner_radius")
    shown = dataclasses.replace(item, default=value).shown_default
    assert float(shown) == tomllib.loads(f"x = {shown}")["x"] == value


@pytest.mark.parametrize(
    "limits, words",
    [
        (Range(at_least=1), "at least 1"),
        (Range(at_least=0, at_most=65535), "from 0 to 65,535"),
        (Range(at_least=0, at_most=1_000_000), "from 0 to 1,000,000"),
        (Range(at_least=1e-6, at_most=1e6), "from 1e-6 to 1e6"),
        (Range(at_least=1e-6, at_most=1000), "from 1e-6 to 1000"),
        (Range(above=0, at_most=1.5e18), "above 0 and at most 1.5e18"),
        (Range(above=0, at_most=0.5), "above 0 and at most 0.5"),
        (Range(at_least=0, below=1), "at least 0 and below 1"),
        (Range(), ""),
    ],
)
def test_ranges_in_words(limits, words):
    assert str(limits) == words


@given(st.floats(allow_nan=False), st.floats(-1, 1), st.floats(-1, 1))
def test_ranges_hold_what_they_say(value, low, high):
    assert (value in Range(at_least=low, at_most=high)) == (low <= value <= high)
    assert (value in Range(above=low, below=high)) == (low < value < high)
