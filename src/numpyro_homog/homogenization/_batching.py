"""Evaluate a function of a long batch in chunks that fit the cache."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, PyTree


def map_in_chunks(fn: Callable, arrays: PyTree, cost: Array, chunk: int) -> PyTree:
    """`fn(arrays)` over the leading axis, `chunk` members at a time, members of like `cost` (batch,) together.

    `fn` maps arrays (chunk, ...) to arrays (chunk, ...), each member on its own. Under `jax.vmap` the new axis joins
    the leading one, so the chunks keep their size.
    """

    @custom_vmap
    def mapped(arrays: PyTree, cost: Array) -> PyTree:
        batch = cost.shape[0]
        if batch <= chunk:
            return fn(arrays)
        num_chunks = math.ceil(batch / chunk)
        order = jnp.argsort(cost)
        slots = jnp.minimum(jnp.arange(num_chunks * chunk), batch - 1)
        chunks = order[slots].reshape(num_chunks, chunk)
        results = jax.lax.map(lambda members: fn(jax.tree.map(lambda array: array[members], arrays)), chunks)
        position = jnp.argsort(order)
        return jax.tree.map(lambda r: r.reshape(num_chunks * chunk, *r.shape[2:])[position], results)

    @mapped.def_vmap
    def _(axis_size: int, batched: list, arrays: PyTree, cost: Array) -> tuple[PyTree, PyTree]:
        def merge(array: Array, is_batched: bool) -> Array:
            array = array if is_batched else jnp.broadcast_to(array, (axis_size, *array.shape))
            return array.reshape(axis_size * array.shape[1], *array.shape[2:])

        merged = jax.tree.map(merge, (arrays, cost), tuple(batched))
        results = mapped(*merged)
        split = jax.tree.map(lambda r: r.reshape(axis_size, r.shape[0] // axis_size, *r.shape[1:]), results)
        return split, jax.tree.map(lambda _: True, split)

    return mapped(arrays, cost)
