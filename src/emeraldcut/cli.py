"""The command line: one command per verb, its flags and help from the settings of the stage."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from shutil import copyfile
from typing import Any

import emeraldcut

IMAGES_HELP = (
    "a folder, file, cube, HDF5, Parquet or table of images, a set of ours, or (with --catalogue) one or more mosaics: "
    "FITS, PNG, JPEG, TIFF, NPY, 2df.dat"
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


def _bar(arguments: argparse.Namespace, total: int | None, unit: str = " images"):
    """A progress bar on standard error, silent with --quiet or where nobody looks."""
    from tqdm import tqdm

    silent = arguments.quiet or not sys.stderr.isatty()
    return tqdm(total=total, unit=unit, disable=silent, desc=arguments.command)


def _of_total(bar) -> Callable[[int | None, int], None]:
    """Moves `bar` on by n of a total that only the stage knows."""

    def progress(total: int | None, n: int) -> None:
        bar.total = total
        bar.update(n)

    return progress


def _over_images(stage: Callable, arguments: argparse.Namespace, read_settings: Any) -> str:
    """Applies a stage to all images, chunk by chunk, and writes the rows as one table; goes on where it was stopped.

    A Parquet table is never whole in memory.
    """
    import numpy as np

    from emeraldcut.data import NoImagesError, Parts, fill, join, open_images, provenance, usable, write_table
    from emeraldcut.data.parts import joined_table
    from emeraldcut.data.tables import check_output

    path = check_output(arguments.output, arguments.overwrite)
    if arguments.output.endswith(".out") and arguments.command != "classify":
        raise ValueError("the thesis's format .out holds class probabilities, which only `classify` makes.")
    source = open_images(arguments.source, read_settings)
    inputs = [name for name in (arguments.source, read_settings.catalogue) if name]
    settings = (*(value for name, value in stage.keywords.items() if name.endswith("settings")), read_settings)
    origin = provenance(arguments.command, settings, arguments.seed, inputs)
    beside = path.with_name(f".{path.name}.parts")
    parts = Parts(beside, origin, f"a table of `{arguments.command}`", overwrite=arguments.overwrite)
    with _bar(arguments, source.n_images) as bar:
        fill(parts, stage, source.chunks_after, jobs=arguments.jobs, progress=bar.update)
    if parts.done == 0:
        parts.remove()
        raise NoImagesError(f"'{arguments.source}' holds no images.")
    if path.suffix == ".parquet":
        join(parts, path, origin)
    else:
        write_table(joined_table(parts), path, provenance=origin, overwrite=arguments.overwrite)
    flags = parts.column("flag")
    parts.remove()
    if np.isfinite(flags).any() and not usable(flags).any():
        raise NoImagesError(f"none of the {len(flags)} images can be used; '{path}' says why.")
    return str(path)


def _run_measure(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data.tables import check_output
    from emeraldcut.isophotes import measure, radial_profiles

    options, profiles, read_settings = settings
    stages = [(partial(measure, settings=options, seed=arguments.seed), arguments.output)]
    if profiles.profiles:
        check_output(profiles.profiles, arguments.overwrite)  # before the first table is made
        stages.append((partial(radial_profiles, settings=options, profile_settings=profiles), profiles.profiles))
    written = []
    for stage, arguments.output in stages:
        written.append(_over_images(stage, arguments, read_settings))
    return "\n".join(written)


def _run_classify(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.networks import classify

    return _over_images(partial(classify, settings=settings[0], seed=arguments.seed), arguments, settings[1])


def _run_compare(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import open_images, read_table
    from emeraldcut.report import explain_best
    from emeraldcut.similarity import compare, prepare_references, read_references

    options, explanation, read_settings = settings
    references = read_references(options.reference)
    prepared = references
    if options.method == "frame":
        prepared = prepare_references(references, read_references(options.negative) if options.negative else None)
    stage = partial(compare, settings=options, seed=arguments.seed, references=prepared)
    written = [_over_images(stage, arguments, read_settings)]
    if explanation.explain:
        chunks = open_images(arguments.source, read_settings).chunks()
        written.append(str(explain_best(chunks, read_table(written[0]), references, explanation)))
    return "\n".join(written)


def _run_detect(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import provenance, write_table
    from emeraldcut.data.tables import check_output
    from emeraldcut.frame import detect

    check_output(arguments.output, arguments.overwrite)
    with _bar(arguments, None, unit=" rows of parts") as bar:
        table = detect(arguments.source, settings[0], seed=arguments.seed, jobs=arguments.jobs, progress=_of_total(bar))
    origin = provenance("detect", settings[0], arguments.seed, [arguments.source])
    return str(write_table(table, arguments.output, provenance=origin, overwrite=arguments.overwrite))


def _run_fetch(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import Flag, fetch
    from emeraldcut.data.readers import CUTOUTS

    with _bar(arguments, None, unit=" cut-outs") as bar:
        table = fetch(
            arguments.output, *settings, jobs=arguments.jobs, overwrite=arguments.overwrite, progress=_of_total(bar)
        )
    failed = int(sum(table["flag"] & int(Flag.UNREADABLE) != 0))
    if failed and not arguments.quiet:
        print(f"{failed} of {len(table)} cut-outs did not come; the same command tries them again.", file=sys.stderr)
    return str(Path(arguments.output) / CUTOUTS)


def _run_synthesise(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import ImageSetWriter
    from emeraldcut.galaxies import iterate_synthesise

    facts = {"command": "synthesise", "settings": settings[0], "seed": arguments.seed}
    with (
        ImageSetWriter(arguments.output, **facts, overwrite=arguments.overwrite) as writer,
        _bar(arguments, settings[0].number) as bar,
    ):
        for images in iterate_synthesise(settings[0], seed=arguments.seed, jobs=arguments.jobs):
            writer.append(images)
            bar.update(len(images))
    return arguments.output


def _run_clean(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import ImageSetWriter, NoImagesError, map_chunks, open_images, usable
    from emeraldcut.frame import clean

    options, read_settings = settings
    source = open_images(arguments.source, read_settings)
    if Path(arguments.output).resolve() == Path(arguments.source).resolve():
        raise ValueError(f"the cleaned images need a folder of their own; '{arguments.output}' holds the others.")
    inputs = [name for name in (arguments.source, read_settings.catalogue) if name]
    facts = {"command": "clean", "settings": settings, "seed": arguments.seed, "inputs": inputs}
    n_usable = 0
    with (
        ImageSetWriter(arguments.output, **facts, overwrite=arguments.overwrite) as writer,
        _bar(arguments, source.n_images) as bar,
    ):
        stage = partial(clean, settings=options, seed=arguments.seed)
        for images in map_chunks(stage, source.chunks(), jobs=arguments.jobs, progress=bar.update):
            writer.append(images)
            n_usable += int(usable(images.table["flag"]).sum())
    if not n_usable:
        raise NoImagesError(f"'{arguments.source}' holds no usable images.")
    return arguments.output


def _run_train(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import read_images
    from emeraldcut.networks import train

    folder = Path(arguments.output)
    if (folder / "card.json").exists() and not arguments.overwrite:
        raise FileExistsError(f"'{folder}' holds a network; choose another folder or set --overwrite.")
    images = read_images(arguments.source, settings[1]) if arguments.source else None
    if images is None and settings[0].network == "thesis":
        raise ValueError("the thesis's network is trained on a set of images, for example one of `synthesise --grid`.")
    with _bar(arguments, None, unit=" epochs") as bar:

        def progress(done: int, total: int, figures: dict[str, float]) -> None:
            bar.total = total
            bar.set_postfix(figures, refresh=False)
            bar.update(1)

        trained = train(
            images,
            settings[0],
            seed=arguments.seed,
            jobs=arguments.jobs,
            real=read_images(settings[0].real, settings[1]) if settings[0].real else None,
            backgrounds=read_images(settings[0].backgrounds, settings[1]) if settings[0].backgrounds else None,
            folder=folder,
            progress=progress,
        )
    return str(trained.save(folder))


def _run_export(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.networks import export_network, load_network

    return str(export_network(load_network(arguments.source), arguments.output, overwrite=arguments.overwrite))


def _run_convert(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import convert_images, convert_table

    if not settings[0].to:
        return str(convert_table(arguments.source, arguments.output, settings[0], overwrite=arguments.overwrite))
    with _bar(arguments, None) as bar:
        return str(
            convert_images(
                arguments.source, arguments.output, *settings, overwrite=arguments.overwrite, progress=_of_total(bar)
            )
        )


def _run_screen(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report
    from emeraldcut.screening import screen_run

    with _bar(arguments, None) as bar:
        run = screen_run(
            arguments.source,
            arguments.output,
            *settings,
            seed=arguments.seed,
            jobs=arguments.jobs,
            overwrite=arguments.overwrite,
            progress=_of_total(bar),
        )
    return str(report(run.folder))


def _run_completeness(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report
    from emeraldcut.screening import completeness_run

    with _bar(arguments, None) as bar:
        run, _ = completeness_run(
            arguments.output,
            *settings,
            seed=arguments.seed,
            jobs=arguments.jobs,
            overwrite=arguments.overwrite,
            progress=_of_total(bar),
        )
    return str(report(run.folder))


def _run_simulate(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.mergers import THICKENING, plan, simulate
    from emeraldcut.report import report

    with _bar(arguments, len(plan(settings[0])), unit=" mergers") as bar:
        table = simulate(
            arguments.output,
            *settings,
            seed=arguments.seed,
            jobs=arguments.jobs,
            overwrite=arguments.overwrite,
            progress=bar.update,
        )
    for name, factor in table.meta["thickening"].items():
        if factor > THICKENING and not arguments.quiet:
            print(
                f"WARNING: the disc of '{name}', alone, is {factor:.2f} times as thick as at the start when the "
                "galaxies meet. Shapes of remnants are not to be trusted; take more particles.",
                file=sys.stderr,
            )
    return str(report(arguments.output))


def _run_observe(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.data import ImageSetWriter, concatenate
    from emeraldcut.data.text_maps import write_text_maps
    from emeraldcut.mergers import THESIS_MAPS, last_snapshots, observe_run

    options, take = settings
    total = options.views * len(last_snapshots(arguments.source, take.stack))
    facts = {"command": "observe", "settings": settings, "seed": arguments.seed, "inputs": [arguments.source]}
    with (
        ImageSetWriter(arguments.output, **facts, overwrite=arguments.overwrite) as writer,
        _bar(arguments, total) as bar,
    ):
        cameras, maps = (options, THESIS_MAPS) if take.maps else (options,), []
        for images, *rest in observe_run(
            arguments.source, *cameras, take=take, seed=arguments.seed, jobs=arguments.jobs
        ):
            writer.append(images)
            bar.update(len(images))
            maps += rest
    written = [arguments.output]
    if take.maps:
        written.append(str(write_text_maps(concatenate(maps), take.maps, overwrite=arguments.overwrite)))
    return "\n".join(written)


def _run_study(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report
    from emeraldcut.studies import study

    source = arguments.source if arguments.source and Path(arguments.source).is_dir() else None
    with _bar(arguments, None, unit=" parts") as bar:

        def progress(total: int, n: int) -> None:
            bar.total = total
            bar.update(n)

        run = study(
            source,
            arguments.output,
            *settings,
            seed=arguments.seed,
            jobs=arguments.jobs,
            overwrite=arguments.overwrite,
            progress=progress,
        )
    return str(report(run.folder))


def _run_report(arguments: argparse.Namespace, settings: tuple) -> str:
    from emeraldcut.report import report, write_latex, write_pdf

    (options,) = settings
    page = report(arguments.source)
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

    say = (lambda text: None) if arguments.quiet else partial(print, file=sys.stderr, flush=True)
    return str(
        demo(
            arguments.output,
            *settings,
            seed=arguments.seed,
            jobs=arguments.jobs,
            overwrite=arguments.overwrite,
            say=say,
        )
    )


READ = "emeraldcut.data:ReadSettings"
COMMANDS = {
    "demo": Command(
        "the whole chain, small and offline, on a real field with a known answer",
        ("emeraldcut.demo:DemoSettings",),
        _run_demo,
        source=None,
        output="DIR",
        output_help="folder to write; ends with DIR/report.html",
        default_output="emeraldcut-demo",
    ),
    "fetch": Command(
        "get cut-outs of a survey from a server, by position",
        ("emeraldcut.data:FetchSettings",),
        _run_fetch,
        source=None,
        output="DIR",
        output_help="folder to write: a FITS file a position, and cutouts.parquet; what is there is not fetched again",
    ),
    "detect": Command(
        "find the sources in mosaics: a catalogue for --catalogue of the other commands",
        ("emeraldcut.frame:DetectSettings",),
        _run_detect,
        source="a mosaic of any size, or a folder of mosaics, which may overlap: FITS, PNG, JPEG, TIFF, NPY",
        source_name="MOSAICS",
    ),
    "synthesise": Command(
        "make labelled images of galaxies of known shape",
        ("emeraldcut.galaxies:SynthesiseSettings",),
        _run_synthesise,
        source=None,
        output="SET",
        output_help="folder to write",
    ),
    "simulate": Command(
        "run a suite of mergers of two galaxies",
        ("emeraldcut.mergers:SuiteSettings", "emeraldcut.mergers:EvolveSettings", "emeraldcut.mergers:ProgramSettings"),
        _run_simulate,
        source="settings of the suite: a TOML file, or the name of a suite that ships with the program",
        source_name="SUITE",
        source_optional=True,
        settings_file="emeraldcut.mergers:suite_file",
        numbered="sequence",
        output="RUN",
        output_help="folder to write: one folder for each merger, suite.ecsv and report.html; a run that was stopped "
        "goes on",
    ),
    "observe": Command(
        "make images of simulated galaxies, from any side",
        ("emeraldcut.mergers:ObserveSettings", "emeraldcut.mergers:TakeSettings"),
        _run_observe,
        source="a run of `simulate`, or a snapshot: Gadget-style HDF5, also of GADGET, SWIFT, AREPO; or what pynbody "
        "reads",
        source_name="RUN",
        output="SET",
        output_help="folder to write",
    ),
    "clean": Command(
        "remove the noise of images",
        ("emeraldcut.frame:CleanSettings", READ),
        _run_clean,
        output="SET",
        output_help="folder to write",
    ),
    "train": Command(
        "train a network on labelled images (needs the extra [train])",
        ("emeraldcut.networks:TrainSettings", READ),
        _run_train,
        source="a labelled set, or any other images with labels; without it galaxies are drawn for the screener",
        source_name="SET",
        source_optional=True,
        output="NETWORK",
        output_help="network folder to write",
    ),
    "export": Command(
        "write a network for other programs",
        (),
        _run_export,
        source="'screener', which ships with the package, or a network folder",
        source_name="NETWORK",
        output="FILE",
        output_help=".onnx (needs the extra [export]), .keras (needs [train]), or a folder for .json and .h5",
    ),
    "convert": Command(
        "write a table, or images, for other programs",
        ("emeraldcut.data:ConvertSettings", READ),
        _run_convert,
        source="a table of any format; with --to, images in any form",
        source_name="TABLE",
        output="FILE",
        output_help="table to write: .parquet, .ecsv, .csv, .fits, .vot, or .reg for DS9; with --to, a folder",
    ),
    "classify": Command(
        "class probabilities of every image",
        ("emeraldcut.networks:ClassifySettings", READ),
        _run_classify,
        output_help="table to write: .parquet, .ecsv, .csv, .fits, .vot, or .out for the thesis's format",
    ),
    "measure": Command(
        "axis ratio, size, and isophote shape with errors of every image",
        ("emeraldcut.isophotes:MeasureSettings", "emeraldcut.isophotes:ProfileSettings", READ),
        _run_measure,
    ),
    "compare": Command(
        "similarity of every image to a reference galaxy",
        ("emeraldcut.similarity:CompareSettings", "emeraldcut.report:ExplainSettings", READ),
        _run_compare,
    ),
    "screen": Command(
        "classify, measure and compare every image; rank the candidates; write a report",
        ("emeraldcut.screening:ScreenSettings", READ),
        _run_screen,
        output="DIR",
        output_help="folder to write; ends with DIR/report.html",
    ),
    "completeness": Command(
        "inject rectangular galaxies into images or an empty sky, screen them, and tell what share is found",
        ("emeraldcut.screening:CompletenessSettings", READ),
        _run_completeness,
        source=None,
        output="DIR",
        output_help="folder to write: completeness.ecsv, completeness.png, injected.parquet, report.html",
    ),
    "study": Command(
        "look at all mergers of a run and tell what share has which shape, and what it depends on",
        ("emeraldcut.studies:StudySettings",),
        _run_study,
        source="a run of `simulate` or a folder of several; or a study whose suites are run first: a TOML file, or the "
        "name of one that ships (small, thesis)",
        source_name="RUN",
        settings_file="emeraldcut.studies:study_file",
        output="DIR",
        output_help="folder to write: images.parquet, shares.ecsv, tests.ecsv, report.html",
    ),
    "report": Command(
        "write a page to read of any finished run; also as PDF, and its tables as LaTeX",
        ("emeraldcut.report:ReportSettings",),
        _run_report,
        source="folder of a run, of a set of images or of a network; or a table of `measure`, `compare` or `classify`",
        source_name="DIR",
        output="PAGE",
        output_help="where the page is copied to, besides DIR/report.html, or TABLE.report.html beside a table",
        default_output="DIR/report.html",
    ),
    "review": Command(
        "judge the candidates of a finished run on a page in the browser (needs the extra [review])",
        ("emeraldcut.review:ReviewSettings",),
        _run_review,
        source="folder of a run of `screen` or `demo`",
        source_name="DIR",
        output="FOLDER",
        output_help="folder to write with --static",
        default_output="DIR/review",
    ),
}


def load(name: str) -> Any:
    """The class or function behind "module:Name"."""
    module, cls = name.split(":")
    return getattr(import_module(module), cls)


def _overview() -> argparse.ArgumentParser:
    """The parser for the bare command: names and one line each, without importing any stage."""
    lines = "\n".join(f"  {name:<12}{command.help}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="emeraldcut",
        description=emeraldcut.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"commands:\n{lines}\n\n`emeraldcut COMMAND --help` lists the flags of one.",
    )
    parser.add_argument("--version", action="version", version=f"emeraldcut {emeraldcut.__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help="what to do")
    return parser


def _command_parser(name: str, command: Command, classes: Sequence[type]) -> argparse.ArgumentParser:
    """The parser of one command."""
    from emeraldcut.settings import add_flags

    parser = argparse.ArgumentParser(
        prog=f"emeraldcut {name}", description=command.help[0].upper() + command.help[1:] + "."
    )
    if command.source:
        count = "?" if command.source_optional else None
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
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default: 0)")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="worker processes (default: 1)")
    cluster = parser.add_mutually_exclusive_group()
    cluster.add_argument("--cluster", metavar="ADDRESS", help="work on a Dask scheduler's workers: tcp://host:8786")
    cluster.add_argument(
        "--slurm", metavar="FILE.toml", help="work on workers that Slurm starts (see docs/clusters.md)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--quiet", action="store_true", help="no progress and no messages")
    add_flags(parser, *classes)
    return parser


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
    from emeraldcut.data.streaming import slurm_cluster

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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; prints what it wrote. Returns 0 done, 1 nothing usable, no room or no answer, 2 wrong usage."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] not in COMMANDS:
        _overview().parse_args(argv or ["--help"])
    name, command = argv[0], COMMANDS[argv[0]]
    if {"-h", "--help"} & set(argv[1:]):
        from emeraldcut.quick_help import stand_ins

        with stand_ins():
            _command_parser(name, command, [load(cls) for cls in command.settings]).parse_args(["--help"])
    from emeraldcut.data import NoImagesError
    from emeraldcut.settings import from_flags

    classes = [load(cls) for cls in command.settings]
    arguments = _command_parser(name, command, classes).parse_args(argv[1:])
    arguments.command = name
    try:
        if command.numbered and arguments.numbered:
            if arguments.source:
                raise ValueError(f"give '{arguments.source}' or --{command.numbered}, not both.")
            arguments.source = f"{command.numbered}_{arguments.numbered}"
        if command.settings_file and arguments.source:
            arguments.settings = load(command.settings_file)(arguments.source) or arguments.settings
        if arguments.jobs < 1:
            raise ValueError(f"--jobs expects at least 1; received {arguments.jobs}.")
        settings = from_flags(arguments, *classes)
        with _workers(arguments) as arguments.jobs:
            print(command.run(arguments, settings))
    except NoImagesError as error:
        print(f"emeraldcut {name}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read our output has gone
        return 0
    except OSError as error:
        if _no_room(error):
            said = f"the disk of '{arguments.output}' is full; make room, then give the same command again."
            print(f"emeraldcut {name}: {said}", file=sys.stderr)
            return 1
        print(f"emeraldcut {name}: {_sentence(error)}", file=sys.stderr)
        return 1 if isinstance(error, ConnectionError) else 2
    except (ValueError, ImportError, RuntimeError, MemoryError) as error:
        print(f"emeraldcut {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"emeraldcut {name}: interrupted.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
