"""Runs one of AMUSE's codes on particles from a file: `python amuse_worker.py FOLDER`, with the Python that has AMUSE.

A program of its own, which knows nothing of emeraldcut: AMUSE needs numpy < 2, and its codes are under the GPL. FOLDER
holds `job.json` (code, processes, gyr_of_outputs, longest_step_gyr, accuracy, and for gas: isothermal, neighbours,
viscosity, courant, seed, star_softening in kpc as of Plummer, star_threshold in Msun/kpc^3, and star_rate, the part of
gas of 1 Msun/kpc^3 that becomes stars in 1 Gyr) and `begin.npz` (position in kpc, velocity in km/s, mass in Msun,
softening, is_gas, and energy of a unit of mass of gas in (km/s)^2, of isothermal gas the square of its sound speed).

For each output it writes `state_NNNN.npz`: position, velocity, energy and density of gas, formed_gyr (when a particle
of gas became a star), all three NaN for other particles; kinetic and potential energy of the code in Msun (km/s)^2; and
time_gyr. Times are counted from the beginning.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from amuse.datamodel import Particles
from amuse.units import nbody_system, units

PIECE = 16  # steps of Gadget-2 after which their length is chosen anew
SHORTEST_GYR = 1e-5  # the first step, before forces are known
SPLINE = 1.4  # a spline of radius 2.8 e, which Fi counts as 1.4 e, is as deep as a Plummer sphere of softening e
SPEED_SQUARED, DENSITY = units.kms**2, units.MSun / units.kpc**3
ENERGY = units.MSun * SPEED_SQUARED
PLACES = ["x", "y", "z", "vx", "vy", "vz"]


def fi(job, begin, **options):
    """Fi and how it advances. Steps are power-of-two fractions of one step; their criterion is ours."""
    from amuse.community.fi.interface import Fi

    code = Fi(nbody_system.nbody_to_si(1e9 | units.MSun, 1 | units.kpc), **options)
    values = code.parameters
    values.use_hydro_flag = bool(begin["is_gas"].any())
    values.epsilon_squared = (SPLINE * begin["softening"].max() | units.kpc) ** 2  # it limits that of steps
    values.timestep = job["longest_step_gyr"] | units.Gyr
    values.square_root_timestep_flag, values.acc_timestep_flag = True, False
    values.sqrt_timestep_crit_constant = job["accuracy"] / SPLINE**0.5
    values.quadrupole_moments_flag = True
    values.eps_is_h_flag = False
    values.isothermal_flag, values.integrate_entropy_flag = job["isothermal"], not job["isothermal"]
    values.gamma = 1.0 if job["isothermal"] else 5 / 3
    values.n_smooth = job["neighbours"]
    values.artificial_viscosity_alpha, values.beta = job["viscosity"], 2 * job["viscosity"]
    values.balsara_flag = True
    values.courant = job["courant"]
    return code, code.evolve_model


def gadget2(job, begin, **options):
    """Gadget-2 and how it advances.

    In AMUSE it is built with a limiter of steps by which gravity does not limit the steps of particles without gas:
    they are the longest allowed. So the longest allowed is made accuracy * sqrt(softening / acceleration) of the
    particle for which this is the shortest, again and again.
    """
    from amuse.community.gadget2.interface import Gadget2

    code = Gadget2(number_of_workers=job["processes"], **options)
    values, softening = code.parameters, begin["softening"][0] | units.kpc
    values.epsilon_squared = softening**2
    values.max_size_timestep = SHORTEST_GYR | units.Gyr
    values.time_max = 1.01 * job["gyr_of_outputs"][-1] | units.Gyr
    values.time_limit_cpu = 1e9 | units.s
    values.gadget_output_directory = str(Path.cwd())

    def advance(end):
        while code.model_time < end * (1 - 1e-6):
            largest, step = code.dm_particles.acceleration.lengths().max(), values.max_size_timestep
            if largest.number > 0:
                step = min(job["accuracy"] * (softening / largest).sqrt(), job["longest_step_gyr"] | units.Gyr)
                values.max_size_timestep = step
            code.evolve_model(min(code.model_time + PIECE * step, end))

    return code, advance


class Matter:
    """All particles in a code: `dark`, which feel gravity alone, and `gas`. `row` is a particle's place in the file."""

    def __init__(self, code, begin):
        own = Particles(len(begin["mass"]))
        own.row = np.arange(len(own))
        own.mass = begin["mass"] | units.MSun
        own.position = begin["position"] | units.kpc
        own.velocity = begin["velocity"] | units.kms
        own.radius = SPLINE * begin["softening"] | units.kpc  # only Fi asks for it
        self.code, self.formed_gyr = code, np.full(len(own), np.nan)
        self.dark, self.gas = own[~begin["is_gas"]].copy(), own[begin["is_gas"]].copy()
        code.dm_particles.add_particles(self.dark)
        if len(self.gas):
            self.gas.u = begin["energy"][begin["is_gas"]] | SPEED_SQUARED
            self.gas.h_smooth = self.gas.radius  # it becomes the softening of gravity
            code.gas_particles.add_particles(self.gas)

    def state(self):
        """Takes over what the code has, and returns it by rows of the file."""
        n = len(self.formed_gyr)
        shapes = {"position": (n, 3), "velocity": (n, 3), "energy": (n,), "density": (n,)}
        found = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
        parts = [(self.dark, self.code.dm_particles)]
        if len(self.gas):
            parts.append((self.gas, self.code.gas_particles))
            found["energy"][self.gas.row] = self.code.gas_particles.u.value_in(SPEED_SQUARED)
            found["density"][self.gas.row] = self.code.gas_particles.density.value_in(DENSITY)
        for own, inside in parts:
            inside.new_channel_to(own).copy_attributes(PLACES)
            found["position"][own.row] = own.position.value_in(units.kpc)
            found["velocity"][own.row] = own.velocity.value_in(units.kms)
        return found | {"formed_gyr": self.formed_gyr}

    def form_stars(self, gyr, job, random):
        """Gas particles become stars, each as a whole, with the chance of Schmidt's law in the `gyr` that have passed.

        Fi has a law of its own, but not for gas of one temperature.
        """
        if not (len(self.gas) and job["star_rate"]):
            return
        density = self.code.gas_particles.density.value_in(DENSITY)
        rate = np.where(density < job["star_threshold"], 0, job["star_rate"] * np.sqrt(density))
        chosen = random.random(len(density)) < -np.expm1(-rate * gyr)
        if not chosen.any():
            return
        self.code.gas_particles.new_channel_to(self.gas).copy_attributes(PLACES)
        formed = self.gas[chosen].copy()
        formed.radius = SPLINE * job["star_softening"] | units.kpc
        self.formed_gyr[formed.row] = self.code.model_time.value_in(units.Gyr)
        self.code.gas_particles.remove_particles(formed)
        self.gas.remove_particles(formed)
        self.code.dm_particles.add_particles(formed)
        self.dark.add_particles(formed)


def main(folder):
    """Moves the particles from output to output."""
    os.chdir(folder)
    job, begin = json.loads(Path("job.json").read_text()), np.load("begin.npz")
    log = {"channel_type": "sockets", "redirection": "file", "redirect_file": "code.txt"}
    code, advance = {"fi": fi, "gadget2": gadget2}[job["code"]](job, begin, **log)
    matter, random, times = Matter(code, begin), np.random.default_rng(job["seed"]), job["gyr_of_outputs"]
    for number, gyr in enumerate(times):
        if number:
            span = gyr - times[number - 1]
            parts = round(span / job["longest_step_gyr"]) if len(matter.gas) and job["star_rate"] else 1
            for end in np.linspace(times[number - 1], gyr, parts + 1)[1:]:
                advance(end | units.Gyr)
                matter.form_stars(span / parts, job, random)
        np.savez(
            "state.tmp.npz",
            **matter.state(),
            kinetic=code.kinetic_energy.value_in(ENERGY),
            potential=code.potential_energy.value_in(ENERGY),
            time_gyr=code.model_time.value_in(units.Gyr),
        )
        os.replace("state.tmp.npz", f"state_{number:04d}.npz")
        print(f"output {number} at {gyr:.4f} Gyr", flush=True)
    code.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
