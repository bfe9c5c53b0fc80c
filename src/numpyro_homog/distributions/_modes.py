"""Sums over tensor products of one-dimensional modes, on grids and at scattered points. Pure JAX."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Entries of the largest intermediate array of one chunk of points: 16 MiB in 32 bits.
_CHUNK_ENTRIES = 2**22


def sum_on_grid(coefficients: Float[Array, "..."], modes: list[Float[Array, "_ _"]]) -> Float[Array, "..."]:
    """Coefficients (*batch, K1, ..., Kd) and modes (n_i, K_i) of each axis -> values (*batch, n1, ..., nd).

    One matrix product for each axis.
    """
    d = len(modes)
    for axis_modes in modes:
        coefficients = jnp.tensordot(coefficients, axis_modes, axes=((coefficients.ndim - d,), (1,)))
    return coefficients


def sum_at_points(coefficients: Float[Array, "..."], modes: list[Float[Array, "_ _"]]) -> Float[Array, "..."]:
    """Coefficients (*batch, K1, ..., Kd) and modes (p, K_i) at the points -> values (*batch, p)."""
    values = jnp.tensordot(coefficients, modes[-1], axes=((coefficients.ndim - 1,), (1,)))
    for axis_modes in modes[-2::-1]:
        values = jnp.einsum("...kp,pk->...p", values, axis_modes)
    return values


def in_chunks(
    function: Callable[..., Float[Array, "*batch p"]],
    num_entries: int,
    *points: Float[Array, "*points d"],
) -> Float[Array, "..."]:
    """`function` of the points, (p, d) -> (*batch, p), applied to chunks of them: result (*batch, *points).

    The memory of a chunk is bounded, in derivatives too, where chunks are computed again.

    Args:
        function: what to evaluate.
        num_entries: size of its intermediate arrays for one point.
        points: one or more arrays of the same shape.
    """
    shape, d = points[0].shape[:-1], points[0].shape[-1]
    num = math.prod(shape)
    flat = [array.reshape(num, d) for array in points]
    num_chunks = math.ceil(num * num_entries / _CHUNK_ENTRIES)
    if num_chunks <= 1:
        values = function(*flat)
    else:
        size = math.ceil(num / min(num_chunks, num))
        num_chunks = math.ceil(num / size)
        padded = [jnp.pad(array, ((0, num_chunks * size - num), (0, 0)), mode="edge") for array in flat]
        chunks = [array.reshape(num_chunks, size, d) for array in padded]
        values = jax.lax.map(lambda chunk: jax.checkpoint(function)(*chunk), tuple(chunks))
        values = jnp.moveaxis(values, 0, -2)
        values = values.reshape(*values.shape[:-2], num_chunks * size)[..., :num]
    return values.reshape(*values.shape[:-1], *shape)
