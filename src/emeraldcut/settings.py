"""Settings: frozen dataclasses from which TOML keys, command-line flags and help texts all come."""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def setting(default: Any, help: str, *, choices: tuple | None = None) -> Any:
    """A field of a settings dataclass, with the sentence that explains it in `--help` and in the docs.

    A `tuple` default becomes a comma-separated flag; `choices` limits a value, or each item of a tuple.
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def _resolved_type(annotation: Any) -> tuple[Any, bool]:
    """The plain type behind an annotation, and whether `None` is allowed."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
        return arguments[0], len(arguments) < len(typing.get_args(annotation))
    return annotation, False


def _convert(name: str, value: Any, annotation: Any, choices: tuple | None) -> Any:
    """`value` (from a flag, TOML or Python) as the type that the field `name` declares; ValueError if it is not."""
    kind, optional = _resolved_type(annotation)
    if value is None:
        if optional:
            return None
        raise ValueError(f"setting '{name}' must have a value; received none.")
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        parts = value.split(",") if isinstance(value, str) else list(value)
        return tuple(_convert(name, p.strip() if isinstance(p, str) else p, item, choices) for p in parts if p != "")
    try:
        if kind is bool:
            if not isinstance(value, bool):
                raise ValueError
            result = value
        elif kind is int:
            if isinstance(value, bool) or float(value) != int(float(value)):
                raise ValueError
            result = int(float(value))
        else:
            if isinstance(value, bool):
                raise ValueError
            result = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"setting '{name}' expects {kind.__name__}; received {value!r}.") from None
    if choices is not None and result not in choices:
        raise ValueError(f"setting '{name}' must be one of {', '.join(map(str, choices))}; received {value!r}.")
    return result


def build(cls: type, values: Mapping[str, Any]) -> Any:
    """An instance of the settings dataclass `cls` from a mapping; raises ValueError that lists the known keys."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = [key for key in values if key not in fields]
    if unknown:
        raise ValueError(f"unknown setting '{unknown[0]}'; known settings are {', '.join(fields)}.")
    return cls(**{k: _convert(k, v, hints[k], fields[k].metadata.get("choices")) for k, v in values.items()})


def add_flags(parser: argparse.ArgumentParser, *classes: type) -> None:
    """Adds one flag per field of each settings dataclass to `parser`, and `--settings FILE.toml`."""
    parser.add_argument("--settings", metavar="FILE.toml", help="read settings from this TOML file; flags win over it")
    for cls in classes:
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            _add_flag(parser, field, _resolved_type(hints[field.name])[0])


def _add_flag(parser: argparse.ArgumentParser, field: dataclasses.Field, kind: Any) -> None:
    """One flag; its value stays text, which `build` checks and converts."""
    flag = "--" + field.name.rstrip("_").replace("_", "-")  # `import_`, which Python does not allow without
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    known = "" if default in (None, "") else f" (default: {default})"
    text = (field.metadata["help"] + known).replace("%", "%%")
    if kind is bool:
        parser.add_argument(flag, dest=field.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    choices = field.metadata.get("choices")
    metavar = "|".join(map(str, choices)) if choices else field.name.split("_")[-1].upper()
    parser.add_argument(flag, dest=field.name, default=None, metavar=metavar, help=text)


def from_file(path: str | Path, *classes: type) -> tuple[Any, ...]:
    """One settings object per class, from defaults and a TOML file; raises as `from_flags` does."""
    return _build_all(_read_toml(path, classes), classes)


def from_flags(arguments: argparse.Namespace, *classes: type) -> tuple[Any, ...]:
    """One settings object per class, from defaults, then the file given by `--settings`, then flags.

    Raises
    ------
    ValueError
        For a key that no class knows (the message lists those that are known), or a value of the wrong kind.
    """
    file = getattr(arguments, "settings", None)
    given = _read_toml(file, classes) if file else {}
    flags = {name: getattr(arguments, name, None) for name in _known(classes)}
    return _build_all(given | {name: value for name, value in flags.items() if value is not None}, classes)


def _known(classes: tuple[type, ...]) -> list[str]:
    return [field.name for cls in classes for field in dataclasses.fields(cls)]


def _read_toml(path: str | Path, classes: tuple[type, ...]) -> dict[str, Any]:
    try:
        given = tomllib.loads(Path(path).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"settings file '{path}' cannot be read: {error}.") from None
    known = _known(classes)
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(f"unknown setting '{unknown[0]}' in '{path}'; known are {', '.join(known)}.")
    return given


def _build_all(given: Mapping[str, Any], classes: tuple[type, ...]) -> tuple[Any, ...]:
    return tuple(
        build(cls, {f.name: given[f.name] for f in dataclasses.fields(cls) if f.name in given}) for cls in classes
    )


def to_toml(settings: Any) -> str:
    """The resolved settings as TOML text that `build` reads back; unset (`None`) keys are comments."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            return repr(value)
        if isinstance(value, tuple | list):
            return "[" + ", ".join(text(v) for v in value) + "]"
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'

    lines = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        lines.append(f"# {field.metadata['help']}")
        lines.append(f"# {field.name} is not set" if value is None else f"{field.name} = {text(value)}")
    return "\n".join(lines) + "\n"
