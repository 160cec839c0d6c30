"""The sum over all pairs of particles by JAX, for a GPU."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from emeraldcut.errors import MissingPackageError

BLOCK = 4096  # particles whose pairs with as many others are summed at once, at most


def sum_pairs(position: np.ndarray, mass: np.ndarray, softening: np.ndarray) -> np.ndarray:
    """Field (n, 4), acceleration and potential for G = 1, of particles at each other's places, in single precision.

    As `gravity.accelerations` defines it; position (n, 3), mass (n,), softening (n,). A coordinate is the sum of two
    numbers in single precision, so that the distance of close pairs is exact however far they are from the origin
    (Dekker 1971, Numer. Math. 18, 224). JAX chooses the device: the first GPU that it sees, else the processor.

    Raises ImportError where there is no JAX.
    """
    n = len(mass)
    block = min(BLOCK, 1 << (n - 1).bit_length())
    nothing = -n % block  # particles without mass that fill the last block
    place = np.pad(position - position.mean(axis=0), ((0, nothing), (0, 0))).T
    high = place.astype(np.float32)
    low = (place - high).astype(np.float32)
    mass = np.pad(mass, (0, nothing)).astype(np.float32)
    soft = np.pad(0.5 * softening**2, (0, nothing), constant_values=1.0).astype(np.float32)
    particles = (*high, *low, mass, soft, np.arange(n + nothing))
    field = _compile()(*(values.reshape(-1, block) for values in particles))
    return np.asarray(field, np.float64).transpose(0, 2, 1).reshape(-1, 4)[:n]


@cache
def _compile() -> Any:
    """The function that JAX compiles; it returns the field (blocks, 4, particles).

    It takes arrays (blocks, particles): x, y, z; what they lack in single precision; mass, half of the squared
    softening, number.
    """
    try:
        import jax
        from jax import lax
        from jax import numpy as jnp
    except ImportError as error:
        raise MissingPackageError(f"the engine 'jax' needs JAX ({error}): pip install 'emeraldcut[jax]'.") from error

    def field(*particles: Any) -> Any:
        def of_all(targets: tuple[Any, ...]) -> Any:
            own = [values[:, None] for values in targets]

            def add(total: Any, sources: tuple[Any, ...]) -> tuple[Any, None]:
                x, y, z = ((sources[k] - own[k]) + (sources[k + 3] - own[k + 3]) for k in range(3))
                inverse = lax.rsqrt(x * x + y * y + z * z + (sources[7] + own[7]))
                p = jnp.where(sources[8] == own[8], 0, sources[6] * inverse)
                f = p * inverse * inverse
                return total + jnp.stack([(f * x).sum(1), (f * y).sum(1), (f * z).sum(1), -p.sum(1)]), None

            return lax.scan(add, jnp.zeros((4, len(targets[0])), jnp.float32), particles)[0]

        return lax.map(of_all, particles)

    return jax.jit(field)
