"""Chunks of a plate: their size, and a function mapped over them with one Jacobian pass for all derivatives."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._platform import specimens_per_chunk


class Specimens(NamedTuple):
    """Simulated specimens with their derivatives in the unconstrained parameters.

    Attributes:
        points: shape (M, p).
        tangents: derivative by path, shape (M, p, P).
        scores: derivative of the log weights, shape (M, P); None where no site is scored.
    """

    points: Float[Array, "specimens components"]
    tangents: Float[Array, "specimens components unconstrained"]
    scores: Float[Array, "specimens unconstrained"] | None


def checked_chunk_size(chunk_size: int | None, num_specimens: int, bytes_per_specimen: int) -> int:
    """Number of specimens in a chunk, by default so many that all chunks are about equal and fit into a cache."""
    if chunk_size is None:
        most = specimens_per_chunk(bytes_per_specimen)
        return math.ceil(num_specimens / math.ceil(num_specimens / most))
    if int(chunk_size) != chunk_size or chunk_size < 1:
        raise ValueError(f"chunk_size must be a positive integer; got {chunk_size}.")
    return int(chunk_size)


def value_and_jacobian(fn: Callable, x: Array, argument: Any, *, is_single: bool) -> tuple[PyTree, PyTree]:
    """`fn(x, argument)` and its derivative in the vector x, last: forward, a tangent for each entry of x.

    If `is_single`, `fn` is of one specimen, the argument has an axis of them, and each is differentiated by itself in
    reverse, with a cotangent for each output.
    """

    def along(transform, argument):
        def with_value(x):
            value = fn(x, argument)
            return value, value

        return transform(with_value, has_aux=True)(x)

    if is_single:
        jacobian, value = jax.vmap(lambda argument: along(jax.jacrev, argument))(argument)
    else:
        jacobian, value = along(jax.jacfwd, argument)
    return value, jacobian


def _map_chunks(flat: Float[Array, " flat"], others: tuple[Callable, Array, PyTree, bool]) -> PyTree:
    """`run(flat, rng_key, chunk)` for all chunks, in sequence; `others` is (run, rng_key, chunks, is_single).

    If `is_single`, `run` takes one specimen, and chunks have an axis of specimens.
    """
    run, rng_key, chunks, is_single = others
    each = jax.vmap(run, (None, None, 0)) if is_single else run
    return jax.lax.map(lambda chunk: each(flat, rng_key, chunk), chunks)


map_chunks = eqx.filter_custom_jvp(_map_chunks)


@map_chunks.def_jvp
def _map_chunks_jvp(primals: tuple, tangents: tuple) -> tuple[PyTree, PyTree]:
    # The whole Jacobian inside the chunks: one solve serves all its columns, and reverse mode keeps no fields.
    (flat, others), (tangent, other_tangents) = primals, tangents
    run, rng_key, chunks, is_single = others

    def with_jacobian(chunk):
        return value_and_jacobian(lambda x, part: run(x, rng_key, part), flat, chunk, is_single=is_single)

    values, jacobian = jax.lax.map(with_jacobian, chunks)
    tangent = jnp.zeros_like(flat) if tangent is None else tangent
    # A failed member has no derivative; masking the columns keeps reverse mode free of 0 * NaN.
    jacobian = jax.tree.map(lambda x, columns: jnp.where(jnp.isfinite(x)[..., None], columns, 0), values, jacobian)
    change = jax.tree.map(lambda columns: columns @ tangent, jacobian)
    if jax.tree.leaves(other_tangents):
        # Something else that the model closes over is differentiated too: the ordinary rule, at the usual price.
        moved = eqx.filter_jvp(lambda others: _map_chunks(flat, others), (others,), (other_tangents,))[1]
        change = jax.tree.map(jnp.add, change, moved)
    return values, change
