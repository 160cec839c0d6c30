"""Writes the pages that follow from the code, and docs/results.md from the records of benchmarks.

Run `python docs/generate.py`; tests check that all are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from emeraldcut.cli import COMMANDS, command_parser, load
from emeraldcut.data.columns import COLUMNS
from emeraldcut.data.flags import SENTENCES, level_of
from emeraldcut.settings import items

HERE = Path(__file__).parent
MEANINGS = {  # of flags whose help depends on the command
    "help": "shows the flags of the command, with examples",
    "output": "the file or folder to write",
    "seed": "seed of everything random (default: 0); some commands have nothing that is random",
    "numbered": "short for the suite `sequence_NUMBER` (`simulate` only)",
}
sys.path.insert(0, str(HERE))

from generated_api import api_page  # noqa: E402  from this folder
from generated_cards import null_card, population_card  # noqa: E402
from generated_licences import licences_page  # noqa: E402


def commands_page() -> str:
    """Every command with its settings, which are flags and TOML keys alike."""
    lines = [
        "# Commands",
        "",
        "Every command, its settings, their defaults and what is allowed. Written by `docs/generate.py` from the settings of",
        "each stage.",
        "",
        "A setting `snr_min` is the flag `--snr-min`, the key `snr_min` of a settings file, and the keyword `snr_min` in Python.",
        "Values are checked against the column *allowed*, wherever they come from; numbers must be finite. A setting that is",
        "on by default is turned off by `--no-NAME`.",
        "",
        "## Flags of every command",
        "",
        "| flag | meaning |",
        "|---|---|",
        *(f"| {flag} | {meaning} |" for flag, meaning in common_flags().items()),
        "",
        "## Exit status",
        "",
        "- 0: done.",
        "- 1: nothing usable, or something outside failed or is not finished: a full disk, a server or scheduler that",
        "  does not answer, a worker process that died. Also an unexpected error, which is a bug: `--traceback` shows",
        "  where.",
        "- 2: wrong usage; the message says what was expected.",
        "",
    ]
    for name, command in COMMANDS.items():
        source = "" if command.source is None else f" {command.source_name}"
        lines += [
            f"## emeraldcut {name}",
            "",
            f"{command.help[0].upper()}{command.help[1:]}.",
            "",
            f"`emeraldcut {name}{source} --output {command.output}`",
            "",
            "| setting | default | allowed | meaning |",
            "|---|---|---|---|",
        ]
        for item in (item for cls in command.settings for item in items(load(cls))):
            default = f"`{item.shown_default}`" if item.shown_default else ""
            lines.append(f"| `{item.name}` | {default} | {item.allowed} | {item.help} |")
        lines.append("")
    return "\n".join(lines)


def common_flags() -> dict[str, str]:
    """The flags that do not come from settings, of all commands that have them, with their help."""
    found: dict[str, str] = {}
    for name, command in COMMANDS.items():
        classes = [load(cls) for cls in command.settings]
        own = {option for cls in classes for item in items(cls) for option in (item.flag, f"--no-{item.flag[2:]}")}
        for action in command_parser(name, command, classes)._actions:
            if action.option_strings and not own & set(action.option_strings):
                flag = ", ".join(f"`{option}`" for option in action.option_strings)
                found.setdefault(flag, MEANINGS.get(action.dest, str(action.help)))
    return found


def columns_page() -> str:
    """Every column that the program writes, and the bits of `flag`."""
    lines = [
        "# Columns",
        "",
        "What each column of a table means. A table has the columns that its command makes. Columns of the input that are",
        "not listed are kept at the end; one with the name of a result is kept as `input_NAME`. Written by `docs/generate.py`.",
        "",
        "| column | unit | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{c.name}` | {c.unit or ''} | {c.description} |" for c in COLUMNS]
    lines += [
        "",
        "## flag",
        "",
        "0 is good; else the sum of these bits. A *note* says what to look at. *Do not trust* says that shape and",
        "class may be wrong; `trusted` is False for rows with such a bit.",
        "",
        "| bit | name | level | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| {int(bit)} | {bit.name} | {level_of(bit)} | {text} |" for bit, text in SENTENCES.items()]
    return "\n".join(lines) + "\n"


PAGES = {
    "commands.md": commands_page,
    "columns.md": columns_page,
    "api.md": api_page,
    "licences.md": licences_page,
    "cards/null.md": null_card,
    "cards/population.md": population_card,
}

if __name__ == "__main__":
    from results import results_page

    for name, page in (PAGES | {"results.md": results_page}).items():
        (HERE / name).write_text(page())
