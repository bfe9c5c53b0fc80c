"""How many threads are worth using."""

import os

import jax


def num_workers() -> int:
    """Threads worth using: the cores of this process on a CPU, one on an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
