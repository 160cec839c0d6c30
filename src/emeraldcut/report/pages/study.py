"""The page of a run of `study`: shares of shapes among mergers, tests, and the remnants most like the reference."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
from astropy.table import Row, Table

from emeraldcut.data import read_images, read_manifest, read_table
from emeraldcut.data.columns import numbers
from emeraldcut.report.cards import data_url
from emeraldcut.report.figures import galleries, plots
from emeraldcut.report.figures.pictures import galaxy_pictures
from emeraldcut.report.html import counted, fact_list, made_by, percent, plot, shell, table_of, words_of
from emeraldcut.studies import CLOSEST, CONCLUSIONS, IMAGES, PHASES, REFERENCE, SHARES, SKILLS, TESTS
from emeraldcut.studies.shares import rows_where

WORDS = {
    "relaxed": "Relaxed remnants",
    "merging": "Between the first passage and the merging",
    "alone": "Galaxies alone, for comparison",
}
NAMES = {"mass_ratio": "mass ratio", "gas_fraction": "gas fraction"}


def study_page(folder: Path) -> str:
    """The page of a run of `study`; writes the picture of the closest remnants. See `report`."""
    manifest, shares, tests = read_manifest(folder), read_table(folder / SHARES), read_table(folder / TESTS)
    images = read_table(folder / IMAGES)
    facts = {
        "Asked": "emeraldcut study",
        "Mergers": f"{manifest['mergers']:,}",
        "Moments": f"{manifest['moments']:,}",
        "Images": f"{len(images):,}",
        "Network": manifest.get("settings.network"),
        "S/N of noisy images": manifest.get("settings.snr"),
    }
    parts = [fact_list(facts | made_by(manifest)), _shares(shares), _skills(read_table(folder / SKILLS))]
    parts += [_tests(tests), _dependences(shares)]
    parts += [
        _discs(images) if "relaxed" in images["phase"] else "",
        _closest(folder),
        _thesis(folder),
        _meaning(),
        _all_shares(shares),
    ]
    result = _result(shares, tests) + _unsettled(images)
    return shell("Do mergers make rectangular galaxies?", result, "".join(parts), manifest, folder)


def _row(shares: Table, phase: str, sight: str, eye: str, name: str) -> Row | None:
    """The share of one class among all views of a phase, or None."""
    found = rows_where(shares, group="all", phase=phase, sight=sight, eye=eye, class_=name)
    return found[0] if len(found) else None


def _interval(row: Row, name: str = "share") -> str:
    if np.ma.is_masked(row[name]):
        return ""
    values = (100 * row[column] for column in (name, f"{name}_low", f"{name}_high"))
    share, low, high = (f"{value:.2g}" if value < 99.5 else "100" for value in values)
    return f"{share} % ({low} to {high})"


def _result(shares: Table, tests: Table) -> str:
    """What was found, in plain sentences."""
    true = _row(shares, "relaxed", "clear", "outline", "rectangular")
    if true is None:
        return "No merger of this run has a relaxed remnant; shares of other moments are below."
    seen = _row(shares, "relaxed", "noisy", "network", "rectangular")
    images, mergers = counted(int(true["images"]), "view"), counted(int(true["mergers"]), "merger")
    sentence = (
        f"Of {images} of the relaxed remnants of {mergers}, {_interval(true)} have an outline that is nearest to a "
        f"rectangle, and {_interval(true, 'sure')} one that is clearly rectangular. The network calls "
        f"{_interval(seen)} of them rectangular where there is noise; with its known errors taken out that is "
        f"{_interval(seen, 'corrected')}."
    )
    for row in tests:
        if (row["sight"], row["eye"], row["class"]) == ("clear", "outline", "rectangular"):
            sentence += (
                f" Does the share depend on the {NAMES[row['on']]}? p = {row['p']:.2g}, from the smallest to the "
                f"largest it changes by {_signed(row, 'difference')}."
            )
    return sentence


def _unsettled(images: Table) -> str:
    """A sentence on the relaxed views whose true outline is not known, if there are such."""
    clear = rows_where(images, phase="relaxed", sight="clear")
    number = int(np.sum(np.isnan(numbers(clear["truth_a4"]))))
    if not number:
        return ""
    return (
        f" Of {counted(number, 'view')} no true outline settles, as where particles are few or galaxies not at rest; "
        "they count as of another shape."
    )


def _signed(row: Row, name: str) -> str:
    """A change of a share with its interval, in percentage points."""
    value, low, high = (round(100 * row[column]) for column in (name, f"{name}_low", f"{name}_high"))
    return f"{value:+d} points ({low:+d} to {high:+d})"


def _shares(shares: Table) -> str:
    """The shares of the classes, of each phase."""
    drawn = []
    for phase in PHASES:
        own = shares[(np.array(shares["group"]) == "all") & (np.array(shares["phase"]) == phase)]
        if len(own):
            size = f"{counted(int(own['mergers'][0]), 'galaxy' if phase == 'alone' else 'merger')}".replace("ys", "ies")
            caption = f"{WORDS[phase]}: {size}, {counted(int(own['images'][0]), 'view')} for each sight."
            drawn.append(plot(plots.plot_fractions(own), WORDS[phase], caption))
    words = (
        "Shares of the views that each eye calls so. Lines: 90 % intervals over mergers, since views of one merger are "
        "not independent."
    )
    body = f"<p>{words}</p><div class='plots'>{''.join(drawn)}</div>"
    return f"<section id='shares'><h2>Shares of shapes</h2>{body}</section>"


def _skills(skills: Table) -> str:
    """How well eyes see the true outline, with noise and without it, and whether removing the noise helps."""
    own = rows_where(skills, phase="relaxed", class_="rectangular") if len(skills) else skills
    if not len(own):
        return ""
    columns = ["seen by", "of the rectangular views found", "of the views called so right", "share less the true one"]
    rows = [
        [_seen_by(row), _interval(row, "found"), _interval(row, "right"), _signed(row, "difference")] for row in own
    ]
    caption = (
        f"Relaxed remnants; the truth is the outline of the particles. Other phases and obrounds: {_link(SKILLS)}."
    )
    words = "".join(f"<p>{_cleaning(own, eye)}</p>" for eye in dict.fromkeys(own["eye"]))
    title = "What noise costs, and whether removing it helps"
    return f"<section id='eyes'><h2>{title}</h2>{words}{table_of(columns, rows, caption)}</section>"


def _cleaning(skills: Table, eye: str) -> str:
    """In a sentence, what an eye sees of the rectangular views raw and cleaned of noise."""
    noisy, cleaned = (rows_where(skills, eye=eye, sight=sight)[0] for sight in ("noisy", "cleaned"))
    parts = [
        f"{words} {_interval(noisy, name) or 'none'} with noise, {_interval(cleaned, name) or 'none'} once removed"
        for name, words in (("found", "of the rectangular views found"), ("right", "of the views called so right"))
    ]
    return f"By the {eye}: {'; '.join(parts)}."


def _tests(tests: Table) -> str:
    """The tests of both hypotheses."""
    title = "<h2>Does it depend on mass ratio and gas?</h2>"
    if not len(tests):
        words = "The run has one mass ratio and one gas fraction, so that nothing can depend on them."
        return f"<section id='tests'>{title}<p>{words}</p></section>"
    columns = ["on", "class", "seen by", "p", "change per unit", "from smallest to largest", "explained", "mergers"]
    rows = [
        [NAMES[row["on"]], escape(str(row["class"])), _seen_by(row), f"{row['p']:.2g}", _signed(row, "slope"),
         _signed(row, "difference"), percent(row["explained"]), str(row["mergers"])]
        for row in tests
    ]  # fmt: skip
    caption = (
        "p: chance of as large a part explained if the share did not depend on it, by permutations of mergers that are "
        "alike in everything else. The unit of the mass ratio is a factor of 2, that of the gas fraction 0.1. "
        "Explained: part of the variance between mergers."
    )
    return f"<section id='tests'>{title}{table_of(columns, rows, caption)}</section>"


def _seen_by(row: Row) -> str:
    return "true outline" if row["eye"] == "outline" else f"{row['eye']}, {row['sight']}"


def _dependences(shares: Table) -> str:
    relaxed = shares[np.array(shares["phase"]) == "relaxed"]
    drawn = [(plots.plot_dependence(relaxed, group, name), f"Relaxed remnants against {name}.") for group, name in
             NAMES.items()]  # fmt: skip
    return f"<div class='plots'>{''.join(plot(svg, words, words) for svg, words in drawn if svg)}</div>"


def _discs(images: Table) -> str:
    """Where a disc is seen inside a box."""
    clear = images[(np.array(images["sight"]) == "clear") & (np.array(images["phase"]) == "relaxed")]
    rows = []
    for merger in sorted(set(map(str, clear["merger"]))):
        own = clear[np.array(clear["merger"], dtype=str) == merger]
        found = int(np.sum(own["boxy_around_disky"]))
        if found:
            rows.append([f"<span class='id'>{escape(merger)}</span>", f"{found} of {len(own)}"])
    words = (
        "Graham et al. (2012) found a disc inside the box of LEDA 074886 and proposed a merger with gas. Views of "
        "relaxed remnants, without noise, with a4/a &le; &minus;0.02 between 1.5 and 2.5 half-light radii "
        "and a4/a &ge; 0.01 between 0.3 and 0.7:"
    )
    body = table_of(["merger", "views"], rows) if rows else "<p>There is no such view.</p>"
    return f"<section id='discs'><h2>Boxes with a disc inside</h2><p>{words}</p>{body}</section>"


def _closest(folder: Path) -> str:
    """The remnants most like the reference, beside it."""
    if not (folder / CLOSEST).exists():
        return ""
    shown = galaxy_pictures(read_images(folder / CLOSEST))
    path = galleries.draw_gallery(
        shown, galaxy_pictures(read_images(folder / REFERENCE)), folder / "figures" / "closest.png"
    )
    rows = [
        [str(galaxy.row["rank"]), f"<span class='id'>{escape(str(galaxy.row['id']))}</span>",
         f"{galaxy.row['similarity']:.2f}", _known(galaxy.row, "mass_ratio"), _known(galaxy.row, "gas_fraction"),
         _known(galaxy.row, "since_merging_gyr"), _known(galaxy.row, "truth_a4"), escape(str(galaxy.row["label"]))]
        for galaxy in shown
    ]  # fmt: skip
    columns = ["rank", "view", "similarity", "mass ratio", "gas", "Gyr since merging", "true a4/a", "true outline"]
    return (
        "<section id='closest' class='note'><h2>Remnants most like the reference</h2><figure><img alt='The remnants "
        f"most like the reference, beside it' src='{data_url(path.read_bytes(), 'image/png')}'><figcaption>One "
        "view of each merger, without noise, on the sky and in its own frame.</figcaption></figure>"
        f"{table_of(columns, rows)}</section>"
    )


def _thesis(folder: Path) -> str:
    """What the thesis would have concluded, and what holds."""
    if not (folder / CONCLUSIONS).exists():
        return ""
    table = read_table(folder / CONCLUSIONS)
    rows = [[question, *map(answer, table)] for question, answer in _QUESTIONS.items()]
    columns = ["90 % intervals over mergers", *(escape(str(row["model"])) for row in table)]
    words = (
        "The thesis looked at maps of density, 50 x 50 pixels without noise, of all moments together, with a network "
        "trained on its own grid of ovals and rectangles, and took the map with the largest cosine of raw pixels for "
        f"the best match. {_concluded(table[0])}"
    )
    title = "What the thesis would have concluded, and what holds"
    caption = f"All numbers are in {_link(CONCLUSIONS)}."
    return f"<section id='thesis'><h2>{title}</h2><p>{words}</p>{table_of(columns, rows, caption)}</section>"


def _concluded(row: Row) -> str:
    """A column of the table in sentences."""
    sentence = (
        f"So it would have called {_interval(row, 'called')} of the maps rectangular; {_interval(row, 'truly')} are. "
    )
    if not np.ma.is_masked(row["right"]):
        sentence += f"Of those that it calls rectangular {_interval(row, 'right')} are. "
    sentence += f"Its best match, of cosine {row['best_cosine']:.2f}, is {_match(row)}."
    if not np.ma.is_masked(row["cosine_tells"]):
        sentence += (
            f" The cosine of a rectangular map is above that of another in {_cases(row)}, "
            "where half would be by chance."
        )
    if not np.ma.is_masked(row["rectangular"]):
        sentence += (
            f" What holds: of the views of relaxed remnants {_interval(row, 'rectangular')} are nearest to a "
            f"rectangle, and {_interval(row, 'sure')} clearly one."
        )
    return sentence


def _cases(row: Row) -> str:
    """In how many cases the cosine of a rectangular map is above that of another."""
    return "" if np.ma.is_masked(row["cosine_tells"]) else f"{100 * row['cosine_tells']:.0f} % of cases"


def _match(row: Row) -> str:
    """What the best match of the thesis's cosine is."""
    when = {"relaxed": "a relaxed remnant", "merging": "two galaxies that are merging"}[row["best_phase"]]
    outline = "none of oval, rectangular and obround" if row["best_is"] == "other" else row["best_is"]
    return f"{when}, whose true outline is {outline}"


