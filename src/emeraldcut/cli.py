"""The command line: one command per verb, its flags and help from the settings of the stage."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from time import monotonic
from traceback import print_exception
from typing import TYPE_CHECKING, Any

import emeraldcut
from emeraldcut.errors import EmeraldcutError, UsageError

if TYPE_CHECKING:
    from emeraldcut.runs import Bar

READ = "emeraldcut.images:ReadSettings"
IMAGES_HELP = (
    "images: a folder, one or more files, a cube, HDF5 or Parquet file, a table of files, an emeraldcut image set, or "
    "one or more mosaics (with --catalogue, or else of all sources in them); FITS, PNG, JPEG, TIFF, NPY, 2df.dat"
)


@dataclass(frozen=True)
class Command:
    """One verb: what it does, the settings classes behind its flags ("module:Class"), and the function that runs it."""

    help: str
    settings: tuple[str, ...]
    run: Callable[[argparse.Namespace, tuple[Any, ...]], str]
    source: str | None = IMAGES_HELP
    source_name: str = "IMAGES"
    source_optional: bool = False
    settings_file: str | None = None  # "module:function" that says where the settings are which the source names
    numbered: str = ""  # `--NUMBERED 2` is short for the source NUMBERED_2
    output: str = "TABLE"
    output_help: str = "table to write: .parquet, .ecsv, .csv, .fits or .vot"
    default_output: str | None = None
    random: bool = False  # whether anything depends on --seed
    examples: tuple[str, ...] = ()  # lines without `emeraldcut`, for its help

    @property
    def takes_files(self) -> bool:
        """Whether several files of images may be given, as a shell's pattern does."""
        return READ in self.settings and self.source is not None and not self.source_optional


def _bar(arguments: argparse.Namespace) -> Bar:
    """Progress on standard error, silent with --quiet or where nobody looks."""
    from emeraldcut.runs import Bar

    return Bar(arguments.command, silent=arguments.quiet or not sys.stderr.isatty())


def _common(arguments: argparse.Namespace, bar: Bar) -> dict[str, Any]:
    """What every stage that writes something is told."""
    return {"jobs": arguments.jobs, "overwrite": arguments.overwrite, "progress": bar}


def _with_sources(arguments: argparse.Namespace, read_settings: Any, bar: Bar, output: str | None = None) -> Any:
    """Settings to read the source with: mosaics without a catalogue get one of the sources that are found in them."""
    from emeraldcut.detection import sources_of, with_sources

    catalogue = sources_of(output or arguments.output)
    return with_sources(arguments.source, read_settings, catalogue, **_common(arguments, bar))


def _to_table(
    stage: Callable, arguments: argparse.Namespace, settings: Any, read_settings: Any, output: str | None = None,
    *, bands: bool = False,
) -> str:  # fmt: skip
    """The table, at the output, of a stage applied to all images."""
    from emeraldcut.images import apply_to_images
    from emeraldcut.tables.files import check_output

    output = output or arguments.output
    if output.endswith(".out") and arguments.command != "classify":
        raise UsageError(
            "tables ending in .out hold class probabilities, which only `classify` makes; choose another ending."
        )
    check_output(output, arguments.overwrite)
    facts = {"command": arguments.command, "settings": settings, "raw": arguments.raw, "bands": bands}
    with _bar(arguments) as bar:
        read_settings = _with_sources(arguments, read_settings, bar)
        path = apply_to_images(stage, arguments.source, read_settings, output, **facts, **_common(arguments, bar))
    return str(path)


