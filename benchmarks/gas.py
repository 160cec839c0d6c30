"""How accurate are shocks, a collapse and a gas disc, and what does gas cost in a merger?

    python benchmarks/gas.py [--quick] [--only problems|merger] [--figure FILE]

Sod's shock tube (1978, J. Comp. Phys. 27, 1) in the middle of an open bar, against the exact solution; the collapse of
Evrard (1988, MNRAS 235, 911), against a one-dimensional calculation; and an isothermal gas disc in an isolated galaxy,
which should stay as it is (record `gas-problems`). Then a merger of two dwarfs with a tenth of their discs as gas, next
to one without gas and with the same number of particles (record `gas-merger`).

Keys of the last line:

    *_particles         numbers of particles; of the disc those of its gas
    sod_density, sod_velocity, sod_energy
                        mean error (L1) over the largest value of the exact solution
    evrard_peak, evrard_true_peak
                        largest thermal energy in GM^2/R; the same in one dimension
    evrard_end, evrard_true_end
                        thermal energy at the end, t = 2 sqrt(R^3/GM); the same in one dimension
    evrard_drift        largest relative change of the energy
    disc_scale, disc_height
                        median radius and median height of the gas disc after 0.2 Gyr, over those at the start
    disc_drift          largest relative change of the energy of that galaxy, including what was radiated
    wet_seconds, dry_seconds, ratio, gyr
                        CPU seconds of the mergers with and without gas, their ratio, and the time they cover
    formed              fraction of the gas that became stars in that time
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from emeraldcut.mergers.progenitors import DWARF, make_progenitor
from emeraldcut.mergers.tasks import SuiteSettings, begin, plan
from emeraldcut.nbody.gas import GAMMA
from emeraldcut.nbody.leapfrog import evolve
from emeraldcut.nbody.settings import EvolveSettings
from emeraldcut.nbody.snapshot import COMPONENTS, GRAVITY, KPC_PER_KM_S_GYR, Snapshot
from emeraldcut.nbody.sph import flow_of

GAS = COMPONENTS.index("gas")
SOD_TIME = 0.1  # for lengths of 1 and a density and pressure of 1 on the left
CORE = (0.3, 0.13)  # half length and half width of the part compared, which the bar's surface has not yet affected


def lattice(low: tuple, high: tuple, spacing: float) -> np.ndarray:
    """Places (n, 3) of a body-centred cubic lattice in a box; one fills spacing^3 / 2."""
    axes = [np.arange(a + spacing / 4, b, spacing) for a, b in zip(low, high, strict=True)]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate([corners, corners + spacing / 2])


def gas_at_rest(position: np.ndarray, mass: float, energy: np.ndarray, softening_kpc: float) -> Snapshot:
    """Particles of gas at position (n, 3), of one mass, with a specific internal energy (n,)."""
    n = len(position)
    return Snapshot(
        position.astype(np.float32), np.zeros((n, 3), np.float32), np.full(n, mass, np.float32),
        np.full(n, GAS, np.int8), np.zeros(n, np.int8), internal_energy=energy.astype(np.float32),
        about={"softening_kpc": (softening_kpc,) * len(COMPONENTS)},
    )  # fmt: skip


def riemann(left, right, x_over_t, gamma=GAMMA):
    """Density, velocity and pressure of the exact solution for gas at rest on both sides, (density, pressure), with a
    rarefaction to the left and a shock to the right (Toro 2009, chapter 4)."""
    (density, pressure), (thin, low) = left, right
    sound, a, b = np.sqrt(gamma * pressure / density), 2 / ((gamma + 1) * thin), (gamma - 1) / (gamma + 1) * low
    power = (gamma - 1) / (2 * gamma)

    def behind(p):
        return 2 * sound / (gamma - 1) * (1 - (p / pressure) ** power)

    p = brentq(lambda p: behind(p) - (p - low) * np.sqrt(a / (p + b)), low, pressure)
    speed, ratio = behind(p), (gamma - 1) / (gamma + 1)
    front = np.sqrt(gamma * low / thin * ((gamma + 1) / (2 * gamma) * p / low + power))
    tail = speed - sound * (p / pressure) ** power
    inside = sound - (gamma - 1) / (gamma + 1) * (sound + x_over_t)
    where = [x_over_t < -sound, x_over_t < tail, x_over_t < speed, x_over_t < front]
    shocked = thin * (p / low + ratio) / (ratio * p / low + 1)
    fan = [density * (inside / sound) ** (2 / (gamma - 1)), density * (p / pressure) ** (1 / gamma)]
    return (
        np.select(where, [density, *fan, shocked], thin),
        np.select(where, [0, 2 / (gamma + 1) * (sound + x_over_t), speed, speed], 0),
        np.select(where, [pressure, pressure * (inside / sound) ** (1 / power), p, p], low),
    )


def sod_tube(spacing: float) -> Snapshot:
    """Particles of one mass; the density is 1 Msun/kpc^3 on the left and 1/8 on the right, so gravity is negligible."""
    wide = 0.36
    left = lattice((-0.6, -wide, -wide), (0, wide, wide), spacing / 2)
    right = lattice((0, -wide, -wide), (0.5, wide, wide), spacing)
    energy = np.repeat([1.0, 0.8], [len(left), len(right)]) / (GAMMA - 1)
    # the unit of speed is 100 km/s
    return gas_at_rest(np.concatenate([left, right]), 0.125 * spacing**3 / 2, 1e4 * energy, 1.0)


def sod(spacing: float) -> dict:
    """Sod's tube at `SOD_TIME`, of the particles in the core: x; density, velocity and specific energy as found and
    true (3, n); and the first and last row of `evolve`."""
    until = SOD_TIME / 100 / KPC_PER_KM_S_GYR
    options = EvolveSettings(gas="adiabatic", output_gyr=until, star_efficiency=0.0)
    (_, first), (state, last) = evolve(sod_tube(spacing), options, until_gyr=until)
    place, n = state.position.astype(float), len(state)
    density = flow_of(place, np.zeros((n, 3)), state.mass.astype(float), np.ones(n), np.ones(n)).density
    core = (np.abs(place[:, 1:]) < CORE[1]).all(axis=1) & (np.abs(place[:, 0] + 0.05) < CORE[0])
    x = place[core, 0]
    true_density, true_speed, pressure = riemann((1, 1), (0.125, 0.1), x / SOD_TIME)
    found = np.array([density, state.velocity[:, 0] / 100, state.internal_energy / 1e4])[:, core]
    true = np.array([true_density, true_speed, pressure / true_density / (GAMMA - 1)])
    return {"particles": n, "x": x, "found": found, "true": true, "rows": (first, last)}


def evrard(number: int) -> Snapshot:
    """A sphere of gas at rest with M = 1e10 Msun, R = 1 kpc, density 1/r, u = 0.05 GM/R: a stretched lattice."""
    spacing = (4 * np.pi / 3 * 2 / number) ** (1 / 3)
    place = lattice((-1.2,) * 3, (1.2,) * 3, spacing)
    radius = np.linalg.norm(place, axis=1)
    place = (place * np.sqrt(radius)[:, None])[radius < 1]
    return gas_at_rest(place, 1e10 / len(place), np.full(len(place), 0.05 * GRAVITY * 1e10), 0.03)


def collapse(number: int, until: float) -> np.ndarray:
    """Kinetic, thermal, potential and all energy (t, 4) of `evrard`, over GM^2/R, at times 0, 0.1 ... `until`."""
    energy, time = GRAVITY * 1e20, 1 / np.sqrt(GRAVITY * 1e10) / KPC_PER_KM_S_GYR
    options = EvolveSettings(gas="adiabatic", output_gyr=0.1 * time, star_efficiency=0.0)
    rows = [row for _, row in evolve(evrard(number), options, until_gyr=until * time)]
    return np.array([[row[k] / energy for k in ("kinetic", "gas_energy", "potential", "energy")] for row in rows])


def shells(until: float, number: int = 150) -> np.ndarray:
    """Kinetic, thermal and potential energy (t, 3) in one dimension, at times 0.1, 0.2 ... for G = M = R = 1.

    Lagrangian shells with the viscosity of von Neumann & Richtmyer (1950, J. Appl. Phys. 21, 232), a method
    independent of ours. It conserves energy to 1 %, and twice as many shells change the peak by 1 %.
    """
    edge, inside, mass = np.sqrt(np.linspace(0, 1, number + 1)), np.linspace(0, 1, number + 1), 1 / number
    weight = np.append(np.full(number - 1, mass), mass / 2)  # of edges
    speed, energy, time, result = np.zeros(number + 1), np.full(number, 0.05), 0.0, []
    volume = 4 * np.pi / 3 * np.diff(edge**3)
    while time < until:
        density, jump = mass / volume, np.diff(speed)
        sound = np.sqrt(GAMMA * (GAMMA - 1) * energy)
        stress = np.where(jump < 0, density * (2 * jump**2 - 0.5 * sound * jump), 0)
        longest = 0.2 * np.min(np.diff(edge) / (sound + 4 * np.abs(jump)))
        step = min(longest, 0.1 * (len(result) + 1) - time + 1e-9)
        pressure = np.append((GAMMA - 1) * density * energy + stress, 0)
        speed[1:] -= step * (np.diff(pressure) * 4 * np.pi * edge[1:] ** 2 / weight + inside[1:] / edge[1:] ** 2)
        edge = edge + step * speed
        grown = 4 * np.pi / 3 * np.diff(edge**3)
        half = (GAMMA - 1) / 2 * (grown - volume)
        energy = (energy * (1 - half / volume) - stress * (grown - volume) / mass) / (1 + half / grown)
        volume, time = grown, time + step
        if time >= 0.1 * (len(result) + 1):
            result.append((0.5 * weight @ speed[1:] ** 2, mass * energy.sum(), -weight @ (inside[1:] / edge[1:])))
    return np.array(result)


def disc(particles: int, gyr: float) -> tuple[list[tuple[float, float]], list[dict]]:
    """Median radius and height of the gas of an isolated dwarf, and the rows of `evolve`, at each output."""
    settings = replace(
        DWARF, gas_fraction=0.1, gas_particles=particles, star_particles=2 * particles, halo_particles=2 * particles
    )
    sizes, rows = [], []
    run = evolve(make_progenitor(settings, seed=1), EvolveSettings(star_efficiency=0.0), until_gyr=gyr)
    for state, row in run:
        stars, gas = (state.component == COMPONENTS.index(name) for name in ("disc", "gas"))
        place = state.position[gas] - np.median(state.position[stars], axis=0)
        sizes.append((float(np.median(np.hypot(*place[:, :2].T))), float(np.median(np.abs(place[:, 2])))))
        rows.append(row)
    return sizes, rows


def merger(gas: float, particles: int, gyr: float) -> dict:
    """The last row of a merger of two dwarfs of `particles` in total, a tenth of them gas if there is any."""
    fraction = 0.1 if gas else 0.0
    each = particles // 2
    suite = SuiteSettings(
        mass_ratios=(1.0,), gas_fractions=(gas,), orbits=1, control=False, gas_particles=round(fraction * each) or 2,
        halo_particles=round(0.6 * (1 - fraction) * each), star_particles=round(0.4 * (1 - fraction) * each),
    )  # fmt: skip
    *_, (_, row) = evolve(begin(plan(suite)[0], suite, 0), EvolveSettings(output_gyr=0.1), until_gyr=gyr)
    return row


def draw(tube: dict, energies: np.ndarray, true: np.ndarray, path: Path) -> None:
    """Sod's tube and Evrard's collapse, next to the exact solution and the one-dimensional calculation."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3), constrained_layout=True)
    order = np.argsort(tube["x"])
    for axis, name, found, exact in zip(
        axes, ("density", "velocity", "energy"), tube["found"], tube["true"], strict=False
    ):
        axis.plot(tube["x"], found, ".", ms=1, color="0.6")
        axis.plot(tube["x"][order], exact[order], color="k", lw=1)
        axis.set(title=f"Sod: {name}", xlabel="x")
    for column, name in enumerate(("kinetic", "thermal", "potential")):
        line = axes[3].plot(0.1 * np.arange(len(energies)), energies[:, column], label=name)[0]
        axes[3].plot(0.1 * np.arange(1, len(true) + 1), true[:, column], "--", lw=1, color=line.get_color())
    axes[3].set(title="Evrard: energies (dashed: 1-D)", xlabel="time")
    axes[3].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def problems(quick: bool, picture: Path | None) -> dict[str, float]:
    """Figures of Sod's tube, of Evrard's collapse and of the disc, and a picture of the first two."""
    tube = sod(0.06 if quick else 0.04)
    errors = np.abs(tube["found"] - tube["true"]).mean(axis=1) / np.abs(tube["true"]).max(axis=1)
    print("Sod: errors of density, velocity, energy", *(f"{error:.3f}" for error in errors), flush=True)
    particles, disc_particles = (2000, 1000) if quick else (30_000, 10_000)
    energies, true = collapse(particles, 2.0), shells(2.0)
    print(
        f"Evrard: thermal energy at most {energies[:, 1].max():.2f}, in one dimension {true[:, 1].max():.2f}; "
        f"at the end {energies[-1, 1]:.2f} and {true[-1, 1]:.2f}",
        flush=True,
    )
    if picture:
        draw(tube, energies, true, picture)
    sizes, rows = disc(disc_particles, 0.2)
    print(f"disc: radius and height {sizes[0]} kpc, after 0.2 Gyr {sizes[-1]}", flush=True)
    energy = np.array([row["energy"] for row in rows])
    return {
        "sod_particles": tube["particles"],
        **dict(zip(("sod_density", "sod_velocity", "sod_energy"), errors, strict=True)),
        "evrard_particles": particles,
        "evrard_peak": energies[:, 1].max(),
        "evrard_true_peak": true[:, 1].max(),
        "evrard_end": energies[-1, 1],
        "evrard_true_end": true[-1, 1],
        "evrard_drift": np.abs(energies[:, 3] / energies[0, 3] - 1).max(),
        "disc_particles": disc_particles,
        "disc_scale": sizes[-1][0] / sizes[0][0],
        "disc_height": sizes[-1][1] / sizes[0][1],
        "disc_drift": np.abs(energy / energy[0] - 1).max(),
    }


