"""Views of mergers: which snapshots are observed from which directions, and how each method classifies them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Row, Table, vstack

from emeraldcut.camera import ObserveSettings, observe_both
from emeraldcut.data import ImageSet, concatenate
from emeraldcut.data.columns import numbers
from emeraldcut.frame import CleanSettings, FrameSet, clean, frame_galaxies
from emeraldcut.galaxies import SynthesiseSettings, synthesise
from emeraldcut.galaxies.shapes import label_of
from emeraldcut.isophotes import measure, radial_profiles
from emeraldcut.mergers import SUITE
from emeraldcut.mergers.tasks import DIAGNOSTICS, snapshots_of
from emeraldcut.nbody import read_snapshot
from emeraldcut.networks import ClassifySettings, classify
from emeraldcut.runs import read_manifest
from emeraldcut.settings import Settings, setting
from emeraldcut.similarity import CompareSettings, References, compare
from emeraldcut.studies.remnants import period_gyr
from emeraldcut.tables import read_table

IMAGE_QUALITIES = ("clear", "noisy", "cleaned")  # without noise, with it, and with it removed again
METHODS = {"truth": "label", "network": "class_network", "isophotes": "class_isophotes"}  # column of their classes
IMAGE_METHODS = ("network", "isophotes")  # those that classify images; the truth is from the particles
PHASES = ("relaxed", "merging", "alone")
FACTS = ("mass_ratio", "gas_fraction", "orbit", "merged_gyr")  # of a merger; masked where they do not apply
INNER, OUTER = (0.3, 0.7), (1.5, 2.5)  # half-light radii between which an inner disc and an outer box are sought
_CALLED = tuple(METHODS[method] for method in IMAGE_METHODS)
MEASURED = ("axis_ratio", "radius_pix", "a4", "a4_err", "a6", "a6_err", "p_boxy")
CLEAR = 20.0  # factor by which the S/N of synthetic galaxies is larger that represent images without noise
_TERMS = {"a3": "a3", "b3": "b3", "a4": "a4", "b4": "b4_sin", "a6": "a6"}


@dataclass(frozen=True, kw_only=True)
class StudySettings(Settings):
    """Which snapshots of each merger are observed, from how many directions, and through which telescope."""

    suites: tuple[str, ...] = setting(
        (), "suites to run first if no run is given: names of presets, or TOML files", reads=True
    )
    views: int = setting(40, "views of each snapshot, from isotropic directions", at_least=1, at_most=100_000)
    snapshots: int = setting(
        2, "last snapshots of each relaxed remnant of which images are taken, one by one", at_least=1, at_most=1_000
    )
    merging_snapshots: int = setting(
        4, "snapshots of each merger between first passage and coalescence, evenly spaced", at_least=1, at_most=1_000
    )
    relaxed_periods: float = setting(
        2.0,
        "circular orbital periods at 2.5 half-light radii, after coalescence, from which a remnant counts as relaxed",
        at_least=0,
    )
    stack: int = setting(
        5, "last snapshots of each remnant whose particles are judged together", at_least=1, at_most=1_000
    )
    snr: float = setting(100.0, "S/N within the half-light radius of the noisy images", above=0)
    radius_pix: float = setting(9.0, "half-light radius of a typical view in pixels", above=0)
    psf_fwhm_pix: float = setting(2.5, "FWHM of the PSF in pixels", above=0)
    network: str = setting("screener", "'screener', which ships with the package, or a network folder", reads=True)
    reference: tuple[str, ...] = setting(
        ("leda074886",), "reference galaxy that remnants are compared with", reads=True
    )
    known: int = setting(
        4000,
        "synthetic galaxies of known shape that calibrate how often each method errs",
        at_least=1,
        at_most=10_000_000,
    )
    best: int = setting(12, "number of remnants most similar to the reference to show", at_least=1, at_most=10_000)
    thesis_epochs: int = setting(
        0,
        "epochs to train the thesis network for, to compare the conclusions of the thesis method on the same mergers; "
        "0: skip (needs the extra [train])",
        at_least=0,
        at_most=10_000,
    )

    def camera(self) -> ObserveSettings:
        """How images with noise are taken."""
        return ObserveSettings(
            views=self.views, snr=self.snr, radius_pix=self.radius_pix, psf_fwhm_pix=self.psf_fwhm_pix
        )


@dataclass(frozen=True)
class MergerSnapshot:
    """A snapshot of a merger; `facts` are its properties, which become columns of all its images."""

    file: Path
    number: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class MergerCourse:
    """One task of a finished suite: a merger, or a galaxy alone.

    Attributes
    ----------
    files : list of Path
        All its snapshots, by time.
    times, apart : (n,) arrays
        Their times in Gyr, and the distances of both centres in kpc.
    period_gyr : float
        Circular orbital period at the largest radius that is judged, at the end.
    facts : dict
        FACTS, `model`, `merger`, and `orbit_id`, which mergers share that are on one orbit.
    """

    files: list[Path]
    times: np.ndarray
    apart: np.ndarray
    period_gyr: float
    facts: dict[str, Any]

    @property
    def alone(self) -> bool:
        """Whether it is an isolated control galaxy."""
        return self.facts["mass_ratio"] is None

    @property
    def merged_gyr(self) -> float:
        """Time of coalescence; infinite if there is none, 0 for a galaxy alone."""
        if self.alone:
            return 0.0
        return np.inf if self.facts["merged_gyr"] is None else float(self.facts["merged_gyr"])

    def settled(self, settings: StudySettings) -> np.ndarray:
        """Indices of the snapshots that are late enough to be judged; all of a galaxy alone."""
        wait = 0.0 if self.alone else settings.relaxed_periods * self.period_gyr
        return np.flatnonzero(self.times >= self.merged_gyr + wait)

    def merging(self, settings: StudySettings) -> np.ndarray:
        """Indices of snapshots in the middle of equal parts of the time from first passage to coalescence or the end.

        The first passage is where the separation is least for the first time.
        """
        if self.alone:
            return np.zeros(0, int)
        apart = self.apart
        meeting = np.flatnonzero((apart[1:-1] < apart[:-2]) & (apart[1:-1] <= apart[2:]))
        first = self.times[meeting[0] + 1] if len(meeting) else self.merged_gyr
        between = np.flatnonzero((self.times >= first) & (self.times < self.merged_gyr))
        if len(between) == 0:
            return between
        middles = (np.arange(settings.merging_snapshots) + 0.5) / settings.merging_snapshots * len(between)
        return between[np.unique(middles.astype(int))]

    def facts_at(self, k: int) -> dict[str, Any]:
        """Its facts, and how long ago it has merged at its k-th snapshot, which is negative before it has."""
        since = None if self.alone or np.isinf(self.merged_gyr) else float(self.times[k] - self.merged_gyr)
        periods = None if since is None else since / self.period_gyr
        return self.facts | {"since_merging_gyr": since, "since_merging_periods": periods}


def courses(folder: str | Path) -> list[MergerCourse]:
    """All tasks of all finished suites in and below a folder.

    Raises
    ------
    FileNotFoundError
        There is no finished suite.
    """
    folder = Path(folder)
    found: list[MergerCourse] = []
    suites = sorted(folder.rglob(SUITE))
    if not suites:
        raise FileNotFoundError(f"'{folder}' holds no finished suite (no {SUITE}); expected a run of `simulate`.")
    for table in suites:
        seed = read_manifest(table.parent).get("seed")  # FileNotFoundError, with a sentence, if it is not finished
        model = table.parent.relative_to(folder).as_posix() if len(suites) > 1 else table.parent.resolve().name
        for row in read_table(table):
            own = table.parent / str(row["merger"])
            files, evolution = snapshots_of(own), read_table(own / DIAGNOSTICS)
            facts = {name: None if np.ma.is_masked(row[name]) else row[name] for name in FACTS}
            facts |= {"model": model, "merger": f"{model}/{row['merger']}"}
            facts["orbit_id"] = _orbit_id(row, facts, seed)
            times, apart = (np.asarray(evolution[name], float) for name in ("time_gyr", "separation_kpc"))
            found.append(MergerCourse(files, times, apart, period_gyr(read_snapshot(files[-1])), facts))
    return found


def _orbit_id(row: Row, facts: dict[str, Any], seed: Any) -> str:
    """What mergers on one orbit share. A galaxy alone has its own; runs of former versions drew by seed and number."""
    if facts["mass_ratio"] is None:
        return str(facts["merger"])
    if "orbit_id" in row.colnames and not np.ma.is_masked(row["orbit_id"]):
        return str(row["orbit_id"])
    return f"seed{seed}-{facts['orbit']}"


def chosen_snapshots(found: list[MergerCourse], settings: StudySettings = StudySettings()) -> list[MergerSnapshot]:
    """The snapshots of which images are taken.

    - `relaxed`: the last snapshots of each merger, if they are at least `relaxed_periods` after coalescence
    - `merging`: some between first passage and coalescence, or the end if there is none
    - `alone`: the last snapshots of each isolated control galaxy
    """
    chosen: list[MergerSnapshot] = []
    for course in found:
        late = course.settled(settings)[-settings.snapshots :]
        phases = {"alone": late} if course.alone else {"relaxed": late, "merging": course.merging(settings)}
        for phase, numbers_of in phases.items():
            for k in numbers_of:
                chosen.append(MergerSnapshot(course.files[k], len(chosen), course.facts_at(k) | {"phase": phase}))
    return chosen


def classify_views(
    snapshot: MergerSnapshot,
    settings: StudySettings = StudySettings(),
    *,
    seed: int = 0,
    references: References | None = None,
) -> ImageSet:
    """The images of one snapshot in each of IMAGE_QUALITIES, classified by each of IMAGE_METHODS.

    Besides the properties of the snapshot, the table has these columns:

    - `image_quality`
    - `label`, `truth_a4` ...: class and harmonics of the true outline of the particles
    - `class_network`, `class_isophotes`: the class given by the network, and by `galaxies.shapes.label_of` from the
      measured harmonics; `other` where there is none
    - the measurements of `measure`
    - `similarity` to the `reference`, with `similarity_p`
    - `cos_inclination`: of the line of sight to the axis of the orbit
    - `boxy_around_disky`: whether a4 <= -0.02 between 1.5 and 2.5 half-light radii and a4 >= 0.01 between 0.3 and 0.7,
      like the disc in a box that Graham et al. 2012 found

    `references` that are prepared already are used instead of those of the settings.
    """
    particles, alike = read_snapshot(snapshot.file), CompareSettings(reference=settings.reference)
    own = int(np.random.default_rng([seed, snapshot.number]).integers(2**31))
    clear, noisy = observe_both(particles, settings.camera(), seed=own)
    seen = (clear, noisy, clean(noisy, CleanSettings()))
    for quality, images in zip(IMAGE_QUALITIES, seen, strict=True):
        frames = frame_galaxies(images)
        classified = classify_images(images, settings, frames)
        compared = compare(images, alike, frames=frames, references=references)
        for name in (*_CALLED, *MEASURED, "flag"):
            images.table[name] = classified[name]
        for name in ("similarity", "similarity_p", "reference"):
            images.table[name] = compared[name]
        images.table["boxy_around_disky"] = _boxy_around_disky(images, classified, frames)
        images.table["image_quality"] = quality
        images.table["cos_inclination"] = np.abs(np.cos(np.radians(np.asarray(images.table["view_theta_deg"]))))
        for name, value in snapshot.facts.items():
            images.table[name] = value if value is not None else MaskedColumn(np.zeros(len(images)), mask=True)
    return concatenate(list(seen))


def classify_images(images: ImageSet, settings: StudySettings, frames: FrameSet) -> Table:
    """The measurements of images, and their classes by each of IMAGE_METHODS; see `classify_views`."""
    table = measure(images, frames=frames)
    called = np.array(classify(images, ClassifySettings(network=settings.network), frames=frames)["class"], dtype=str)
    table["class_network"] = np.where(called == "", "other", called)
    terms = {name: numbers(table[column]) for name, column in _TERMS.items()}
    table["class_isophotes"] = [
        label_of({name: values[k] for name, values in terms.items()})[0] if np.isfinite(terms["a4"][k]) else "other"
        for k in range(len(table))
    ]
    return table


def _boxy_around_disky(images: ImageSet, measured: Table, frames: FrameSet) -> np.ndarray:
    """Whether each image (n,) shows a disc inside a box; see `classify_views`."""
    profiles = radial_profiles(images, frames=frames)
    place = {name: k for k, name in enumerate(measured["id"])}
    which = np.array([place[name] for name in profiles["id"]], dtype=int)
    radius = numbers(profiles["isophote_radius_pix"]) / numbers(measured["radius_pix"])[which]
    a4 = numbers(profiles["a4"])
    inner, outer = (_mean_between(a4, radius, ends, which, len(measured)) for ends in (INNER, OUTER))
    return (outer <= -0.02) & (inner >= 0.01)


def _mean_between(
    values: np.ndarray, radius: np.ndarray, ends: tuple[float, float], which: np.ndarray, number: int
) -> np.ndarray:
    """Mean (number,) of the values (n,) of each image `which` (n,) between two radii; NaN where there are none."""
    good = (radius >= ends[0]) & (radius <= ends[1]) & np.isfinite(values)
    total, count = (np.bincount(which[good], w, number) for w in (values[good], None))
    return np.divide(total, count, out=np.full(number, np.nan), where=count > 0)


def known_galaxies(part: range, settings: StudySettings = StudySettings(), *, seed: int = 0) -> Table:
    """How each method classifies synthetic galaxies of known shape that are as large and noisy as the views.

    One row for each galaxy of this `part` of an endless series and each image quality, with `label`, `image_quality`,
    `class_network` and `class_isophotes`. Galaxies in the grey zone between two shapes are included with the label of
    the nearest one.
    """
    camera, tables = settings.camera(), []
    radius = np.array([0.8, 1.25]) * camera.radius_pix / camera.size
    for quality, brighter in (("clear", CLEAR), ("noisy", 1.0)):
        snr = np.array([0.8, 1.25]) * settings.snr * brighter
        drawn = SynthesiseSettings(
            number=len(part), size=camera.size, snr_min=snr[0], snr_max=snr[1], radius_min=radius[0],
            radius_max=radius[1], psf_fwhm_min_pix=camera.psf_fwhm_pix, psf_fwhm_max_pix=camera.psf_fwhm_pix,
            neighbours=0.0, blemishes=0.0, gradient=0.0,
        )  # fmt: skip
        images = synthesise(drawn, seed=seed, start=part.start)
        tables += [_named(images, quality, settings)]
        if quality == "noisy":
            tables += [_named(clean(images, CleanSettings()), "cleaned", settings)]
    return vstack(tables)


def _named(images: ImageSet, quality: str, settings: StudySettings) -> Table:
    table = classify_images(images, settings, frame_galaxies(images))["label", *_CALLED]
    table["image_quality"] = quality
    return table