def _run_measure(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.isophotes import band_profiles, band_shapes, measure, radial_profiles
    from emeraldcut.tables.files import check_output

    options, profiles, plots, read_settings = settings
    bands, beside = options.bands is not None, _beside(arguments.output, "-bands")
    for path in [*[beside] * bands, *[profiles.profiles] * bool(profiles.profiles)]:
        check_output(path, arguments.overwrite)  # before the first table is made
    written = [_to_table(partial(measure, settings=options), arguments, options, read_settings, bands=bands)]
    if bands:
        stage = partial(band_shapes, settings=options)
        written.append(_to_table(stage, arguments, options, read_settings, beside, bands=True))
    if profiles.profiles:
        stage = partial(band_profiles if bands else radial_profiles, settings=options, profile_settings=profiles)
        both = (options, profiles)
        written.append(_to_table(stage, arguments, both, read_settings, profiles.profiles, bands=bands))
    if plots.plots:
        written.append(_draw_isophotes(arguments, options, profiles, plots, read_settings))
    return "\n".join(written)


def _draw_isophotes(arguments: argparse.Namespace, options: Any, profiles: Any, plots: Any, read_settings: Any) -> str:
    """The folder in which the first galaxies are drawn."""
    from emeraldcut.images import open_images
    from emeraldcut.report import save_isophote_plots

    with _bar(arguments) as bar:
        read_settings = _with_sources(arguments, read_settings, bar)
    save_isophote_plots(open_images(arguments.source, read_settings).chunks(), options, profiles, plots)
    return str(plots.plots)


def _beside(output: str, ending: str) -> str:
    """A table's path with something between its name and what says its format."""
    path = Path(output)
    return str(path.with_name(f"{path.name.removesuffix(path.suffix)}{ending}{path.suffix}"))


def _run_classify(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.networks import classify

    return _to_table(partial(classify, settings=settings[0]), arguments, *settings)


def _run_compare(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.images import open_images
    from emeraldcut.report import explain_best
    from emeraldcut.similarity import compare, prepare_references, read_references
    from emeraldcut.tables import read_table

    options, explanation, read_settings = settings
    references = read_references(options.reference)
    prepared: Any = references
    if options.method == "frame":
        prepared = prepare_references(references, read_references(options.negative) if options.negative else None)
    stage = partial(compare, settings=options, references=prepared)
    written = [_to_table(stage, arguments, options, read_settings)]
    if explanation.explain:
        with _bar(arguments) as bar:
            read_settings = _with_sources(arguments, read_settings, bar)
        chunks = open_images(arguments.source, read_settings).chunks()
        written.append(str(explain_best(chunks, read_table(written[0]), references, explanation)))
    return "\n".join(written)


def _run_detect(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.detection import detect_run

    with _bar(arguments) as bar:
        options = {**_common(arguments, bar), "raw": arguments.raw}
        return str(detect_run(arguments.source, arguments.output, *settings, **options))


def _run_fetch(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.exchange import fetch
    from emeraldcut.images.readers import CUTOUTS

    with _bar(arguments) as bar:
        run = fetch(arguments.output, *settings, **_common(arguments, bar))
    failed, number = run.manifest["failed"], run.manifest["images"]
    if failed and not arguments.quiet:
        _say(f"{failed} of {number} cutouts failed; rerun the command to try them again.")
    return str(run.folder / CUTOUTS)


def _run_synthesise(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.galaxies import iterate_synthesise
    from emeraldcut.images import write_images

    facts = {"command": "synthesise", "settings": settings, "seed": arguments.seed}
    with _bar(arguments) as bar:
        bar.begin(settings[0].number)
        images = iterate_synthesise(*settings, seed=arguments.seed, jobs=arguments.jobs)
        write_images(images, arguments.output, **facts, overwrite=arguments.overwrite, progress=bar)
    return arguments.output


def _run_clean(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.frame import clean
    from emeraldcut.images import map_images

    options, read_settings = settings
    stage, facts = partial(clean, settings=options), {"command": "clean", "settings": options}
    with _bar(arguments) as bar:
        read_settings = _with_sources(arguments, read_settings, bar)
        map_images(stage, arguments.source, read_settings, arguments.output, **facts, **_common(arguments, bar))
    return arguments.output


def _run_train(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.images import read_images
    from emeraldcut.networks import train

    options, read_settings = settings
    folder = Path(arguments.output)
    if (folder / "card.json").exists() and not arguments.overwrite:
        raise FileExistsError(f"'{folder}' holds a network; choose another folder or set --overwrite.")
    if not arguments.source and options.network == "thesis":
        raise UsageError("the thesis's network is trained on a set of images, for example one of `synthesise --grid`.")
    sources = {"images": arguments.source, "real": options.real, "backgrounds": options.backgrounds}
    given: dict[str, Any] = {
        name: read_images(source, read_settings) if source else None for name, source in sources.items()
    }
    with _bar(arguments) as bar:
        trained = train(settings=options, **given, seed=arguments.seed, folder=folder, **_common(arguments, bar))
    return str(trained.save(folder))


def _run_export(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.networks import export_network, load_network

    return str(export_network(load_network(arguments.source), arguments.output, overwrite=arguments.overwrite))


def _run_convert(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.api.exchange import convert

    with _bar(arguments) as bar:
        return str(convert(arguments.source, arguments.output, *settings, **_common(arguments, bar)))


def _run_screen(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report
    from emeraldcut.screening import screen_run

    with _bar(arguments) as bar:
        run = screen_run(arguments.source, arguments.output, *settings, **_common(arguments, bar))
    return str(report(run.folder))


def _run_completeness(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report
    from emeraldcut.screening import completeness_run

    with _bar(arguments) as bar:
        run = completeness_run(arguments.output, *settings, seed=arguments.seed, **_common(arguments, bar))
    return str(report(run.folder))


def _run_simulate(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.mergers import THICKENING, simulate
    from emeraldcut.report import report

    with _bar(arguments) as bar:
        run = simulate(arguments.output, *settings, seed=arguments.seed, **_common(arguments, bar))
    for name, factor in run.manifest["thickening"].items():
        if factor > THICKENING and not arguments.quiet:
            _say(
                f"WARNING: the disc of the isolated control galaxy '{name}' is {factor:.2f} times as thick as at the "
                "start when the galaxies meet. Do not trust the shapes of remnants; use more particles."
            )
    return str(report(run.folder))


def _run_search(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report
    from emeraldcut.search import search

    with _bar(arguments) as bar:
        run = search(arguments.source, arguments.output, *settings, seed=arguments.seed, **_common(arguments, bar))
    return str(report(run.folder))


def _run_observe(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.images.text_maps import MAPS
    from emeraldcut.mergers import observe_run
    from emeraldcut.runs import read_manifest

    with _bar(arguments) as bar:
        run = observe_run(arguments.source, arguments.output, *settings, seed=arguments.seed, **_common(arguments, bar))
    if not arguments.quiet:
        for sentence in _of_observed(read_manifest(run.folder)):
            _say(sentence)
    maps = settings[1].maps
    return "\n".join([arguments.output, *([str(Path(maps) / MAPS)] if maps else [])])


def _of_observed(manifest: dict[str, Any]) -> Iterator[str]:
    """What is to be said of snapshots that were passed over, guessed at, or could not be observed."""
    if names := manifest["passed_over"]:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"Passed over, no snapshots: {', '.join(names[:3])}{more}."
    yield from (f"{merger}: {guess}." for guess, merger in manifest["guessed"].items())
    if failed := manifest["failed"]:
        number = manifest["snapshots"]
        yield f"{failed} of {number} snapshots could not be observed; their rows are flagged and say why."


def _run_study(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report
    from emeraldcut.studies import study

    source = arguments.source if arguments.source and Path(arguments.source).is_dir() else None
    with _bar(arguments) as bar:
        run = study(source, arguments.output, *settings, seed=arguments.seed, **_common(arguments, bar))
    return str(report(run.folder))


def _run_report(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report, write_latex, write_pdf

    (options,) = settings
    page = report(arguments.source, movies=options.movie)
    if options.format == "pdf":
        page = write_pdf(page)
    if arguments.output != COMMANDS["report"].default_output:
        page = Path(copyfile(page, arguments.output))
    written = [page, *(write_latex(arguments.source) if options.latex else ())]
    return "\n".join(map(str, written))


def _run_review(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.review import review

    output = None if arguments.output == COMMANDS["review"].default_output else arguments.output
    written = review(
        arguments.source,
        *settings,
        seed=arguments.seed,
        output=output,
        overwrite=arguments.overwrite,
        say=partial(print, flush=True),
    )
    return "\n".join(map(str, written))


def _run_demo(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.demo import demo
    from emeraldcut.runs.run import PAGE

    with _bar(arguments) as bar:
        say = (lambda text: None) if arguments.quiet else bar.write
        run = demo(arguments.output, *settings, seed=arguments.seed, **_common(arguments, bar), say=say)
    return str(run.folder / PAGE)


COMMANDS = {
    "demo": Command(
        "run the whole chain on a real field with planted galaxies: small, offline, with a known answer",
        ("emeraldcut.demo:DemoSettings",),
        _run_demo,
        source=None,
        output="DIR",
        output_help="folder to write; ends with DIR/report.html",
        default_output="emeraldcut-demo",
        random=True,
        examples=(
            "demo",
            "demo --output demo --seed 3",
        ),
    ),
    "fetch": Command(
        "download cutouts of a survey by position",
        ("emeraldcut.exchange:FetchSettings",),
        _run_fetch,
        source=None,
        output="DIR",
        output_help="folder to write: one FITS file per position, and cutouts.parquet; rerun the command to resume",
        examples=(
            "fetch --catalogue galaxies.csv --output cutouts",
            "fetch --catalogue galaxies.csv --cutout-size 128 --pixel-scale-arcsec 0.262 --output cutouts",
        ),
    ),
    "detect": Command(
        "detect the sources in mosaics, as a catalogue for the other commands (--catalogue)",
        ("emeraldcut.detection:DetectSettings", "emeraldcut.images.options:PlaneSettings"),
        _run_detect,
        source="a mosaic of any size, or a folder of mosaics (which may overlap): FITS, PNG, JPEG, TIFF, NPY",
        source_name="MOSAICS",
        examples=(
            "detect mosaic.fits --output sources.parquet",
            "detect mosaics/ --output sources.parquet --jobs 2",
        ),
    ),
    "synthesise": Command(
        "make labelled images of galaxies of known shape",
        ("emeraldcut.galaxies:SynthesiseSettings",),
        _run_synthesise,
        source=None,
        output="SET",
        output_help="folder to write",
        random=True,
        examples=(
            "synthesise --number 1000 --output galaxies",
            "synthesise --number 1000 --snr-min 40 --seed 7 --output galaxies",
        ),
    ),
    "simulate": Command(
        "simulate a suite of mergers of two galaxies",
        (
            "emeraldcut.mergers:SuiteSettings",
            "emeraldcut.nbody:EvolveSettings",
            "emeraldcut.nbody.engines.program:ProgramSettings",
        ),
        _run_simulate,
        source="the suite: a TOML file, or the name of a preset",
        source_name="SUITE",
        source_optional=True,
        settings_file="emeraldcut.mergers:suite_file",
        numbered="sequence",
        output="RUN",
        output_help="folder to write: one folder per merger, suite.ecsv and report.html; rerun the command to resume",
        random=True,
        examples=(
            "simulate --mass-ratios 1,3 --orbits 2 --output mergers",
            "simulate emerald --output emerald --jobs 2",
        ),
    ),
    "observe": Command(
        "make images of simulated galaxies from any direction",
        ("emeraldcut.camera:ObserveSettings", "emeraldcut.mergers:TakeSettings"),
        _run_observe,
        source="a run of `simulate`, or a snapshot or cutout, or a folder of them: of GADGET (HDF5 or binary), AREPO "
        "(IllustrisTNG), GIZMO (SIMBA, FIRE), EAGLE, SWIFT; one file may be any format that pynbody reads",
        source_name="RUN",
        output="SET",
        output_help="folder to write",
        random=True,
        examples=(
            "observe mergers --views 20 --output images",
            "observe snapshot_099.hdf5 --views 5 --output images",
        ),
    ),
    "clean": Command(
        "remove the noise from images",
        ("emeraldcut.frame:CleanSettings", READ),
        _run_clean,
        output="SET",
        output_help="folder to write",
        examples=("clean cutouts/ --output cleaned",),
    ),
    "train": Command(
        "train a network on labelled images (needs the extra [train])",
        ("emeraldcut.networks:TrainSettings", READ),
        _run_train,
        source="a labelled emeraldcut image set, or any other images with labels; without it, synthetic galaxies are "
        "drawn (screener only)",
        source_name="SET",
        source_optional=True,
        output="NETWORK",
        output_help="network folder to write",
        random=True,
        examples=(
            "train --output network",
            "train labelled/ --output network --seed 1",
        ),
    ),
    "export": Command(
        "export a network for other tools",
        (),
        _run_export,
        source="'screener', which ships with the package, or a network folder",
        source_name="NETWORK",
        output="FILE",
        output_help=".onnx (needs the extra [export]), .keras (needs [train]), or a folder for .json and .h5",
        examples=("export screener --output screener.onnx",),
    ),
    "convert": Command(
        "convert a table, or images, for other tools",
        ("emeraldcut.exchange:ConvertSettings", READ),
        _run_convert,
        source="a table in any format; with --to, images in any form",
        source_name="TABLE",
        output="FILE",
        output_help="table to write: .parquet, .ecsv, .csv, .fits, .vot, or .reg for DS9; with --to, a folder",
        examples=(
            "convert run/candidates.parquet --output candidates.vot",
            "convert galaxies --to fits --output galaxies_fits",
            "convert cutouts/ --to moc --output searched.fits",
        ),
    ),
    "classify": Command(
        "class probabilities for every image",
        ("emeraldcut.networks:ClassifySettings", READ),
        _run_classify,
        output_help="table to write: .parquet, .ecsv, .csv, .fits, .vot, or .out (the format of the thesis)",
        examples=(
            "classify cutouts/ --output classes.parquet",
            "classify image.fits --network my_network --output classes.ecsv",
        ),
    ),
    "measure": Command(
        "axis ratio, size and isophote shape, with errors, for every image",
        (
            "emeraldcut.isophotes:MeasureSettings",
            "emeraldcut.isophotes:ProfileSettings",
            "emeraldcut.isophotes:PlotSettings",
            READ,
        ),
        _run_measure,
        examples=(
            "measure cutouts/ --output shapes.parquet",
            "measure galaxy.fits --psf psf.fits --profiles profiles.ecsv --plots plots --output shape.ecsv",
            "measure grz.fits --bands joint --output shape.ecsv",
            "measure pictures/*.jpg --output shapes.csv",
        ),
    ),
    "compare": Command(
        "similarity to a reference galaxy for every image",
        ("emeraldcut.similarity:CompareSettings", "emeraldcut.report:ExplainSettings", READ),
        _run_compare,
        examples=(
            "compare cutouts/ --output similar.parquet",
            "compare cutouts/ --reference odd_galaxy.fits --output similar.parquet",
        ),
    ),
    "screen": Command(
        "classify, measure and compare every image; rank the candidates; write a report",
        ("emeraldcut.screening:ScreenSettings", READ),
        _run_screen,
        output="DIR",
        output_help="folder to write; ends with DIR/report.html",
        examples=(
            "screen cutouts/ --output run",
            "screen mosaic.fits --output run --jobs 2",
            "screen mosaic.fits --catalogue galaxies.parquet --prevalence 0.001 --output run",
        ),
    ),
    "completeness": Command(
        "measure the fraction of rectangular galaxies that `screen` would find, by injection",
        ("emeraldcut.screening:CompletenessSettings", READ),
        _run_completeness,
        source=None,
        output="DIR",
        output_help="folder to write: completeness.ecsv, completeness.png, injected.parquet, report.html",
        random=True,
        examples=("completeness --output completeness",),
    ),
    "study": Command(
        "measure the fraction of merger remnants with each shape, and what it depends on",
        ("emeraldcut.studies:StudySettings",),
        _run_study,
        source="a run of `simulate`, or a folder of several; or a TOML file or preset (small, thesis) whose suites are "
        "run first",
        source_name="RUN",
        settings_file="emeraldcut.studies:study_file",
        output="DIR",
        output_help="folder to write: images.parquet, fractions.ecsv, tests.ecsv, report.html",
        random=True,
        examples=(
            "study small --output study --jobs 2",
            "study mergers --views 30 --output study",
        ),
    ),
    "search": Command(
        "find the encounters of two galaxies whose remnants look like a target (needs the extra [search])",
        ("emeraldcut.search:SearchSettings", "emeraldcut.search:PriorSettings"),
        _run_search,
        source="what the remnant should look like: a TOML file, leda074886, or box (any boxy remnant)",
        source_name="TARGET",
        output="DIR",
        output_help="folder to write: evaluations.ecsv, winners, report.html; rerun the command to resume",
        random=True,
        examples=("search leda074886 --output search --jobs 2",),
    ),
    "report": Command(
        "write a report page of any finished run; also as PDF, and its tables as LaTeX",
        ("emeraldcut.report:ReportSettings",),
        _run_report,
        source="folder of a run, an image set or a network; or a table of `measure`, `compare` or `classify`",
        source_name="DIR",
        output="PAGE",
        output_help="also copy the page to this path",
        default_output="DIR/report.html",
        examples=(
            "report run",
            "report shapes.parquet --output page.html",
            "report mergers --movie",
        ),
    ),
    "review": Command(
        "judge the candidates of a run, or the images of any table, in the browser (needs the extra [review])",
        ("emeraldcut.review:ReviewSettings",),
        _run_review,
        source="folder of a run of `screen` or `demo`, or any table of images",
        source_name="DIR",
        output="FOLDER",
        output_help="folder to write with --static",
        default_output="DIR/review",
        random=True,
        examples=(
            "review run",
            "review run --export judged.csv",
            "review table.parquet --classes spiral,ring,other --images cutouts/",
        ),
    ),
}

GROUPS = {
    "find and measure galaxies": ("screen", "measure", "classify", "compare", "completeness"),
    "get and prepare images": ("fetch", "detect", "clean", "convert", "synthesise"),
    "simulate mergers": ("simulate", "observe", "study", "search"),
    "networks": ("train", "export"),
    "results": ("report", "review", "demo"),
}
SPELLINGS = {"synthesize": "synthesise"}  # also understood
WITHOUT_SUMMARY = ("convert", "export", "report", "review", "demo")  # quick ones, and those that say more themselves
RESUMED = ("screen", "measure", "classify", "compare", "fetch", "detect", "simulate", "search", "train", "review")


def load(name: str) -> Any:
    """The class or function behind "module:Name"."""
    module, cls = name.split(":")
    return getattr(import_module(module), cls)


def _overview() -> argparse.ArgumentParser:
    """The parser for the bare command: names and one line each, without importing any stage."""
    groups = [
        "\n".join([f"{title}:", *(f"  {name:<14}{COMMANDS[name].help}" for name in names)])
        for title, names in GROUPS.items()
    ]
    lines = "\n\n".join(groups)
    parser = argparse.ArgumentParser(
        prog="emeraldcut",
        description=emeraldcut.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"{lines}\n\n`emeraldcut COMMAND --help` lists the flags of one, with examples.",
    )
    parser.add_argument("--version", action=_Version, help="show the version, and those of what it runs on")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="what to do")
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Examples stay as they are."""


class _Version(argparse.Action):
    """Prints the version, and those of Python and of the packages that results depend on."""

    def __init__(self, option_strings: Sequence[str], dest: str, **facts: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **facts)

    def __call__(self, parser: argparse.ArgumentParser, *others: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        lines = [f"emeraldcut {emeraldcut.__version__}", f"python {sys.version.split()[0]}"]
        for package in ("numpy", "scipy", "astropy", "photutils", "numba", "openvino", "h5py", "pyarrow"):
            with suppress(PackageNotFoundError):
                lines.append(f"{package} {version(package)}")
        _print("\n".join(lines))
        parser.exit()


def command_parser(name: str, command: Command, classes: Sequence[type]) -> argparse.ArgumentParser:
    """The parser of one command."""
    from emeraldcut.settings import add_flags
    from emeraldcut.tables.files import RAW_HELP

    parser = argparse.ArgumentParser(
        prog=f"emeraldcut {name}",
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog="examples:\n" + "\n".join(f"  emeraldcut {line}" for line in command.examples),
        formatter_class=_Help,
    )
    if command.source:
        count = "+" if command.takes_files else "?" if command.source_optional else None
        parser.add_argument("source", metavar=command.source_name, nargs=count, help=command.source)
    if command.numbered:
        text = f"short for {command.source_name} '{command.numbered}_NUMBER'"
        parser.add_argument(f"--{command.numbered}", dest="numbered", metavar="NUMBER", help=text)
    default = command.default_output
    parser.add_argument(
        "-o",
        "--output",
        metavar=command.output,
        required=default is None,
        default=default,
        help=command.output_help + (f" (default: {default})" if default else ""),
    )
    seed = (
        "seed of everything random (default: 0)"
        if command.random
        else "has no effect: nothing is random in this command"
    )
    parser.add_argument("--seed", type=_seed, default=0, help=seed)
    parser.add_argument("-j", "--jobs", type=int, default=1, help="worker processes (default: 1)")
    cluster = parser.add_mutually_exclusive_group()
    cluster.add_argument(
        "--cluster", metavar="ADDRESS", help="address of a Dask scheduler to work on, such as tcp://host:8786"
    )
    cluster.add_argument(
        "--slurm", metavar="FILE.toml", help="work on Slurm jobs as this file describes (see docs/clusters.md)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing output")
    if command.output == "TABLE":
        parser.add_argument("--raw", action="store_true", help=RAW_HELP)
    parser.add_argument(
        "--quiet", action="store_true", help="print only the path of the result: no progress bar, no summary"
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show also what libraries, such as TensorFlow, say of themselves"
    )
    parser.add_argument("--traceback", action="store_true", help="show the full traceback of an error")
    add_flags(parser, *classes)
    return parser


def _seed(text: str) -> int:
    """A seed, as numpy takes it."""
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if seed < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0; received {text!r}")
    return seed


@contextmanager
def _workers(arguments: argparse.Namespace) -> Iterator[int | str]:
    """Who does the work, as `map_chunks` takes it. Workers elsewhere are told whole paths."""
    if arguments.cluster or arguments.slurm:
        arguments.output = os.path.abspath(arguments.output)
        if os.path.exists(getattr(arguments, "source", None) or ""):
            arguments.source = os.path.abspath(arguments.source)
    if not arguments.slurm:
        yield arguments.cluster or arguments.jobs
        return
    from emeraldcut.runs.workers import slurm_cluster

    with slurm_cluster(arguments.slurm) as address:
        yield address


def _no_room(error: BaseException | None) -> bool:
    """Whether a disk, or a share of one, that is full is behind an error. Astropy and numpy say so without a number."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return error is not None and bool(
        getattr(error, "errno", None) in full
        or (isinstance(error, OSError) and re.search(r"Not enough space on disk|requested and \d+ written", str(error)))
        or _no_room(error.__cause__ or error.__context__)
    )


def _sentence(error: OSError) -> str:
    """What the system says of a file, without its number."""
    return f"'{error.filename}': {error.strerror}." if error.filename and error.strerror else str(error)


def _explained(error: Exception, arguments: argparse.Namespace) -> tuple[str, int]:
    """What to say of an error, and the exit status. What nobody expects is a bug, not wrong usage."""
    if _no_room(error):
        return f"the disk of '{arguments.output}' is full; make room, then rerun the command to resume.", 1
    if isinstance(error, EmeraldcutError):
        return str(error), error.status
    if isinstance(error, MemoryError):
        return "there is not enough memory; use fewer --jobs, or smaller images.", 1
    if isinstance(error, OSError):
        return _sentence(error), 1 if isinstance(error, ConnectionError) else 2
    what = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(".: ")
    return f"unexpected error ({what}). This is a bug: run the command again with --traceback, and report it.", 1


def _carry_out(command: Command, arguments: argparse.Namespace, classes: Sequence[type]) -> str:
    """Resolves source and settings, and runs the command; returns what it wrote."""
    from emeraldcut.runs.notices import listening
    from emeraldcut.settings import from_flags

    if command.numbered and arguments.numbered:
        if arguments.source:
            raise UsageError(f"give '{arguments.source}' or --{command.numbered}, not both.")
        arguments.source = f"{command.numbered}_{arguments.numbered}"
    if command.settings_file and arguments.source:
        arguments.settings = load(command.settings_file)(arguments.source) or arguments.settings
    if arguments.jobs < 1:
        raise UsageError(f"--jobs expects at least 1; received {arguments.jobs}.")
    if command.takes_files:
        from emeraldcut.images.given import one_source

        arguments.source, only = one_source(arguments.source)
        arguments.only = only or arguments.only
    settings = from_flags(arguments, *classes)
    say = (lambda sentence: None) if arguments.quiet else _say
    with _workers(arguments) as arguments.jobs, listening(say):
        return command.run(arguments, settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; prints what it wrote. Returns 0 done, 1 nothing usable or a failure, 2 wrong usage."""
    from emeraldcut.runs.endings import noticing_interrupts

    _mend_streams()
    argv = list(sys.argv[1:] if argv is None else argv)
    name = SPELLINGS.get(argv[0], argv[0]) if argv else ""
    try:
        with noticing_interrupts():
            return _run(name, argv)
    except KeyboardInterrupt:
        return _was_interrupted(name)
    finally:
        _print()


def _run(name: str, argv: list[str]) -> int:
    """`main` without what holds for every end of it."""
    from emeraldcut.runs.endings import interrupted

    if name not in COMMANDS:
        _overview().parse_args(argv or ["--help"])
    command = COMMANDS[name]
    if {"-h", "--help"} & set(argv[1:]):
        from emeraldcut.quick_help import stand_ins

        with stand_ins():
            command_parser(name, command, [load(cls) for cls in command.settings]).parse_args(["--help"])
    classes = [load(cls) for cls in command.settings]
    arguments = command_parser(name, command, classes).parse_args(argv[1:])
    arguments.command = name
    from emeraldcut.runs.chatter import show_chatter

    show_chatter(arguments.verbose)
    begun = monotonic()
    try:
        written = _carry_out(command, arguments, classes)
        _print(written)
        _summarise(written, arguments, monotonic() - begun)
    except Exception as error:
        if arguments.traceback:
            print_exception(error)
        if interrupted():  # inside compiled code Ctrl-C is another error
            return _was_interrupted(name)
        sentence, status = _explained(error, arguments)
        from emeraldcut.runs.notices import printable

        _say(f"emeraldcut {name}: {printable(sentence)}")
        return status
    return 0


def _summarise(written: str, arguments: argparse.Namespace, seconds: float) -> None:
    """Says in a few lines what was found, unless only the path is wanted. What cannot be said is no failure."""
    if not arguments.quiet and arguments.command not in WITHOUT_SUMMARY:
        from emeraldcut.runs.notices import printable
        from emeraldcut.summary import summary

        with suppress(OSError, ValueError):
            for line in summary(written, seconds, noun="source" if arguments.command == "detect" else "image"):
                _say(printable(line))


def _was_interrupted(name: str) -> int:
    """Says so in one line, and how to go on where what is done is kept; returns the exit status."""
    again = "; rerun the command to resume" if name in RESUMED else ""
    _say(f"emeraldcut {name}: interrupted{again}.")
    return 130


def _say(sentence: str) -> None:
    """A sentence on standard error, if somebody is there to read it."""
    with suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)


def _print(text: str = "") -> None:
    """A text, and what waits to be printed, on standard output; nothing if whoever read it has gone, as `head` does."""
    try:
        print(text, end="\n" * bool(text), flush=True)
    except BrokenPipeError:
        with suppress(OSError):  # else Python tries once more at the end, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _mend_streams() -> None:
    """Opens standard streams that are closed, and lets names of files that are not UTF-8 through.

    The next file to be opened would else get the number of a closed stream, and what libraries print would end in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")


if __name__ == "__main__":
    sys.exit(main())
