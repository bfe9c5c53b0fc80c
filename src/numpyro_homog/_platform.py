"""What depends on the device: threads worth using, and how much is worked on at a time."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import jax
import numpy as np

_LAPACK_CALL = 'custom_call_target="lapack_'


def on_accelerator() -> bool:
    """Whether the default device is another than a CPU."""
    return jax.default_backend() != "cpu"


def num_workers(program: jax.stages.Compiled | None = None) -> int:
    """Threads worth using: the cores of this process on a CPU, one on an accelerator.

    One thread for a program that calls LAPACK: on a batch of matrices such a call waits for threads of the pool that it
    occupies, and several of them wait for one another forever (jaxlib 0.10).
    """
    if on_accelerator() or (program is not None and _LAPACK_CALL in (program.as_text() or "")):
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_threads(name: str, fn: Callable, items: Iterable, num_threads: int) -> Generator:
    """`fn` of each item, in order, on threads `name` whose arithmetic is that of the caller.

    What has not begun when the iterator is closed is cancelled.
    """
    x64 = jax.config.read("jax_enable_x64")  # `with jax.enable_x64(...)` holds for one thread

    def run(item):
        with jax.enable_x64(x64):
            return fn(item)

    results: Any = _pool(name, num_threads).map(run, items)
    try:
        yield from results
    finally:
        results.close()


def map_everywhere(name: str, fn: Callable, items: Sequence, num_threads: int) -> list:
    """As `map_in_threads`, shared out to all processes that `jax.distributed` has joined; all get the whole list.

    The items are the same in all processes, and `fn` makes pytrees of NumPy arrays, of one shape and dtype for all.
    """
    num_processes = jax.process_count()
    # Padded with the last item, so that all processes have equally many.
    num_rounds = -(-len(items) // num_processes)
    mine = [items[min(i * num_processes + jax.process_index(), len(items) - 1)] for i in range(num_rounds)]
    found = list(map_in_threads(name, fn, mine, num_threads))
    if num_processes == 1:
        return found
    from jax.experimental.multihost_utils import process_allgather

    stacked = process_allgather(jax.tree.map(lambda *arrays: np.stack(arrays), *found))
    return [jax.tree.map(lambda x: x[i % num_processes, i // num_processes], stacked) for i in range(len(items))]  # noqa: B023


@functools.cache
def _pool(name: str, num_threads: int) -> concurrent.futures.ThreadPoolExecutor:
    """Threads that live as long as the process: to start them costs as much as to solve some cells."""
    return concurrent.futures.ThreadPoolExecutor(num_threads, name)


# An accelerator is filled by thousands of cells. What it is given does not depend on its memory, for a chunk has its
# own noise: the same key gives the same specimens on all of them.


def voxels_per_chunk() -> int:
    """Voxels that are solved at a time: they stay in the cache of a core, or fill an accelerator."""
    return 2**22 if on_accelerator() else 2**14


def specimens_per_chunk(num_bytes: int) -> int:
    """Specimens that are simulated at a time, of so many bytes of values and fields each.

    They and their tangents stay in the cache of a core, or fit into the memory of an accelerator.
    """
    if on_accelerator():
        return max(1, 2**28 // max(1, num_bytes))
    return max(1, min(4096, 2**19 // max(1, num_bytes)))


def largest_slice(num_members: int) -> int:
    """Members of a batch that one call of a program is given at most."""
    return num_members if on_accelerator() else 2048