_QUESTIONS = {  # of the rows of `thesis.conclusions`: what is asked, and the answer
    "mergers": lambda row: str(row["mergers"]),
    "maps of all moments": lambda row: f"{row['maps']:,}",
    "thesis: called rectangular by its network": lambda row: _interval(row, "called"),
    "in truth: with a rectangular outline": lambda row: _interval(row, "truly"),
    "in truth: of those called so right": lambda row: _interval(row, "right"),
    "in truth: of the rectangular ones found": lambda row: _interval(row, "found"),
    "thesis: largest cosine with the reference": lambda row: f"{row['best_cosine']:.3f}",
    "in truth: that map is": lambda row: escape(_match(row)),
    "in truth: a rectangular map has the larger cosine in": _cases,
    "holds: relaxed views nearest to a rectangle": lambda row: _interval(row, "rectangular"),
    "holds: clearly a rectangle": lambda row: _interval(row, "sure"),
    "holds: by our network in noise, its errors taken out": lambda row: _interval(row, "corrected"),
    "holds: largest similarity of frames with the reference": lambda row: _known(row, "best_similarity"),
    "holds: chance that an ordinary galaxy is so similar": lambda row: _known(row, "best_p"),
}


def _link(name: str) -> str:
    return f"<a href='{name}'>{name}</a>"


