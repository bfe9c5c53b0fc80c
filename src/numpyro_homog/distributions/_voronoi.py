"""Voronoi cells of many seeds on the torus, in voxels. Pure JAX: no NumPyro here."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from numpyro_homog.grids import Grid

from ._fractions import SquaredDistance, cut_voxels
from ._search import nearest_seed, nearest_seeds

_VOXELS_AT_A_TIME = 4096  # members of a batch are done one after the other, in groups that stay in the cache


@eqx.filter_jit
def voronoi_phases(
    seeds: Float[Array, "*#batch seeds d"], membership: Float[Array, "*#batch seeds phases"], grid: Grid, *, sharp: bool
) -> Float[Array, "*batch_and_grid phases"]:
    """Volume fraction of each phase in each voxel, given the phases of the cells of K seeds.

    Interfaces are straight and cut the voxels exactly, as long as no more cells meet a voxel than `num_cells(grid, K)`;
    of those that do, the cells of the nearest seeds share the voxel. Continuous, with derivatives in seeds (almost
    everywhere) and membership, the shares of the phases in each cell; if `sharp`, a voxel belongs to the seed nearest
    to its centre, and derivatives are in membership only. Seeds are taken modulo the period. Costs what grows with the
    voxels; memory for one group of cells at a time.
    """
    batch = jnp.broadcast_shapes(seeds.shape[:-2], membership.shape[:-2])
    num, size = math.prod(batch), max(1, _VOXELS_AT_A_TIME // grid.num_voxels)
    parts = [jnp.broadcast_to(p, (*batch, *p.shape[-2:])).reshape(num, *p.shape[-2:]) for p in (seeds, membership)]
    if num > size:
        groups = -(-num // size)
        padded = [jnp.pad(p, ((0, groups * size - num), (0, 0), (0, 0)), mode="edge") for p in parts]
        grouped = [p.reshape(groups, size, *p.shape[1:]) for p in padded]
        phases = jax.lax.map(lambda group: _rasterise(group[0], group[1], grid, sharp), grouped)
        phases = phases.reshape(groups * size, *phases.shape[2:])[:num]
    else:
        phases = _rasterise(parts[0], parts[1], grid, sharp)
    return phases.reshape(*batch, *phases.shape[1:])


def num_cells(grid: Grid, num_seeds: int) -> int:
    """How many cells may share a voxel: enough for all but one voxel in a hundred if the seeds are uniform.

    Too few for that in space if a voxel is wider than .35 spacings of the seeds.
    """
    edge = max(grid.spacing) / (math.prod(grid.lengths) / num_seeds) ** (1 / grid.ndim)  # in spacings of the seeds
    widest = ((0.1, 4), (0.2, 5), (0.25, 6)) if grid.ndim == 3 else ((0.25, 4), (0.35, 5), (0.5, 6))
    return min(num_seeds, next((num for width, num in widest if edge <= width), 8))


def _rasterise(
    seeds: Float[Array, "batch seeds d"], membership: Float[Array, "batch seeds phases"], grid: Grid, sharp: bool
) -> Float[Array, "batch *grid phases"]:
    batch, num_seeds, _ = seeds.shape
    held, num = jax.lax.stop_gradient(seeds), num_cells(grid, num_seeds)
    if sharp:
        return jnp.stack(_taken(membership, nearest_seed(held, grid), grid), axis=-1)
    if num < num_seeds:
        which = nearest_seeds(held, grid, num)
    else:
        which = jnp.arange(num, dtype=jnp.int32).reshape(num, 1, *[1] * grid.ndim)
        which = jnp.broadcast_to(which, (num, batch, *grid.shape))
    centers = grid.centers(seeds.dtype)
    offsets = [centers[..., axis] - z for axis, z in enumerate(_taken(seeds, which, grid))]
    shares = cut_voxels(offsets, jnp.zeros((), seeds.dtype), grid, SquaredDistance())
    # A sum of terms and not a reduction, which XLA runs much slower here.
    phases = [sum(shares[..., i] * part[i] for i in range(num)) for part in _taken(membership, which, grid)]
    return jnp.stack(phases, axis=-1)


def _taken(
    values: Float[Array, "batch seeds q"], which: Int[Array, "*near_batch_and_grid"], grid: Grid
) -> list[Float[Array, "*near_batch_and_grid"]]:
    """Each component of `values`, shape (batch, K, q), at the seeds `which`, shape (..., batch, *grid)."""
    batch, num, q = values.shape
    where = which + num * jnp.arange(batch, dtype=jnp.int32).reshape(batch, *[1] * grid.ndim)
    return [values[..., i].ravel().at[where].get(mode="promise_in_bounds") for i in range(q)]
