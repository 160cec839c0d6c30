"""LaTeX: the tables of a finished run, ready for a paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data.columns import BY_NAME
from emeraldcut.data.flags import SENTENCES, flag_name
from emeraldcut.errors import UsageError
from emeraldcut.mergers import SUITE
from emeraldcut.report.cite import bibliography
from emeraldcut.report.figures import plots
from emeraldcut.report.pages.completeness import FRACTIONS as FOUND
from emeraldcut.runs import read_manifest
from emeraldcut.runs.writing import write_text
from emeraldcut.screening.two_passes import CANDIDATES
from emeraldcut.studies import BOXES, CONCLUSIONS, FRACTIONS, TESTS
from emeraldcut.tables import read_table

FOLDER = "latex"
ROWS = 20  # of a table of galaxies
GALAXIES = (
    "rank", "id", "ra", "dec", "axis_ratio", "a4", "a4_err", "a6", "a6_err", "snr", "similarity", "similarity_p",
    "p_rectangular", "p_boxy", "score",
)  # fmt: skip
SUITES = ("merger", "mass_ratio", "gas_fraction", "merged_gyr", "energy_drift", "angular_momentum_drift", "particles")
HEADS = {
    "rank": "Rank", "id": "Name", "ra": r"$\alpha$", "dec": r"$\delta$", "axis_ratio": "$b/a$", "a3": "$a_3/a$",
    "a4": "$a_4/a$", "a6": "$a_6/a$", "a8": "$a_8/a$", "snr": "S/N", "similarity": "$S$", "similarity_p": "$p(S)$",
    "p_rectangular": r"$p_\mathrm{rect}$", "p_boxy": r"$p_\mathrm{boxy}$", "radius_fwhm": r"$R_\mathrm{e}$/FWHM",
    "mass_ratio": "Mass ratio", "gas_fraction": r"$f_\mathrm{gas}$", "merged_gyr": r"$t_\mathrm{merged}$",
}  # fmt: skip
CHARACTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "−": "$-$", "–": "--", "″": "$''$",
}  # fmt: skip
MISSING = r"\dots"


def write_latex(source: str | Path) -> list[Path]:
    """Writes the tables of a run, or one table, as LaTeX, and the references as BibTeX.

    Parameters
    ----------
    source : run of `screen`, `demo`, `completeness`, `simulate` or `study`, or a table of `measure`, `compare` or
        `classify`

    Returns
    -------
    list of Path
        `latex/NAME.tex` for each table, and `latex/methods.bib`, in the folder of the run or of the table.

    Raises
    ------
    ValueError
        There is no table to write.
    """
    source = Path(source)
    if source.is_file():
        table = read_table(source)
        manifest, folder = table.meta.get("provenance", {}), source.parent / FOLDER
        tables = _of_galaxies(table)
    else:
        manifest, folder, tables = read_manifest(source), source / FOLDER, {}
        if (source / CANDIDATES).exists():
            tables |= _of_galaxies(read_table(source / CANDIDATES))
        for name in (FOUND, BOXES, FRACTIONS, TESTS, CONCLUSIONS, SUITE):
            if (source / name).exists():
                table = read_table(source / name)
                kept = [column for column in SUITES if column in table.colnames] if name == SUITE else table.colnames
                tables[name.split(".")[0]] = table[kept]
    if not tables:
        raise UsageError(
            f"--latex expects a run of screen, demo, completeness, simulate or study, or a table; '{source}' has none."
        )
    folder.mkdir(exist_ok=True)
    written = []
    for name, table in tables.items():
        written.append(folder / f"{name}.tex")
        write_text(written[-1], latex_table(table, name))
    written.append(folder / "methods.bib")
    write_text(written[-1], bibliography(manifest))
    return written


def _of_galaxies(table: Table) -> dict[str, Table]:
    """The first galaxies of a table with one row per galaxy, the fractions of the classes, and the flags."""
    kept = [name for name in GALAXIES if name in table.colnames]
    tables = {"galaxies": table[:ROWS][kept]}
    fractions = plots.class_fractions(table)
    if len(fractions):
        tables["classes"] = fractions
    if "flag" in table.colnames:
        flags = np.asarray(table["flag"], dtype=np.int64)
        counts = {flag_name(bit): int(((flags & bit) != 0).sum()) for bit in SENTENCES}
        counts = {"none": int((flags == 0).sum())} | counts
        known = {name: count for name, count in counts.items() if count}
        tables["flags"] = Table({"flag": np.array(list(known), dtype=object), "images": list(known.values())})
    return tables


def latex_table(table: Table, name: str) -> str:
    """A table as a LaTeX `table` with the label `tab:NAME`.

    The standard error NAME_err of a column NAME, or its interval NAME_low to NAME_high, is written into the cells of
    the column, to two digits of the error. Text is escaped, and missing values are dots.
    """
    columns = [column for column in table.colnames if not _belongs_to_another(column, table.colnames)]
    heads = [HEADS.get(column, escaped(column.replace("_", " "))) for column in columns]
    units = [escaped(BY_NAME[column].unit) if column in BY_NAME else "" for column in columns]
    lines = [
        f"% {len(table)} rows, written by `emeraldcut report --latex`.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(name.replace('_', ' ').capitalize())}.}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{{''.join('l' if table[column].dtype.kind in 'OUS' else 'r' for column in columns)}}}",
        r"\hline",
        " & ".join(heads) + r" \\",
    ]
    if any(units):
        lines.append(" & ".join(f"({unit})" if unit else "" for unit in units) + r" \\")
    lines.append(r"\hline")
    lines += [" & ".join(_cell(table, row, column) for column in columns) + r" \\" for row in range(len(table))]
    lines += [r"\hline", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _belongs_to_another(column: str, names: list[str]) -> bool:
    return any(column.endswith(end) and column.removesuffix(end) in names for end in ("_err", "_low", "_high"))


def _cell(table: Table, row: int, column: str) -> str:
    """One value with its error or interval."""
    value = table[column][row]
    if np.ma.is_masked(value):
        return MISSING
    if not isinstance(value, (float, np.floating)):
        return escaped(str(value))
    if not np.isfinite(value):
        return MISSING
    error, low, high = (_known(table, row, f"{column}_{end}") for end in ("err", "low", "high"))
    if error is not None:
        digits = _digits(error)
        return rf"${value:.{digits}f} \pm {error:.{digits}f}$"
    if low is not None and high is not None:
        digits = _digits(float(min((x for x in (value - low, high - value) if x > 0), default=0.01)))
        return rf"${value:.{digits}f}_{{-{max(value - low, 0):.{digits}f}}}^{{+{max(high - value, 0):.{digits}f}}}$"
    if column in ("ra", "dec"):
        return f"${value:.5f}$"
    if column.startswith("p_") and not 0.001 <= value <= 0.999:  # a probability is never 0 or 1
        return "$< 0.001$" if value < 0.5 else "$> 0.999$"
    text = f"{value:.3g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    return f"${text}$"


def _known(table: Table, row: int, name: str) -> float | None:
    if name not in table.colnames or np.ma.is_masked(table[name][row]) or not np.isfinite(table[name][row]):
        return None
    return float(table[name][row])


def _digits(error: float) -> int:
    """Decimal places that show two digits of an error."""
    return int(np.clip(1 - np.floor(np.log10(max(error, 1e-6))), 0, 6))


def escaped(text: str) -> str:
    """Text escaped for LaTeX; control characters, including line ends, become blanks."""
    return "".join(CHARACTERS.get(c, c if c.isprintable() else " ") for c in text)
