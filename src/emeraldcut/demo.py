"""Demo: the whole chain on a real field, small and offline.

The field is the Hubble picture that ships with scikit-image. Known rectangular galaxies are planted in it, everything
is detected, cut out and screened, and the report says at which ranks the planted ones came back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.table import Table

from emeraldcut.data import ImageSet
from emeraldcut.data.columns import numbers
from emeraldcut.detection import detect_sources
from emeraldcut.galaxies import SynthesiseSettings, draw_galaxy, shapes, synthesise
from emeraldcut.galaxies.profiles import Sersic
from emeraldcut.images import ReadSettings, read_images
from emeraldcut.networks import ClassifySettings, TrainSettings, classify, train
from emeraldcut.report import report
from emeraldcut.report.figures.galleries import field_figure
from emeraldcut.runs.progress import SILENT, Progress
from emeraldcut.runs.run import MANIFEST, Run
from emeraldcut.runs.writing import write_text
from emeraldcut.screening import ScreenSettings, screen_run
from emeraldcut.screening.two_passes import CANDIDATES
from emeraldcut.settings import Settings, setting
from emeraldcut.similarity import CompareSettings, compare
from emeraldcut.tables import read_table, write_table

PSF_FWHM_PIX = 2.2  # half of the compact unsaturated sources of the field have 1.6 to 2.3 (photutils SourceCatalog)


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """How much the demonstration does."""

    planted: int = setting(8, "rectangular galaxies to plant in the field", at_least=1, at_most=60)
    cutout_size: int = setting(64, "side of the cutouts in pixels", at_least=32, at_most=200)
    thesis_epochs: int = setting(
        8, "training epochs of the thesis network, if Keras is installed; 0 skips it", at_least=0
    )


def demo(
    folder: str | Path = "emeraldcut-demo",
    settings: DemoSettings = DemoSettings(),
    *,
    seed: int = 0,
    jobs: int = 1,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda text: None,
    progress: Progress = SILENT,
) -> Run:
    """Plants, detects, cuts out, screens and reports; returns the finished run, with `report.html`.

    Parameters
    ----------
    folder : path to write to
    settings : DemoSettings
    seed : int
        Places and shapes of the planted galaxies.
    jobs : int
        Worker processes for the screening.
    overwrite : bool
        Replace an earlier demonstration.
    say : callable
        Is told what happens, in plain sentences.
    progress : Progress
        Told of the images that are screened and of the epochs of the training.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists() and not overwrite:
        raise FileExistsError(f"'{folder}' holds a finished run; choose another folder or set --overwrite.")
    folder.mkdir(parents=True, exist_ok=True)
    field, catalogue = _field_with_planted_galaxies(settings, seed)
    say(f"{len(catalogue)} galaxies found in a real Hubble field, {settings.planted} of them planted rectangles.")
    mosaic = _write_field(field, folder)
    positions = write_table(catalogue, folder / "catalogue.ecsv", overwrite=True)
    run = screen_run(
        mosaic, folder, ScreenSettings(prevalence=settings.planted / len(catalogue)),
        ReadSettings(catalogue=str(positions), cutout_size=settings.cutout_size), jobs=jobs, overwrite=True,
        progress=progress,
    )  # fmt: skip
    candidates = read_table(run.folder / CANDIDATES)
    rankings = {"emeraldcut screen": _planted_ranks(candidates, "score")}
    say(f"screened; the planted galaxies came back at ranks {_listed(rankings['emeraldcut screen'])}.")
    images = read_images(mosaic, ReadSettings(catalogue=str(positions), cutout_size=settings.cutout_size))
    rankings |= _baselines(images, candidates)
    if settings.thesis_epochs and find_spec("keras"):
        say(f"training the thesis's network for {settings.thesis_epochs} epochs ...")
        try:
            rankings["thesis network"] = _thesis_network(images, folder / "thesis_network", settings, seed, progress)
        except ImportError as error:  # Keras without a backend
            say(f"the thesis's network is left out: {error}")
    field_figure(field, catalogue, candidates, folder / "figures" / "field.png")
    _write_notes(folder, rankings, len(catalogue), settings, seed)
    report(folder)
    return run


def _field_with_planted_galaxies(settings: DemoSettings, seed: int) -> tuple[np.ndarray, Table]:
    """The real field in grey, with rectangular galaxies planted in it, and where everything is.

    The planted galaxies have the fluxes of real ones in the same field, lie where no detected source is within a third
    of a cutout's side, and carry some noise of their own. The catalogue has `id`, `x`, `y` and `planted`; only sources
    whose cutout is wholly inside are kept.
    """
    from skimage.data import hubble_deep_field

    rng = np.random.default_rng(seed)
    field = hubble_deep_field().astype(np.float64) @ (0.299, 0.587, 0.114)
    found = detect_sources(field)
    half, occupied = settings.cutout_size // 2, np.stack([found["x"], found["y"]], axis=1)
    places: list[np.ndarray] = []
    while len(places) < settings.planted:
        place = rng.uniform(half, np.array(field.shape[::-1]) - half - 1)
        if np.min(np.hypot(*(np.concatenate([occupied, places] if places else [occupied]) - place).T)) > half * 0.7:
            places.append(place)
    like = found[(found["area_pix"] > 150) & (found["area_pix"] < 800)]
    for place in places:
        _plant(field, place, float(rng.choice(like["flux"])), rng)
    table = Table({"x": found["x"], "y": found["y"], "planted": np.zeros(len(found), bool)})
    table = table[found["area_pix"] > 100]
    for x, y in places:
        table.add_row((x, y, True))
    ny, nx = field.shape
    inside = (table["x"] > half) & (table["x"] < nx - half) & (table["y"] > half) & (table["y"] < ny - half)
    table = table[inside]
    table = table[rng.permutation(len(table))]  # nothing in the order tells which are planted
    table.add_column(np.array([f"hudf-{i:03d}" for i in range(1, len(table) + 1)], dtype=object), name="id", index=0)
    table["psf_fwhm_pix"] = PSF_FWHM_PIX
    return field, table