def _known(row: Row, name: str) -> str:
    return "" if np.ma.is_masked(row[name]) or np.isnan(row[name]) else f"{row[name]:.3g}"


def _meaning() -> str:
    words = {
        "Sights": "Each view is looked at without noise (clear), with noise (noisy), and with that noise removed "
        "again (cleaned). All are seen through the PSF.",
        "Eyes": "True outline: of the projected star particles, at 1.5 half-light radii; the nearest class, "
        "also in the grey zone between classes. Network: its most probable class. Isophotes: the class of the "
        "measured harmonics, by the same limits as the true outline.",
        "Corrected": "The shares that would look like those seen, if the eye errs as on synthetic galaxies of known "
        "shape that are as large and noisy. Galaxies of simulations may be unlike them; the true outline is "
        "there to compare.",
        "Intervals": "A merger is one draw, however many views it has: the bootstrap draws mergers. At shares of a few "
        "per cent that few mergers cause, 90 % intervals hold the truth in about 80 % of cases.",
    }
    return words_of(words)


def _all_shares(shares: Table) -> str:
    """All rows of the rectangular class, folded away."""
    own = shares[np.array(shares["class"]) == "rectangular"]
    rows: Iterable[list[str]] = (
        [escape(str(row["group"])), escape(str(row["value"])), str(row["phase"]), _seen_by(row), _interval(row),
         _interval(row, "corrected"), str(row["mergers"]), f"{row['images']:,}"]
        for row in own
    )  # fmt: skip
    columns = ["group", "value", "phase", "seen by", "rectangular", "corrected", "mergers", "views"]
    caption = f"All classes are in {_link(SHARES)}, all views in {_link(IMAGES)}."
    return f"<details><summary>Rectangular views of every group</summary>{table_of(columns, rows, caption)}</details>"
