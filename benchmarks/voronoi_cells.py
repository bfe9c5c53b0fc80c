"""Sharp Voronoi cells of several phases, in any dimension, for either law."""

import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh


def labels(seed: int, shape: tuple[int, ...], num_seeds: int = 10) -> np.ndarray:
    """Nearest of uniform seeds on the torus, modulo five."""
    rng = np.random.default_rng(seed)
    centers = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij"), -1)
    distances = []
    for place in rng.random((num_seeds, len(shape))):
        offset = np.abs(centers - place)
        distances.append(np.sum(np.minimum(offset, 1 - offset) ** 2, -1))
    return np.argmin(distances, axis=0) % 5


def voronoi_field(shape: tuple[int, ...], law, num_cells: int, moduli: np.ndarray):
    """Batch of cells in 32 bits: conductivities k of the phases, or Lame parameters .6 k and .4 k in elasticity."""
    phases = np.stack([labels(seed, shape) for seed in range(num_cells)]) % len(moduli)
    k = jnp.asarray(moduli[phases], jnp.float32)
    return k if isinstance(law, nh.Conductivity) else (0.6 * k, 0.4 * k)
