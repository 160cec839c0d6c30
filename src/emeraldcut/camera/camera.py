"""The camera: images of the stars of a snapshot from any side, with the true shape of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from emeraldcut.camera.particle_isophote import ParticleIsophote, fit_particle_isophote, particle_isophote_example
from emeraldcut.camera.projection import count, project, smooth
from emeraldcut.camera.stars import MassToLight, Stars, gather
from emeraldcut.data.imageset import ImageSet
from emeraldcut.errors import UsageError
from emeraldcut.galaxies.shapes import label_of
from emeraldcut.galaxies.sky import Psf, amplitude, brightest_half, expose, finer_pixels, through_psf
from emeraldcut.nbody.snapshot import Snapshot
from emeraldcut.numerics.jit import compile_ahead
from emeraldcut.numerics.linalg import rotation as turn_to
from emeraldcut.settings import Settings, setting

SUN_MAG = 4.65  # absolute AB magnitude of the Sun in r of the SDSS (Willmer 2018, ApJS 236, 47)
ARCSEC_PER_RADIAN = 206264.806
PROJECTED_HALF_LIGHT = 0.75  # projected over spatial half-light radius (Wolf et al. 2010, MNRAS 406, 1220)
# The thesis's grid of angles in gpar.para, polar angle and azimuth in degrees. There they turn a galaxy before it is
# sent on its way; from where its camera looked is not known. As viewing directions they are this program's reading.
THESIS_DIRECTIONS = tuple(product(range(0, 181, 30), (*range(0, 211, 30), 240, 270, 300, 330, 360)))
_SURE = 2.0  # standard errors by which a shape may be off without another label


@dataclass(frozen=True, kw_only=True)
class ObserveSettings(Settings):
    """How many views, and what camera looks."""

    views: int = setting(100, "images of each snapshot, or of each stack of snapshots", at_least=1, at_most=100_000)
    directions: str = setting(
        "isotropic",
        "viewing directions: isotropic, or the grid of 7 x 13 angles of the thesis",
        choices=("isotropic", "thesis"),
    )
    centre: str = setting(
        "remnant",
        "centre of the images: the densest point, or the midpoint of the two galaxies",
        choices=("remnant", "pair"),
    )
    aligned: bool = setting(False, "rotate stacked snapshots to the principal axes of the last one")
    size: int = setting(64, "side of an image in pixels", at_least=16, at_most=4_096)
    pixel_scale_arcsec: float = setting(0.2, "pixel scale", at_least=1e-6, at_most=3_600)
    distance_mpc: float | None = setting(
        None, "distance; if not given, the one at which radius_pix holds", at_least=1e-6, at_most=1_000_000
    )
    radius_pix: float = setting(
        9.0, "half-light radius of a typical view in pixels, if no distance is given", above=0, at_most=10_000
    )
    psf_fwhm_pix: float = setting(2.5, "FWHM of the PSF in pixels; 0: no PSF", at_least=0, at_most=1_000)
    psf_beta: float = setting(3.5, "beta of the PSF's Moffat profile", above=1, at_most=1_000)
    smoothing: float = setting(
        32.0,
        "number of particles within the smoothing kernel of a pixel; 0: no smoothing",
        at_least=0,
        at_most=1_000_000,
    )
    pixel_values: str = setting(
        "light", "unit of the pixels: counts, or stellar mass in Msun", choices=("light", "mass")
    )
    mass_to_light_disc: float = setting(
        2.0, "mass-to-light ratio of disc stars in solar units, r band", at_least=1e-6, at_most=1_000_000
    )
    mass_to_light_bulge: float = setting(
        3.0, "mass-to-light ratio of bulge stars in solar units, r band", at_least=1e-6, at_most=1_000_000
    )
    mass_to_light_new: float = setting(
        3.0,
        "mass-to-light ratio of stars formed during the run at an age of 10 Gyr; scales as age^0.75",
        at_least=1e-6,
        at_most=1_000_000,
    )
    zero_point_mag: float = setting(27.0, "magnitude of one count", at_least=-100, at_most=100)
    noise: bool = setting(True, "add photon, sky and read-out noise")
    sky_mag_arcsec2: float = setting(21.0, "surface brightness of the sky", at_least=-100, at_most=100)
    gain: float = setting(100.0, "electrons per count", at_least=1e-6, at_most=1e9)
    read_noise_electrons: float = setting(5.0, "read-out noise per pixel", at_least=0, at_most=1e9)
    snr: float | None = setting(
        None, "S/N within the half-light radius; if given, the light is scaled to it", above=0, at_most=1_000_000
    )

    def check(self) -> None:
        """UsageError for images of mass with the noise of light."""
        if self.pixel_values == "mass" and self.noise:
            raise UsageError("noise is that of light; with pixel_values of 'mass' set noise to false.")


# The thesis's density maps: 50 x 50, with nothing of a telescope; `data.text_maps.write_text_maps` writes them.
THESIS_MAPS = ObserveSettings(
    directions="thesis", size=50, psf_fwhm_pix=0.0, smoothing=0.0, noise=False, pixel_values="mass"
)


def observe(
    snapshots: Snapshot | Sequence[Snapshot],
    settings: ObserveSettings = ObserveSettings(),
    *,
    seed: int = 0,
    start: int = 0,
) -> ImageSet:
    """Views `start` .. `start` + `settings.views` - 1 of the endless series that `seed` defines.

    View i depends on the snapshots, the settings, `seed` and i only. Stars shine by their mass and their component's
    mass-to-light ratio, new ones by their age; there is no dust. Several snapshots of one run are stacked, each on its
    own centre, to lessen the noise of particles.

    Parameters
    ----------
    snapshots : Snapshot or sequence of Snapshot
    settings : ObserveSettings
    seed, start : int

    Returns
    -------
    ImageSet
        `pixels` (views, size, size) float32, counts without the sky's level, or Msun. The table holds `merger` and
        `galaxy` (for splits), whatever else the snapshot's `about` knows (its seed as `merger_seed`), `time_gyr`,
        `stacked` (number of snapshots), `separation_kpc` of the progenitors' centres, `view`, `seed`, the direction
        towards the camera `view_theta_deg`, `view_phi_deg` (polar angle and azimuth in the simulation) and the angle
        `view_roll_deg` by which the image is then turned counter-clockwise; `distance_mpc`, `kpc_per_pix`,
        `pixel_scale_arcsec`, `psf_fwhm_pix`, `sky_sigma`, `zero_point_mag`, `truth_mag` (apparent, of all stars) and
        `truth_snr` (as in `galaxies.synthesise`).
        Truth from the projected stars, not from pixels (see `camera.particle_isophote.fit_particle_isophote`): that of
        the isophote at 1.5 half-light semi-major axes, `truth_axis_ratio`, `truth_position_angle_deg`, `truth_x_pix`,
        `truth_y_pix`, `truth_a3`, `truth_a4`, `truth_b4_sin`, `truth_a6`, `truth_a8`, with `_err` the standard error
        from the number of particles; and `truth_radius_pix`, the half-light semi-major axis itself, of all stars of the
        snapshot, tails too. NaN where no isophote settles, as around most pairs of galaxies. `label` is
        `galaxies.shapes.label_of` of that truth, also while galaxies merge, and `other` where there is none. `scored`
        is False in the grey zone between labels, where there is no truth, and where a shape two standard errors away
        has another label.

    Raises
    ------
    ValueError
        No snapshot, too few stars, or numbers that are none; one sentence says which.
    """
    return _observe(snapshots, settings, (settings.noise,), seed, start)[0]


def observe_both(
    snapshots: Snapshot | Sequence[Snapshot],
    settings: ObserveSettings = ObserveSettings(),
    *,
    seed: int = 0,
    start: int = 0,
) -> tuple[ImageSet, ImageSet]:
    """The same views without noise and with it: what `observe` gives with `noise` off and on, in little more time."""
    clear, noisy = _observe(snapshots, replace(settings, noise=True), (False, True), seed, start)
    return clear, noisy


def _observe(
    snapshots: Snapshot | Sequence[Snapshot], settings: ObserveSettings, noises: tuple[bool, ...], seed: int, start: int
) -> list[ImageSet]:
    """A set of the same views, see `observe`, for each of `noises`: with noise or without."""
    compile_ahead("observe", camera_example, particle_isophote_example)
    given = [snapshots] if isinstance(snapshots, Snapshot) else list(snapshots)
    ratios = MassToLight(settings.mass_to_light_disc, settings.mass_to_light_bulge, settings.mass_to_light_new)
    stars = gather(
        given,
        ratios if settings.pixel_values == "light" else None,
        of_pair=settings.centre == "pair",
        aligned=settings.aligned,
    )
    camera = _Camera.at(stars, settings)
    common = _about(stars) | {"stacked": len(given), "seed": seed} | camera.facts()
    pixels = np.zeros((len(noises), settings.views, settings.size, settings.size), np.float32)
    rows: list[list[dict[str, Any]]] = [[] for _ in noises]
    for k in range(settings.views):
        rng = np.random.default_rng([seed, start + k])
        angles = _angles(settings, start + k, rng)
        seen = project(camera.position, rotation(*angles))
        light, exposure = camera.take(seen)
        name = {"id": f"{common['merger']}-{stars.time_gyr:.3f}-{start + k:06d}", "view": start + k}
        view = dict(zip(("view_theta_deg", "view_phi_deg", "view_roll_deg"), angles, strict=True))
        truth = camera.truth(seen)
        for i, noise in enumerate(noises):
            pixels[i, k], more = camera.expose(light, rng) if noise else (light, {})
            rows[i].append(common | name | view | exposure | more | truth)
    return [ImageSet.from_rows(images, known) for images, known in zip(pixels, rows, strict=True)]


def rotation(theta_deg: float, phi_deg: float, roll_deg: float = 0.0) -> np.ndarray:
    """The matrix (3, 3) that turns the simulation's axes into the image's x, y and the direction to the camera.

    The camera looks from polar angle theta and azimuth phi; image x is then along growing azimuth and y along falling
    theta, before the image is turned counter-clockwise by `roll_deg`.
    """
    return turn_to((0.0, roll_deg - 90.0)) @ turn_to((theta_deg, phi_deg)).T


def _angles(settings: ObserveSettings, view: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Direction to the camera and turn of the image in degrees; together uniform over all rotations."""
    if settings.directions == "thesis":
        theta_deg, phi_deg = THESIS_DIRECTIONS[view % len(THESIS_DIRECTIONS)]
        return float(theta_deg), float(phi_deg), 0.0
    return draw_angles(rng)


