"""The page of a run of `study`: boxy remnants with the power of the test, fractions of shapes, what they depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Row, Table

from emeraldcut.camera.remnant_shape import UNMIXED_NODES
from emeraldcut.data.columns import numbers
from emeraldcut.images import read_images
from emeraldcut.report.cards import data_url
from emeraldcut.report.figures import galleries, plots
from emeraldcut.report.figures.pictures import GalaxyPictures, galaxy_pictures
from emeraldcut.report.html import Cell, Listing, Plot, counted, made_by, page, percent
from emeraldcut.report.pages.suite import GALAXIES
from emeraldcut.runs import read_manifest
from emeraldcut.studies import ACCURACY, BOXES, CLOSEST, CONCLUSIONS, FRACTIONS, IMAGES, REFERENCE, REMNANTS, TESTS
from emeraldcut.studies.fractions import rows_where
from emeraldcut.studies.remnants import LEAST_POWER
from emeraldcut.tables import read_table

PHASE_NAMES = {
    "relaxed": "Relaxed remnants",
    "merging": "Between first passage and coalescence",
    "alone": "Isolated control galaxies",
}
NAMES = {"mass_ratio": "mass ratio", "gas_fraction": "gas fraction"}
GALAXIES_SHOWN = 3  # mergers whose stars and gas are on the page
TOO_WIDE = 0.5  # width of an interval of a fraction from which on nothing is concluded


def study_page(folder: Path) -> str:
    """The page of a run of `study`; also draws the closest remnants. See `report`."""
    manifest, fractions, tests = read_manifest(folder), read_table(folder / FRACTIONS), read_table(folder / TESTS)
    images, accuracy = read_table(folder / IMAGES), read_table(folder / ACCURACY)
    boxes, remnants = read_table(folder / BOXES), read_table(folder / REMNANTS)
    own = rows_where(accuracy, phase="relaxed", class_="rectangular") if len(accuracy) else accuracy
    closest = _closest(folder)
    return page(
        "study.html",
        "Do mergers make rectangular galaxies?",
        manifest,
        folder,
        conclusion=_conclusion(boxes),
        details=[*_details(boxes, fractions, tests), *_unsettled(images)],
        boxes=_boxes(boxes),
        remnants=_remnants(remnants),
        settled=_settled(remnants),
        facts=_facts(manifest, images),
        fractions=_fractions(fractions),
        accuracy=_accuracy(own),
        cleaning=[_cleaning(own, method) for method in dict.fromkeys(own["method"])] if len(own) else [],
        tests=_tests(tests),
        dependences=_dependences(fractions),
        relaxed="relaxed" in images["phase"],
        discs=_discs(images),
        closest=_listing(closest),
        closest_picture=_gallery(closest, folder),
        galaxies=_galaxies(closest, manifest, folder),
        untested=_untested(images),
        thesis=_thesis(folder),
        words=_words(),
        all_fractions=_all_fractions(fractions),
        files={
            "fractions": FRACTIONS,
            "accuracy": ACCURACY,
            "images": IMAGES,
            "conclusions": CONCLUSIONS,
            "remnants": REMNANTS,
            "boxes": BOXES,
        },
    )


def _facts(manifest: dict[str, Any], images: Table) -> dict[str, Any]:
    facts = {
        "Command": "emeraldcut study",
        "Mergers": f"{manifest['mergers']:,}",
        "Orbits": f"{manifest['orbits']:,}",
        "Snapshots": f"{manifest['snapshots']:,}",
        "Images": f"{len(images):,}",
        "Network": manifest.get("settings.network"),
        "S/N of noisy images": manifest.get("settings.snr"),
    }
    return facts | made_by(manifest)


# --- numbers as text


def _interval(row: Row, name: str = "fraction") -> str:
    """A fraction with its interval in per cent; empty if it is not known.

    It has no decimals unless the interval is narrower than 2 %. An interval that is too wide is followed by "too few to
    say".
    """
    if np.ma.is_masked(row[name]):
        return ""
    value, low, high = (100 * float(row[column]) for column in (name, f"{name}_low", f"{name}_high"))
    digits = 0 if high - low >= 2 else 1
    verdict = ", too few to say" if high - low > 100 * TOO_WIDE else ""
    return f"{value:.{digits}f} % ({low:.{digits}f} to {high:.{digits}f} %{verdict})"


def _signed(row: Row, name: str) -> str:
    """A change of a fraction with its interval, in percentage points."""
    if not np.isfinite([row[f"{name}_low"], row[f"{name}_high"]]).all():
        return f"{round(100 * row[name]):+d} points (one orbit: no interval)".replace("-", "−")
    value, low, high = (round(100 * row[column]) for column in (name, f"{name}_low", f"{name}_high"))
    return f"{value:+d} points ({low:+d} to {high:+d})".replace("-", "−")


def _unbroken(text: str) -> Cell:
    """Text that stays on one line of a table."""
    return Cell(text, "number")


def _known(row: Row, name: str) -> str:
    return "" if np.ma.is_masked(row[name]) or np.isnan(row[name]) else f"{row[name]:.3g}"


def _method(row: Row) -> str:
    return plots.method_words(row["image_quality"], row["method"])


# --- what was found


def _row(fractions: Table, phase: str, quality: str, method: str, name: str) -> Row | None:
    """The fraction of one class among all views of a phase, or None."""
    found = rows_where(fractions, group="all", phase=phase, image_quality=quality, method=method, class_=name)
    return found[0] if len(found) else None


def _relaxed(boxes: Table) -> Row | None:
    """The row of all relaxed remnants, or None."""
    found = rows_where(boxes, group="all", phase="relaxed") if len(boxes) else boxes
    return found[0] if len(found) else None


def _conclusion(boxes: Table) -> str:
    """The fraction of directions from which relaxed remnants are boxy, or why nothing can be concluded."""
    row = _relaxed(boxes)
    if row is None:
        return "No merger of this run has a relaxed remnant, so nothing can be concluded about remnants."
    orbits = counted(int(row["orbits"]), "orbit")
    if row["power"] < LEAST_POWER:
        return (
            f"This run cannot tell whether its remnants are boxes: with their stars, the test would find only "
            f"{100 * row['power']:.0f} % of true boxes of a4/a −0.057."
        )
    if row["boxy_high"] - row["boxy_low"] > TOO_WIDE:
        verb = "is" if row["orbits"] == 1 else "are"
        return (
            f"{orbits} {verb} too few to conclude: relaxed remnants are boxy from between "
            f"{100 * row['boxy_low']:.0f} and {100 * row['boxy_high']:.0f} % of all directions (90 % interval over "
            "orbits)."
        )
    return (
        f"The relaxed remnants of {orbits} are boxy from {_interval(row, 'boxy')} of all directions (90 % interval "
        f"over orbits); the test would find {100 * row['power']:.0f} % of true boxes of a4/a −0.057."
    )


def _details(boxes: Table, fractions: Table, tests: Table) -> list[str]:
    """Sentences about what boxy means, the classes of outlines, and the dependence on mass ratio and gas."""
    row = _relaxed(boxes)
    true = _row(fractions, "relaxed", "clear", "truth", "rectangular")
    if row is None or true is None:
        return []
    seen = _row(fractions, "relaxed", "noisy", "network", "rectangular")
    sentences = [
        "Boxy means a4/a of at most −0.04 at 1.5, 2 and 2.5 half-light semi-major axes; a6 is free. The test finds "
        f"{percent(row['power_strong'])} of boxes of a4/a −0.086, and calls {percent(row['false_boxy'])} of ellipses "
        "boxy, drawn with the remnants' own stars.",
        f"Of {counted(int(true['images']), 'view')} of single snapshots, {_interval(true)} have an outline that is "
        f"closest to a rectangle (power {_power(true, 'power')}), and {_interval(true, 'sure')} are clearly "
        f"rectangular (power {_power(true, 'power_sure')}).",
        f"The network classifies {_interval(seen)} of them as rectangular in noise (power {_power(seen, 'power')}); "
        f"corrected for its known errors, that is {_interval(seen, 'corrected')}.",
    ]
    sentences += [
        f"Dependence on the {NAMES[row['on']]}, over {counted(int(row['orbits']), 'orbit')} "
        f"{'with every value' if row['paired'] else 'that differ from value to value'}: p = "
        f"{row['p']:.2g}; from the smallest to the largest value the boxy fraction of directions changes by "
        f"{_signed(row, 'difference')}."
        for row in tests
        if row["class"] == "boxy"
    ]
    return sentences


def _power(row: Row, name: str) -> str:
    """A power in per cent; one that is too low to conclude anything from a null is said to be so."""
    if np.ma.is_masked(row[name]) or not np.isfinite(row[name]):
        return "not known"
    low = ", too low to conclude anything from what is not found" if row[name] < LEAST_POWER else ""
    return f"{100 * row[name]:.0f} %{low}"


def _boxes(boxes: Table) -> Listing:
    """The fraction of directions from which remnants are boxy, by group, with the power of the test."""
    rows = [
        [str(row["group"]), str(row["value"]), str(row["phase"]), _unbroken(_interval(row, "boxy")),
         _percent(row["boxy_early"]), percent(row["power"]), percent(row["power_strong"]), percent(row["false_boxy"]),
         str(row["orbits"]), str(row["mergers"])]
        for row in boxes
    ]  # fmt: skip
    columns = ["group", "value", "phase", "boxy directions", "before", "power, a4/a −0.057", "power, a4/a −0.086",
               "ellipses called boxy", "orbits", "galaxies"]  # fmt: skip
    return Listing(columns, rows)


def _percent(value: float) -> str:
    """A fraction in per cent; empty if it is not known."""
    return "" if np.ma.is_masked(value) or not np.isfinite(value) else percent(value)


def _remnants(remnants: Table) -> Listing:
    """What each remnant shows, and whether it has come to rest."""
    rows = [
        [Cell(str(row["merger"]), "id"), percent(row["boxy_fraction"]), _percent(row["boxy_fraction_early"]),
         _signed_number(row["a4_late"]), _signed_number(row["a4_early"]), _known(row, "a4_err_2"),
         _known(row, "since_merging_gyr"), _known(row, "since_merging_periods"), _known(row, "nodes_host"),
         _known(row, "nodes_companion"), percent(row["power"]), f"{row['stars']:,}",
         f"{row['independent_snapshots']:.1f} of {row['snapshots']}"]
        for row in remnants
    ]  # fmt: skip
    columns = ["galaxy", "boxy directions", "before", "mean a4/a", "before", "error at 2 a_e",
               "time since coalescence (Gyr)", "in orbital periods", "nodes of the host", "of the companion", "power",
               "stars", "independent snapshots"]  # fmt: skip
    return Listing(columns, rows)


def _signed_number(value: float) -> str:
    """A number with its sign; empty if it is not known."""
    return "" if np.ma.is_masked(value) or not np.isfinite(value) else f"{value:+.3f}".replace("-", "−")


def _settled(remnants: Table) -> str:
    """A sentence about how many remnants have come to rest; empty if there are none."""
    own = rows_where(remnants, phase="relaxed") if len(remnants) else remnants
    if not len(own):
        return ""
    nodes = np.fmax(numbers(own["nodes_host"]), numbers(own["nodes_companion"]))
    periods, moved = numbers(own["since_merging_periods"]), np.abs(numbers(own["a4_late"]) - numbers(own["a4_early"]))
    change = f"; their mean a4/a changes by {np.nanmedian(moved):.3f} (median)" if np.isfinite(moved).any() else ""
    unmixed = counted(int(np.sum(nodes > UNMIXED_NODES)), "remnant")
    return (
        f"The remnants are seen {np.nanmin(periods):.1f} to {np.nanmax(periods):.1f} orbital periods (at 2.5 "
        f"half-light radii) after coalescence{change}. The nodes of {unmixed} of {len(own)} have not mixed (above "
        f"{UNMIXED_NODES:g})."
    )


def _unsettled(images: Table) -> list[str]:
    """A sentence about relaxed views without a well-defined outline; none if there are none."""
    clear = rows_where(images, phase="relaxed", image_quality="clear")
    number = int(np.sum(np.isnan(numbers(clear["truth_a4"]))))
    if not number:
        return []
    return [
        f"{counted(number, 'view')} have no well-defined true outline, because particles are few or the galaxies are "
        "not at rest; they count as another shape."
    ]


def _fractions(fractions: Table) -> list[Plot]:
    """The fractions of the classes in each phase."""
    drawn = []
    for phase, name in PHASE_NAMES.items():
        own = rows_where(fractions, group="all", phase=phase)
        if len(own):
            size = counted(int(own["mergers"][0]), "galaxy" if phase == "alone" else "merger")
            caption = f"{name}: {size}, {counted(int(own['images'][0]), 'view')} for each image quality."
            if np.any(numbers(own["fraction_high"]) - numbers(own["fraction_low"]) > TOO_WIDE):
                caption += f" Intervals wider than {TOO_WIDE:g} are not drawn: there are too few orbits."
            drawn.append(Plot(plots.plot_fractions(own, TOO_WIDE), name, caption))
    return drawn


def _accuracy(own: Table) -> Listing | None:
    """How well each method recovers the true outline at each image quality; `own` of one phase and class."""
    if not len(own):
        return None
    columns = ["method", "completeness", "purity", "fraction minus true fraction"]
    rows = [[_method(row), _unbroken(_interval(row, "found")), _unbroken(_interval(row, "right")),
             _unbroken(_signed(row, "difference"))] for row in own]  # fmt: skip
    return Listing(columns, rows)


def _cleaning(own: Table, method: str) -> str:
    """A sentence about completeness and purity of a method with noise and after cleaning."""
    noisy, cleaned = (rows_where(own, method=method, image_quality=quality)[0] for quality in ("noisy", "cleaned"))
    parts = [
        f"{words} {_interval(noisy, name) or 'unknown'} with noise, {_interval(cleaned, name) or 'unknown'} once it is "
        "removed"
        for name, words in (("found", "completeness"), ("right", "purity"))
    ]
    return f"By the {method}: {'; '.join(parts)}."


def _tests(tests: Table) -> Listing | None:
    """The tests of both hypotheses."""
    if not len(tests):
        return None
    columns = ["variable", "class", "method", "p-value", "change per unit", "change from smallest to largest",
               "variance explained", "mergers", "orbits"]  # fmt: skip
    rows = [
        [NAMES[row["on"]], str(row["class"]), _method(row), f"{row['p']:.2g}",
         _unbroken(_signed(row, "slope")), _unbroken(_signed(row, "difference")),
         percent(row["explained"]), str(row["mergers"]), str(row["orbits"])]
        for row in tests
    ]  # fmt: skip
    return Listing(columns, rows)


def _dependences(fractions: Table) -> list[Plot]:
    """The fraction of rectangular views against mass ratio and gas fraction, where these vary."""
    relaxed = rows_where(fractions, phase="relaxed")
    words = {group: f"Relaxed remnants against {name}." for group, name in NAMES.items()}
    drawn = [Plot(plots.plot_dependence(relaxed, group, NAMES[group]), words[group], words[group]) for group in NAMES]
    return [one for one in drawn if one.svg]


def _discs(images: Table) -> Listing:
    """The mergers with views that show a disc inside a box."""
    clear = rows_where(images, image_quality="clear", phase="relaxed")
    rows = []
    for merger in sorted(set(map(str, clear["merger"]))):
        own = clear[np.array(clear["merger"], dtype=str) == merger]
        found = int(np.sum(own["boxy_around_disky"]))
        if found:
            rows.append([Cell(merger, "id"), f"{found} of {len(own)}"])
    return Listing(["merger", "views"], rows)


def _closest(folder: Path) -> list[GalaxyPictures]:
    """Pictures of the remnants most like the reference, if the run has them."""
    return galaxy_pictures(read_images(folder / CLOSEST)) if (folder / CLOSEST).exists() else []


def _gallery(closest: list[GalaxyPictures], folder: Path) -> str:
    """The picture of the remnants and the reference, as a data URL; it is also written to a file."""
    if not closest:
        return ""
    references = galaxy_pictures(read_images(folder / REFERENCE))
    path = galleries.draw_gallery(closest, references, folder / "figures" / "closest.png")
    return data_url(path.read_bytes(), "image/png")


def _galaxies(closest: list[GalaxyPictures], manifest: dict[str, Any], folder: Path) -> list[dict[str, str]]:
    """The stars and gas of the mergers whose remnants are most like the reference, if their suite is still there."""
    source, shown = Path(str(manifest.get("input_1", ""))), []
    for galaxy in closest[:GALAXIES_SHOWN]:
        model, _, name = str(galaxy.row["merger"]).rpartition("/") if "merger" in galaxy.row.colnames else ("", "", "")
        places = [source / model / name, source / name, folder / "suites" / model / name]
        place = next((one for one in places if name and (one / GALAXIES).is_file()), None)
        if place is not None:
            picture = data_url((place / GALAXIES).read_bytes(), "image/png")
            shown.append({"name": f"{model}/{name}", "src": picture})
    return shown


def _untested(images: Table) -> str:
    """Why there are no tests: all mergers are alike, or they are too few, or there is none."""
    merging = images[np.array(images["phase"]) != "alone"]
    if not len(merging):
        return "The run has no merger, so no dependence can be tested."
    alike = []
    for name, words in NAMES.items():
        values = numbers(merging[name]) if name in merging.colnames else np.array([])
        number = len(np.unique(values[np.isfinite(values)]))
        if number > 1:
            return "There are too few relaxed remnants of different mass ratios or gas fractions to test a dependence."
        alike += [f"one {words}"] * number
    if not alike:
        return "The mass ratios and gas fractions of the mergers are not known, so no dependence can be tested."
    return f"The run has {' and '.join(alike)}, so no dependence can be tested."


def _listing(closest: list[GalaxyPictures]) -> Listing:
    rows = [
        [str(galaxy.row["rank"]), Cell(str(galaxy.row["id"]), "id"), f"{galaxy.row['similarity']:.2f}",
         _known(galaxy.row, "mass_ratio"), _known(galaxy.row, "gas_fraction"),
         _known(galaxy.row, "since_merging_gyr"), _known(galaxy.row, "truth_a4"), str(galaxy.row["label"])]
        for galaxy in closest
    ]  # fmt: skip
    columns = ["rank", "view", "similarity", "mass ratio", "gas fraction", "time since coalescence (Gyr)", "true a4/a",
               "true outline"]  # fmt: skip
    return Listing(columns, rows)


# --- the thesis


def _thesis(folder: Path) -> dict[str, Any] | None:
    """The conclusions of the thesis method, and the truth; None if the run does not have them."""
    if not (folder / CONCLUSIONS).exists():
        return None
    table = read_table(folder / CONCLUSIONS)
    rows = [[question, *map(answer, table)] for question, answer in _QUESTIONS.items()]
    columns = ["90 % intervals over orbits", *(str(row["model"]) for row in table)]
    return {"concluded": _concluded(table[0]), "listing": Listing(columns, rows)}


def _concluded(row: Row) -> list[str]:
    """One row of the conclusions in sentences."""
    sentences = [
        f"It would have called {_interval(row, 'called')} of the maps rectangular; {_interval(row, 'truly')} are."
    ]
    if not np.ma.is_masked(row["right"]):
        sentences.append(f"Of those that it calls rectangular, {_interval(row, 'right')} are.")
    sentences.append(f"Its best match, of cosine {row['best_cosine']:.2f}, is {_match(row)}.")
    if not np.ma.is_masked(row["cosine_tells"]):
        sentences.append(
            f"The cosine of a rectangular map is above that of another in {_cases(row)}; by chance it would be half."
        )
    if not np.ma.is_masked(row["boxy"]):
        found = f"relaxed remnants are boxy from {_interval(row, 'boxy')} of all directions"
        if row["power"] < LEAST_POWER:
            found = "nothing, since this run cannot tell whether its remnants are boxes"
        sentences.append(f"What holds: {found}, by a test that finds {100 * row['power']:.0f} % of true boxes.")
    return sentences


def _cases(row: Row) -> str:
    """How often a rectangular map has a larger cosine than another map."""
    return "" if np.ma.is_masked(row["cosine_tells"]) else f"{100 * row['cosine_tells']:.0f} % of cases"


def _match(row: Row) -> str:
    """The phase and the true outline of the map with the largest cosine."""
    when = {"relaxed": "a relaxed remnant", "merging": "two galaxies that are merging"}[row["best_phase"]]
    outline = "none of oval, rectangular and obround" if row["best_is"] == "other" else row["best_is"]
    return f"{when}, whose true outline is {outline}"


_QUESTIONS = {  # rows of the table of conclusions: their names, and the value of a model
    "mergers": lambda row: str(row["mergers"]),
    "orbits": lambda row: str(row["orbits"]),
    "maps of all snapshots": lambda row: f"{row['maps']:,}",
    "thesis: classified as rectangular by its network": lambda row: _interval(row, "called"),
    "truth: with a rectangular outline": lambda row: _interval(row, "truly"),
    "truth: purity of the thesis's classification": lambda row: _interval(row, "right"),
    "truth: completeness of the thesis's classification": lambda row: _interval(row, "found"),
    "thesis: largest cosine with the reference": lambda row: f"{row['best_cosine']:.3f}",
    "truth: that map is": _match,
    "truth: a rectangular map has the larger cosine in": _cases,
    "what holds: directions from which relaxed remnants are boxy": lambda row: _interval(row, "boxy"),
    "power of that test": lambda row: _power(row, "power"),
    "what holds: relaxed views closest to a rectangle": lambda row: _interval(row, "rectangular"),
    "power of that": lambda row: _power(row, "power_rectangular"),
    "what holds: clearly rectangular": lambda row: _interval(row, "sure"),
    "power of that rule": lambda row: _power(row, "power_sure"),
    "what holds: by the screening network in noise, corrected": lambda row: _interval(row, "corrected"),
    "what holds: largest similarity to the reference": lambda row: _known(row, "best_similarity"),
    "what holds: p-value of that similarity": lambda row: _known(row, "best_p"),
}


# --- words and all numbers


def _words() -> dict[str, str]:
    return {
        "Image quality": "Each view is imaged without noise (clear), with noise (noisy), and with that noise removed "
        "again (cleaned). All images are convolved with the PSF.",
        "Methods": "True outline: of the projected star particles, at 1.5 half-light radii; the closest class, "
        "also in the grey zone between classes. Network: its most probable class. Isophotes: the class of the "
        "measured harmonics, by the same limits as the true outline.",
        "Completeness and purity": "Completeness is the fraction of the truly rectangular views that a method "
        "classifies as rectangular. Purity is the fraction of the views classified as rectangular that truly are.",
        "Corrected": "The true fractions that would appear as those observed, if the method errs as it does on "
        "synthetic galaxies of known shape that are as large and noisy. Simulated mergers may be unlike them; the "
        "true outline is there to compare.",
        "Power": "The fraction of true boxes that a test would have found: generalised ellipses of axis ratio 0.7, "
        "drawn as particles with the radii and the number of each remnant's stars, and judged in the same way. For the "
        "network and the isophotes, synthetic galaxies of known shape. Where the power is below "
        f"{100 * LEAST_POWER:.0f} %, that nothing was found means nothing.",
        "Before": "The same as at the end, of as many earlier snapshots that are also relaxed.",
        "Nodes": "How much the directions of the stars' orbital nodes agree: 1 for a disc that is tilted as a whole, 0 "
        "for orbits that have mixed.",
        "Independent snapshots": "The number of independent snapshots that would have as little noise as those that "
        "are judged together.",
        "Intervals": "An orbit is one draw, however many mergers and views share it: the bootstrap draws orbits.",
    }


def _all_fractions(fractions: Table) -> Listing:
    """All rows of the rectangular class."""
    rows = [
        [str(row["group"]), str(row["value"]), str(row["phase"]), _method(row), _unbroken(_interval(row)),
         _unbroken(_interval(row, "corrected")), _percent(row["power"]), str(row["orbits"]), f"{row['images']:,}"]
        for row in rows_where(fractions, class_="rectangular")
    ]  # fmt: skip
    return Listing(["group", "value", "phase", "method", "rectangular", "corrected", "power", "orbits", "views"], rows)
