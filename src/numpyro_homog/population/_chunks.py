"""Chunks of a plate: their size, and a function mapped over them with one Jacobian pass for all derivatives."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from .._platform import specimens_per_chunk


def checked_chunk_size(chunk_size: int | None, num_specimens: int, bytes_per_specimen: int) -> int:
    """Number of specimens in a chunk, by default so many that all chunks are about equal and fit into a cache.

    Raises:
        ValueError: if it is not a positive integer.
    """
    if chunk_size is None:
        most = specimens_per_chunk(bytes_per_specimen)
        return math.ceil(num_specimens / math.ceil(num_specimens / most))
    if int(chunk_size) != chunk_size or chunk_size < 1:
        raise ValueError(f"chunk_size must be a positive integer; got {chunk_size}.")
    return int(chunk_size)


@eqx.filter_custom_jvp
def map_chunks(flat, others):
    """`run(flat, rng_key, chunk)` for all chunks, in sequence; `others` is (run, rng_key, chunks)."""
    run, rng_key, chunks = others
    return jax.lax.map(lambda chunk: run(flat, rng_key, chunk), chunks)


@map_chunks.def_jvp
def _map_chunks_jvp(primals, tangents):
    # The whole Jacobian inside the chunks: one solve serves all its columns, and reverse mode keeps no fields.
    (flat, others), (tangent, other_tangents) = primals, tangents
    run, rng_key, chunks = others
    basis = jnp.eye(flat.size, dtype=flat.dtype)

    def with_jacobian(chunk):
        def along(direction):
            return jax.jvp(lambda x: run(x, rng_key, chunk), (flat,), (direction,))

        return jax.vmap(along, out_axes=(None, -1))(basis)

    values, jacobian = jax.lax.map(with_jacobian, chunks)
    tangent = jnp.zeros_like(flat) if tangent is None else tangent
    # A failed member has no derivative; masking the columns keeps reverse mode free of 0 * NaN.
    jacobian = jax.tree.map(lambda x, columns: jnp.where(jnp.isfinite(x)[..., None], columns, 0), values, jacobian)
    change = jax.tree.map(lambda columns: columns @ tangent, jacobian)
    if jax.tree.leaves(other_tangents):
        # Something else that the model closes over is differentiated too: the ordinary rule, at the usual price.
        def plain(others):
            run, rng_key, chunks = others
            return jax.lax.map(lambda chunk: run(flat, rng_key, chunk), chunks)

        change = jax.tree.map(jnp.add, change, eqx.filter_jvp(plain, (others,), (other_tangents,))[1])
    return values, change
