"""Directions of the interfaces near each voxel, from the fractions of the phases."""

import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._operator import add_halo


def normal_moments(
    values: Float[Array, "..."], spacing: tuple[float, ...], order: int = 2
) -> dict[tuple[int, ...], Float[Array, "..."]]:
    """Moments of the interface normals around each voxel: the mean of n_i n_j ..., weighted by the jump.

    From the gradients g of `values` at the corners of the voxel (2^d voxels each), n = g / |g| with weight |g|. The
    trace is one: beside a straight interface the second moment is n n', and far from all interfaces it is I / d.

    Args:
        values: what marks the phases, periodic, shape (*batch, *grid) with one grid axis for each entry of `spacing`.
        spacing: edge lengths of a voxel.
        order: 2 or 4.

    Returns:
        Components by sorted index, each of the shape of `values`.
    """
    d, dtype = len(spacing), values.dtype
    eps = jnp.asarray(jnp.finfo(dtype).eps, dtype)
    shape = values.shape[values.ndim - d :]
    corners = tuple(n + 1 for n in shape)
    # Barriers keep XLA from computing what several consumers share once more for each of them.
    padded = jax.lax.optimization_barrier(add_halo(values, d))
    around = {step: _window(padded, step, corners) for step in itertools.product((0, 1), repeat=d)}
    gradient = []
    for i in range(d):
        terms = [value if step[i] else -value for step, value in around.items()]
        gradient.append(sum(terms[1:], terms[0]) * jnp.asarray(min(spacing) / spacing[i] / 2 ** (d - 1), dtype))
    inverse_norm = jax.lax.rsqrt(sum((component**2 for component in gradient[1:]), gradient[0] ** 2) + eps**2)
    moments = {}
    for index in itertools.combinations_with_replacement(range(d), order):
        moments[index] = math.prod((gradient[i] * inverse_norm for i in index[1:]), start=gradient[index[0]])
    for index, moment in jax.lax.optimization_barrier(moments).items():
        terms = [_window(moment, step, shape) for step in itertools.product((0, 1), repeat=d)]
        mean = sum(terms[1:], terms[0]) / 2**d
        share = _isotropic_moment(index, d)
        moments[index] = mean + eps * share if share else mean
    trace = contract(moments, (), order)
    return {index: moment / trace for index, moment in moments.items()}


def contract(moments: dict[tuple[int, ...], Array], index: tuple[int, ...], order: int) -> Array:
    """Component `index` of the moment of lower order: the sum over pairs of equal further indices."""
    d = 1 + max(key[-1] for key in moments)
    pairs = itertools.product(range(d), repeat=(order - len(index)) // 2)
    terms = [moments[tuple(sorted((*index, *pair, *pair)))] for pair in pairs]
    return sum(terms[1:], terms[0])


def _isotropic_moment(index, d):
    """Component of the moment of normals of all directions, in d dimensions."""
    if len(index) == 2:
        return float(index[0] == index[1]) / d
    i, j, k, l = index  # noqa: E741
    return ((i == j) * (k == l) + (i == k) * (j == l) + (i == l) * (j == k)) / (d * (d + 2))


def _window(padded, step, shape):
    """The part of the last axes that begins at `step` and has shape `shape`."""
    lead = padded.ndim - len(shape)
    stop = (*padded.shape[:lead], *(i + n for i, n in zip(step, shape, strict=True)))
    return jax.lax.slice(padded, (*(0,) * lead, *step), stop)
