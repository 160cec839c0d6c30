"""Writes docs/commands.md and docs/columns.md from the code, and docs/results.md from the records of benchmarks.

Run `python docs/generate.py`; tests check that all three are up to date.
"""

from __future__ import annotations

from pathlib import Path

from emeraldcut.cli import COMMANDS, load
from emeraldcut.data.columns import COLUMNS
from emeraldcut.data.flags import SENTENCES, level_of
from emeraldcut.settings import items

HERE = Path(__file__).parent


def commands_page() -> str:
    """Every command with its settings, which are flags and TOML keys alike."""
    lines = [
        "# Commands",
        "",
        "Written by `docs/generate.py` from the settings of each stage. Every command also has",
        "`--output`, `--seed`, `-j/--jobs`, `--cluster`, `--slurm`, `--overwrite`, `--quiet`, `-v/--verbose`,",
        "`--traceback` and",
        "`--settings FILE.toml`; the keys of the file are the names in the tables. Values are checked against the",
        "column *allowed*, wherever they come from; numbers must be finite.",
        "",
        "Exit status:",
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


def columns_page() -> str:
    """Every column that the program writes, and the bits of `flag`."""
    lines = [
        "# Columns",
        "",
        "Written by `docs/generate.py`. A table has those that its command makes; columns of the input",
        "that are not listed are kept at the end; one with the name of a result is kept as `input_NAME`.",
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


PAGES = {"commands.md": commands_page, "columns.md": columns_page}

if __name__ == "__main__":
    from results import results_page

    for name, page in (PAGES | {"results.md": results_page}).items():
        (HERE / name).write_text(page())
