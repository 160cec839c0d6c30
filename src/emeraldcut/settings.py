"""Settings: frozen dataclasses from which TOML keys, flags, ranges, help texts and the docs all come.

A stage's settings are a dataclass that inherits `Settings` and whose fields are made by `setting`:

>>> @dataclass(frozen=True, kw_only=True)
... class CutSettings(Settings):
...     size: int = setting(64, "side of a cutout in pixels", at_least=16)
>>> CutSettings(size=8)
Traceback (most recent call last):
emeraldcut.errors.UsageError: setting 'size' must be at least 16; received 8.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from emeraldcut.errors import UsageError

LEAST_PLAIN, LEAST_POWER, MOST_PLAIN = 1e-3, 1e6, 1e10  # from 0.001 to 1,000,000 numbers have no power of ten
EXPECTS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}


@dataclass(frozen=True)
class Range:
    """What a number may be; a bound that is None does not bind."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """In words, such as "at least 1" or "above 0 and at most 1"; empty where all numbers are in it."""
        words = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        bounds = {word: bound for word, bound in words.items() if bound is not None}
        with_powers = any(bound and not LEAST_PLAIN <= abs(bound) < MOST_PLAIN for bound in bounds.values())
        texts = {word: _bound(bound, with_powers) for word, bound in bounds.items()}
        if set(texts) == {"at least", "at most"}:
            return f"from {texts['at least']} to {texts['at most']}"
        return " and ".join(f"{word} {text}" for word, text in texts.items())


def _bound(value: float, with_powers: bool) -> str:
    """A bound as it is read best: 0.05, 65,535, 1,000,000; where the other one is 1e-6 also 1e6."""
    if with_powers and value and not LEAST_PLAIN <= abs(value) < LEAST_POWER:
        return _in_powers(value)
    return f"{value:,.15g}" if abs(value) >= 10_000 else f"{value:.15g}"


def _in_powers(value: float) -> str:
    """A number such as 1e-6 or 1.2e9, which Python and TOML read."""
    shortest = next(text for places in range(17) if float(text := f"{value:.{places}e}") == value)
    digits, power = shortest.split("e")
    return f"{digits}e{int(power)}"


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    not_empty: bool = False,
    reads: bool = False,
) -> Any:
    """A field of a settings dataclass, with the sentence that explains it in `--help` and in the docs.

    Parameters
    ----------
    default : bool, int, float, str, a tuple of one of them, or None
        A tuple becomes a comma-separated flag.
    help : str
    choices : tuple of str
        The texts that are allowed.
    at_least, above, at_most, below : float
        The range of a number. Like `choices`, it holds for each item of a tuple.
    not_empty : bool
        A tuple must have at least one item.
    reads : bool
        It may name a file or folder whose content decides the result, such as a network.
    """
    limits = Range(at_least, above, at_most, below)
    facts = {"help": help, "choices": choices, "limits": limits, "not_empty": not_empty, "reads": reads}
    return dataclasses.field(default=default, metadata=facts)


@dataclass(frozen=True)
class Item:
    """One setting of a class: its name, type, default and help, and which values are allowed."""

    name: str
    kind: type
    many: bool
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...] | None
    limits: Range
    not_empty: bool
    reads: bool

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return "--" + self.name.rstrip("_").replace("_", "-")  # `import_`, which Python does not allow without

    @property
    def shown_default(self) -> str:
        """The default as a user would write it; empty where nothing is set."""
        if self.default is None:
            return ""
        return ",".join(map(_shown, self.default)) if self.many else _shown(self.default)

    @property
    def allowed(self) -> str:
        """The values that are allowed, in words; empty where all are."""
        return ", ".join(self.choices) if self.choices else str(self.limits)

    def converted(self, value: Any) -> Any:
        """`value`, from a flag, TOML or Python, as this setting holds it; UsageError where it is not allowed."""
        if value is None:
            if self.optional:
                return None
            raise UsageError(f"setting '{self.name}' must have a value; received none.")
        if not self.many:
            return self._checked(value)
        if isinstance(value, str):
            parts: Iterable[Any] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            parts = value if isinstance(value, Iterable) and not isinstance(value, Mapping) else [value]
        items = tuple(map(self._checked, parts))
        if self.not_empty and not items:
            raise UsageError(f"setting '{self.name}' expects at least one value; received none.")
        return items

    def _checked(self, value: Any) -> Any:
        """One value of the right type, which is allowed."""
        try:
            result = _CONVERT[self.kind](value)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"setting '{self.name}' expects {EXPECTS[self.kind]}; received {value!r}.") from None
        what = f"every value of setting '{self.name}'" if self.many else f"setting '{self.name}'"
        if self.choices is not None and result not in self.choices:
            raise UsageError(f"{what} must be one of {self.allowed}; received {value!r}.")
        if self.kind in (int, float) and result not in self.limits:
            raise UsageError(f"{what} must be {self.limits}; received {result}.")
        return result


def _shown(value: Any) -> str:
    """A value as a user would write it."""
    if isinstance(value, float) and value and not LEAST_PLAIN <= abs(value) < LEAST_POWER:
        return _in_powers(value)
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str):
        value = float(value) if set(value) & set(".eE") else int(value)
    if int(value) != value:
        raise ValueError
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise TypeError
    return float(value)


def _str(value: Any) -> str:
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError
    text.encode()  # ValueError for what no file of settings can hold
    return text


_CONVERT: dict[type, Callable[[Any], Any]] = {bool: _bool, int: _int, float: _float, str: _str}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The base of all settings: whatever makes one, Python, a flag or a file, its values are converted and checked.

    Raises
    ------
    UsageError
        For a value of the wrong type or outside its range, a number that is not finite, or values that do not go
        together (`check`).
    """

    def __post_init__(self) -> None:
        for item in items(type(self)):
            object.__setattr__(self, item.name, item.converted(getattr(self, item.name)))
        self.check()

    def check(self) -> None:
        """UsageError for values that do not go together; for classes that have such to write."""