def _plant(field: np.ndarray, place: np.ndarray, flux: float, rng: np.random.Generator) -> None:
    """Adds one rectangular galaxy to the field, in place."""
    shape = shapes.superellipse(rng.uniform(0.55, 0.85), rng.uniform(3.5, 6))
    size, corner = 96, np.round(place).astype(int) - 48
    light = draw_galaxy(
        shape,
        Sersic(rng.uniform(0.7, 1.3)),
        size=size,
        radius_pix=rng.uniform(5, 7.5),
        flux=flux,
        centre=tuple(place - corner),
        position_angle_deg=rng.uniform(0, 180),
        psf_fwhm_pix=PSF_FWHM_PIX,
    )
    light = light + rng.normal(0, 0.15, light.shape) * np.sqrt(np.maximum(light, 0))
    y0, x0 = max(corner[1], 0), max(corner[0], 0)
    y1, x1 = min(corner[1] + size, field.shape[0]), min(corner[0] + size, field.shape[1])
    field[y0:y1, x0:x1] += light[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]]


def _write_field(field: np.ndarray, folder: Path) -> Path:
    """The field as a FITS mosaic, as a survey would hand it over."""
    from astropy.io import fits

    path = folder / "field.fits"
    header = fits.Header(
        {"OBJECT": "HUDF with planted galaxies", "ORIGIN": "scikit-image hubble_deep_field, emeraldcut demo"}
    )
    fits.PrimaryHDU(field.astype(np.float32), header).writeto(path, overwrite=True)
    return path


def _planted_ranks(table: Table, column: str) -> list[int]:
    """Ranks (from 1) of the planted galaxies in order of a falling column; rows without a value come last."""
    values = numbers(table[column], -np.inf)
    order = np.argsort(-values, kind="stable")
    return [int(rank) for rank in np.nonzero(np.asarray(table["planted"], bool)[order])[0] + 1]


def _baselines(images: ImageSet, candidates: Table) -> dict[str, list[int]]:
    """Ranks of the planted galaxies by single looks, the thesis's among them."""
    boxiness = candidates.copy()
    boxiness["boxiness"] = -boxiness["a4"]
    return {
        "network alone": _planted_ranks(candidates, "p_rectangular"),
        "a4/a alone": _planted_ranks(boxiness, "boxiness"),
        "framed similarity alone": _planted_ranks(candidates, "similarity"),
        "raw-pixel cosine (thesis)": _planted_ranks(compare(images, CompareSettings(method="cosine")), "similarity"),
    }


def _thesis_network(images: ImageSet, folder: Path, settings: DemoSettings, seed: int, progress: Progress) -> list[int]:
    """Ranks of the planted galaxies by the thesis's network, trained for a few epochs on synthetic galaxies."""
    training = synthesise(
        SynthesiseSettings(number=1200, size=50, classes=("oval", "rectangular"), snr_min=60), seed=seed
    )
    options = TrainSettings(network="thesis", epochs=settings.thesis_epochs)
    train(training, options, seed=seed, progress=progress).save(folder)
    table = classify(images, ClassifySettings(network=str(folder)))
    table["planted"] = images.table["planted"]
    return _planted_ranks(table, "p_rectangular")


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))


def _write_notes(folder: Path, rankings: dict[str, list[int]], n: int, settings: DemoSettings, seed: int) -> None:
    """What the demonstration has to say, for the report."""
    k = settings.planted
    ours = rankings["emeraldcut screen"]
    rows = [
        [name, f"{sum(r <= k for r in ranks)} of {k}", str(max(ranks)), _listed(ranks)]
        for name, ranks in rankings.items()
    ]
    notes = {
        "title": "A known answer, hidden in a real field",
        "paragraphs": [
            f"{k} rectangular galaxies of known shape (drawn with seed {seed}) were planted among {n - k} real sources "
            f"of a Hubble field, with the brightness of real ones. {sum(r <= k for r in ours)} of the {k} are among "
            f"the first {k} candidates; the last one has rank {max(ours)} of {n}.",
            "The table gives the ranks of the planted galaxies by the combined score and by each look alone, the "
            "thesis's raw-pixel cosine included. The real sources are not known to be free of rectangular galaxies.",
        ],
        "table": {"columns": ["ranked by", f"found in the first {k}", "last rank", "ranks"], "rows": rows,
                  "caption": f"Ranks of the planted galaxies among {n}"},
        "figures": [{"file": "figures/field.png", "caption": "The field: planted circled, best candidates boxed."}],
    }  # fmt: skip
    write_text(folder / "notes.json", json.dumps(notes, indent=2))