def draw_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Direction to the camera and turn of the image in degrees, drawn evenly from all rotations."""
    height, phi, roll = rng.uniform(-1, 1), rng.uniform(0, 360), rng.uniform(0, 360)
    return float(np.degrees(np.arccos(height))), phi, roll


def _about(stars: Stars) -> dict[str, Any]:
    """What is known of the run, as plain values of a table."""
    plain = {k: v for k, v in stars.about.items() if isinstance(v, bool | int | float | np.number | str)}
    plain = {"merger_seed" if name == "seed" else name: value for name, value in plain.items()}
    merger = str(plain.get("merger", "snapshot"))
    known = {"merger": merger, "galaxy": merger, "time_gyr": stars.time_gyr, "separation_kpc": stars.separation_kpc}
    return plain | known


@dataclass(frozen=True)
class _Camera:
    """A camera at its place, and what does not change from view to view.

    `position` is in pixels from the middle of the image, `light` in counts (or Msun).
    """

    settings: ObserveSettings
    position: np.ndarray
    light: np.ndarray
    distance_mpc: float
    kpc_per_pix: float

    @classmethod
    def at(cls, stars: Stars, settings: ObserveSettings) -> _Camera:
        kpc_per_arcsec = 1e3 / ARCSEC_PER_RADIAN  # at 1 Mpc
        typical_kpc = PROJECTED_HALF_LIGHT * stars.half_light_kpc
        distance = settings.distance_mpc or (
            typical_kpc / settings.radius_pix / settings.pixel_scale_arcsec / kpc_per_arcsec
        )
        kpc_per_pix = distance * kpc_per_arcsec * settings.pixel_scale_arcsec
        counts = 1.0
        if settings.pixel_values == "light":
            modulus = 5 * np.log10(distance * 1e5)
            counts = 10 ** (-0.4 * (SUN_MAG + modulus - settings.zero_point_mag))  # of one solar luminosity
        return cls(
            settings=settings,
            position=stars.position / np.float32(kpc_per_pix),
            light=(stars.light * counts).astype(np.float32),
            distance_mpc=distance,
            kpc_per_pix=kpc_per_pix,
        )

    def facts(self) -> dict[str, float]:
        """What the table says of all views."""
        known = {
            "distance_mpc": self.distance_mpc,
            "kpc_per_pix": self.kpc_per_pix,
            "pixel_scale_arcsec": self.settings.pixel_scale_arcsec,
            "psf_fwhm_pix": self.settings.psf_fwhm_pix,
        }
        if self.settings.pixel_values == "light":
            known["truth_mag"] = float(self.settings.zero_point_mag - 2.5 * np.log10(self.light.sum(dtype=float)))
        return known

    def take(self, seen: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
        """The light (size, size) of stars at `seen` (2, n), without noise, and what the table says of it."""
        settings, light = self.settings, self._light_on_pixels(seen)
        if settings.pixel_values == "mass":
            return light, {}
        zero_point = settings.zero_point_mag
        if settings.snr is not None:
            brighter = amplitude(light, settings.snr, settings.gain, self._sky[1])
            light, zero_point = light * np.float32(brighter), zero_point + 2.5 * np.log10(brighter)
        return light, {"zero_point_mag": float(zero_point)}

    def expose(self, light: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
        """An image of `light` with noise, and what the table says of that."""
        settings, (sky, sigma) = self.settings, self._sky
        half, number = brightest_half(light)
        snr = half / np.sqrt(max(half, 0.0) / settings.gain + number * sigma**2)
        electrons = {"sky_electrons": sky, "read_noise_electrons": settings.read_noise_electrons, "gain": settings.gain}
        return expose(light, **electrons, rng=rng), {"sky_sigma": sigma, "truth_snr": float(snr)}

    @property
    def _sky(self) -> tuple[float, float]:
        """Electrons of the sky in a pixel, and the noise of a pixel without stars, in counts."""
        settings = self.settings
        magnitudes = settings.sky_mag_arcsec2 - settings.zero_point_mag
        sky = settings.gain * settings.pixel_scale_arcsec**2 * 10 ** (-0.4 * magnitudes)
        return sky, float(np.sqrt(sky + settings.read_noise_electrons**2) / settings.gain)

    def _light_on_pixels(self, seen: np.ndarray) -> np.ndarray:
        """Light seen through the PSF, (size, size) float32; stars outside the image scatter in."""
        settings, psf, fine, margin = self.settings, None, 1, 0
        if settings.psf_fwhm_pix > 0:
            psf = Psf(settings.psf_fwhm_pix, settings.psf_beta)
            fine, margin = finer_pixels(psf)
        widest = settings.size / 16 if settings.smoothing > 0 else 0.0
        beside = int(np.ceil(widest))
        side = fine * (settings.size + 2 * (margin + beside))
        maps = count(seen, self.light, (side, side), float(fine))
        light = smooth(maps, settings.smoothing, fine * widest) if settings.smoothing > 0 else maps[1]
        inner = slice(fine * beside, side - fine * beside)
        return light[inner, inner] if psf is None else through_psf(light[inner, inner], psf)

    def truth(self, seen: np.ndarray) -> dict[str, Any]:
        """What the table says of the true shape."""
        true = fit_particle_isophote(seen, self.light)
        label, scored = judge(true)
        middle = (self.settings.size - 1) / 2
        row = {
            "label": label,
            "scored": scored,
            "truth_x_pix": middle + true.x,
            "truth_y_pix": middle + true.y,
            "truth_radius_pix": true.radius,
            "truth_axis_ratio": true.axis_ratio,
            "truth_axis_ratio_err": true.axis_ratio_error,
            "truth_position_angle_deg": true.position_angle_deg,
            "truth_b4_sin": true.terms["b4"],
        }
        for m in (3, 4, 6, 8):
            row |= {f"truth_a{m}": true.terms[f"a{m}"], f"truth_a{m}_err": true.error}
        return row


def judge(true: ParticleIsophote) -> tuple[str, bool]:
    """The label of a measured outline, and whether it is clear in spite of its error.

    It is scored if `galaxies.shapes.label_of` scores it and gives the same label to every outline two standard errors
    away: more or less a4 and a6, more of the third harmonic and of b4, and another position angle of the major axis, of
    which the error is that of a term over -ln(q): a round box has no major axis, and may as well be a diamond.
    """
    if not np.isfinite(true.error):
        return "other", False
    away, terms = _SURE * true.error, true.terms
    label, scored = label_of(terms)
    if not scored:
        return label, False
    third = 1 + away / max(np.hypot(terms["a3"], terms["b3"]), 1e-9)
    turn = 4 * min(away / max(-np.log(true.axis_ratio), 1e-9), np.pi / 4)
    fourth = complex(terms["a4"], terms["b4"])
    others = [{"a4": terms["a4"] + d} for d in (-away, away)] + [{"a6": terms["a6"] + d} for d in (-away, away)]
    others += [{"a3": terms["a3"] * third, "b3": terms["b3"] * third}]
    others += [{"b4": terms["b4"] + np.copysign(away, terms["b4"])}]
    others += [{"a4": z.real, "b4": z.imag} for z in (fourth * np.exp(1j * turn), fourth * np.exp(-1j * turn))]
    return label, all(label_of(terms | other)[0] == label for other in others)


def camera_example() -> None:
    """What is compiled ahead, see `numerics.jit`."""
    position = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    one = np.ones(len(position), np.int8)
    stars = gather([Snapshot(position, position, one.astype(np.float32), one, one)], None)
    camera = _Camera.at(stars, ObserveSettings(views=1))
    camera.take(project(camera.position, rotation(0.0, 0.0)))
