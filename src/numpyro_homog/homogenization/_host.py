"""Long batches outside of JAX transformations: slices over the cores, with a progress bar."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._platform import largest_slice, map_in_threads, num_workers, on_accelerator


def map_slices(
    fn: Callable, cell: PyTree, arrays: PyTree, batch: tuple[int, ...], *, smallest: int, progress: bool = False
) -> PyTree:
    """`fn(cell, arrays)` in slices of the batch axes, in parallel on the cores of a CPU.

    All slices have one size (the last one overlaps its neighbour) and share one compiled program. `fn` is jitted, takes
    concrete arrays (*batch, ...) and returns arrays (*batch, ...), each member on its own; slices below `smallest` do
    not pay.
    """
    total = math.prod(batch)
    size = min(largest_slice(total), max(math.ceil(total / num_workers()), smallest, 1))
    if size >= total:
        return fn(cell, arrays)
    leaves, structure = jax.tree.flatten(arrays)
    if not on_accelerator():
        leaves = [np.asarray(leaf) for leaf in leaves]  # a view, whose slices cost nothing
    flat = [leaf.reshape(total, *leaf.shape[len(batch) :]) for leaf in leaves]
    starts = [min(start, total - size) for start in range(0, total, size)]

    def cut(start: int) -> list[Array]:
        return [jnp.asarray(leaf[start : start + size]) for leaf in flat]

    compiled, workers = _compile(fn, cell, structure, tuple((part.shape, part.dtype) for part in cut(0)))

    def run(start: int) -> PyTree:
        return jax.block_until_ready(compiled(cell, jax.tree.unflatten(structure, cut(start))))

    with contextlib.closing(map_in_threads("homogenize", run, starts, workers)) as results:
        parts = list(_show(results, size, total, progress))
    last = starts[-1] - size * (len(starts) - 1)
    parts[-1] = jax.tree.map(lambda a: a[-last:] if last else a, parts[-1])
    return jax.tree.map(lambda *a: jnp.asarray(np.concatenate(a).reshape(*batch, *a[0].shape[1:])), *parts)


@functools.lru_cache(maxsize=64)
def _compile(
    fn: Any, cell: Any, structure: jax.tree_util.PyTreeDef, signature: tuple
) -> tuple[jax.stages.Compiled, int]:
    """The program of `fn` for slices of one shape, made once and before the threads start; and for how many threads."""
    arrays = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in signature])
    program = fn.lower(cell, arrays).compile()
    return program, num_workers(program)


def _show(results: Iterable, size: int, total: int, progress: bool) -> Iterator:
    """The results, each of `size` members but the last, with a bar if there is to be progress."""
    if not progress:
        yield from results
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="cell") as bar:
        for result in results:
            bar.update(min(size, total - bar.n))
            yield result