def items(cls: type) -> tuple[Item, ...]:
    """The settings of a settings class, in order."""
    return _items(cls)


@cache
def _items(cls: type) -> tuple[Item, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(_item(field, hints[field.name]) for field in dataclasses.fields(cls))


def _item(field: dataclasses.Field[Any], annotation: Any) -> Item:
    optional = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    if optional:
        annotation = next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    many = typing.get_origin(annotation) is tuple
    kind = typing.get_args(annotation)[0] if many else annotation
    return Item(field.name, kind, many, optional, field.default, **field.metadata)


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of the settings class `cls` from a mapping; raises UsageError that lists the known keys."""
    known = [item.name for item in items(cls)]
    for key in values:
        if key not in known:
            raise UsageError(f"unknown setting '{key}'; known settings are {', '.join(known)}.")
    return cls(**values)


def from_keywords(given: Iterable[Any], keywords: Mapping[str, Any], *classes: type) -> tuple[Any, ...]:
    """One settings object per class, from settings objects that are `given` and from keywords, which take precedence.

    Raises
    ------
    UsageError
        For something given that is no settings object of one of the classes, or a keyword that none of them knows; the
        message lists those that are known.

    Examples
    --------
    >>> @dataclass(frozen=True, kw_only=True)
    ... class CutSettings(Settings):
    ...     size: int = setting(64, "side of a cutout in pixels", at_least=16)
    >>> from_keywords([CutSettings(size=32)], {}, CutSettings)
    (CutSettings(size=32),)
    >>> from_keywords([], {"sise": 16}, CutSettings)
    Traceback (most recent call last):
    emeraldcut.errors.UsageError: unknown setting 'sise'; did you mean 'size'? Known settings are size.
    """
    objects: dict[type, Any] = {}
    for one in given:
        if type(one) not in classes:
            names = " or ".join(cls.__name__ for cls in classes)
            raise UsageError(f"settings must be {names}, or keywords; received {type(one).__name__}.")
        objects[type(one)] = one
    known = [item.name for cls in classes for item in items(cls)]
    for name in keywords:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            asked = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(f"unknown setting '{name}'; {asked}Known settings are {', '.join(known)}.")
    made = []
    for cls in classes:
        own = {item.name: keywords[item.name] for item in items(cls) if item.name in keywords}
        made.append(dataclasses.replace(objects[cls], **own) if cls in objects else cls(**own))
    return tuple(made)


# --- on the command line


def add_flags(parser: argparse.ArgumentParser, *classes: type) -> None:
    """Adds one flag per field of each settings class to `parser`, and `--settings FILE.toml`."""
    text = "read settings from this TOML file; flags take precedence"
    parser.add_argument("--settings", metavar="FILE.toml", help=text)
    for cls in classes:
        for item in items(cls):
            _add_flag(parser, item)


def _add_flag(parser: argparse.ArgumentParser, item: Item) -> None:
    """One flag; its value stays text, which `build` checks and converts."""
    notes = [str(item.limits)] if str(item.limits) else []
    notes += [f"default: {item.shown_default}"] if item.shown_default else []
    text = (item.help + (f" ({'; '.join(notes)})" if notes else "")).replace("%", "%%")
    if item.kind is bool:
        parser.add_argument(item.flag, dest=item.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    placeholder = {int: "N", float: "X"}.get(item.kind, item.name.rstrip("_").split("_")[-1].upper())
    metavar = "|".join(item.choices) if item.choices else placeholder
    parser.add_argument(item.flag, dest=item.name, default=None, metavar=metavar + ",..." * item.many, help=text)


def from_flags(arguments: argparse.Namespace, *classes: type) -> tuple[Any, ...]:
    """One settings object per class, from defaults, then the file given by `--settings`, then flags.

    Raises
    ------
    UsageError
        For a key that no class knows (the message lists those that are known), or a value that is not allowed.
    """
    file = getattr(arguments, "settings", None)
    given = _known_values(file, classes) if file else {}
    flags = {item.name: getattr(arguments, item.name, None) for cls in classes for item in items(cls)}
    return _build_all(given | {name: value for name, value in flags.items() if value is not None}, classes)


# --- in TOML


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file, which is UTF-8 whatever the machine's own encoding; UsageError if it cannot be read.

    A byte order mark, as editors on Windows write it, is skipped.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"no TOML file named '{path}'.") from None
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}.") from None
    except ValueError as error:  # of the encoding, or of TOML
        raise UsageError(f"'{path}' cannot be read as TOML: {error}.") from None


def from_file(path: str | Path, *classes: type) -> tuple[Any, ...]:
    """One settings object per class, from defaults and a TOML file; raises as `from_flags` does."""
    return _build_all(_known_values(path, classes), classes)


def _known_values(path: str | Path, classes: tuple[type, ...]) -> dict[str, Any]:
    given = read_toml(path)
    known = [item.name for cls in classes for item in items(cls)]
    for key in given:
        if key not in known:
            raise UsageError(f"unknown setting '{key}' in '{path}'; known settings are {', '.join(known)}.")
    return given


def _build_all(given: Mapping[str, Any], classes: tuple[type, ...]) -> tuple[Any, ...]:
    return tuple(cls(**{item.name: given[item.name] for item in items(cls) if item.name in given}) for cls in classes)


def to_toml(settings: Settings) -> str:
    """The resolved settings as TOML text that `build` reads back; unset (`None`) keys are comments."""
    lines = []
    for item in items(type(settings)):
        value = getattr(settings, item.name)
        lines.append(f"# {item.help}")
        lines.append(f"# {item.name} is not set" if value is None else f"{item.name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return '"' + "".join(map(_toml_letter, value)) + '"'


def _toml_letter(letter: str) -> str:
    if letter in '\\"':
        return "\\" + letter
    return letter if letter >= " " and letter != "\x7f" else f"\\u{ord(letter):04x}"