def cost(quick: bool) -> dict[str, float]:
    """Figures of the mergers with and without gas."""
    particles, gyr = (10_000, 0.3) if quick else (100_000, 3.0)
    wet, dry = (merger(gas, particles, gyr) for gas in (0.1, 0.0))
    seconds = [row["force_seconds"] + row["other_seconds"] for row in (wet, dry)]
    return {
        "merger_particles": particles,
        "wet_seconds": seconds[0],
        "dry_seconds": seconds[1],
        "ratio": seconds[0] / seconds[1],
        "gyr": gyr,
        "formed": wet["new_stars_mass"] / (wet["new_stars_mass"] + wet["gas_mass"]),
    }


def main() -> None:
    import record  # only here: tests load this file by its path, for its problems and their solutions

    parser = record.parser(__doc__, "fewer particles and a shorter merger", figure="gas.png")
    parser.add_argument("--only", choices=("problems", "merger"), help="one part of the figures")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    if arguments.only != "merger":
        figures |= problems(arguments.quick, record.figure_of(arguments))
        record.save("gas-problems", figures, arguments)
    if arguments.only != "problems":
        found = cost(arguments.quick)
        record.save("gas-merger", found, arguments)
        figures |= found
    record.show(figures)


if __name__ == "__main__":
    main()
