"""Runs one of AMUSE's codes on particles from a file: `python amuse_worker.py FOLDER`, with the Python that has AMUSE.

A program of its own, which knows nothing of emeraldcut: AMUSE needs numpy < 2, and its codes are under the GPL. FOLDER
holds `job.json` (code, processes, gyr_of_outputs, longest_step_gyr, accuracy) and `begin.npz` (position in kpc,
velocity in km/s, mass in Msun, softening in kpc as of Plummer). For each output it writes `state_NNNN.npz`: position,
velocity, the code's kinetic and potential energy in Msun (km/s)^2, and time_gyr since the beginning.
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
ENERGY = units.MSun * units.kms**2


def fi(job, begin, **options):
    """Fi and how it advances. Steps are power-of-two fractions of one step; their criterion is ours."""
    from amuse.community.fi.interface import Fi

    code = Fi(nbody_system.nbody_to_si(1e9 | units.MSun, 1 | units.kpc), **options)
    values = code.parameters
    values.use_hydro_flag = False
    values.epsilon_squared = (SPLINE * begin["softening"].max() | units.kpc) ** 2  # it limits that of steps
    values.timestep = job["longest_step_gyr"] | units.Gyr
    values.square_root_timestep_flag, values.acc_timestep_flag = True, False
    values.sqrt_timestep_crit_constant = job["accuracy"] / SPLINE**0.5
    values.quadrupole_moments_flag = True
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


def main(folder):
    """Moves the particles from output to output."""
    os.chdir(folder)
    job, begin = json.loads(Path("job.json").read_text()), np.load("begin.npz")
    log = {"channel_type": "sockets", "redirection": "file", "redirect_file": "code.txt"}
    code, advance = {"fi": fi, "gadget2": gadget2}[job["code"]](job, begin, **log)
    own = Particles(len(begin["mass"]))
    own.mass = begin["mass"] | units.MSun
    own.position = begin["position"] | units.kpc
    own.velocity = begin["velocity"] | units.kms
    own.radius = SPLINE * begin["softening"] | units.kpc  # only Fi asks for it
    code.dm_particles.add_particles(own)
    channel = code.dm_particles.new_channel_to(own)
    for number, gyr in enumerate(job["gyr_of_outputs"]):
        if gyr > 0:
            advance(gyr | units.Gyr)
        channel.copy_attributes(["x", "y", "z", "vx", "vy", "vz"])
        np.savez(
            "state.tmp.npz",
            position=own.position.value_in(units.kpc),
            velocity=own.velocity.value_in(units.kms),
            kinetic=code.kinetic_energy.value_in(ENERGY),
            potential=code.potential_energy.value_in(ENERGY),
            time_gyr=code.model_time.value_in(units.Gyr),
        )
        os.replace("state.tmp.npz", f"state_{number:04d}.npz")
        print(f"output {number} at {gyr:.4f} Gyr", flush=True)
    code.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
