"""How many threads are worth using."""

import os

import jax

_LAPACK_CALL = 'custom_call_target="lapack_'


def num_workers(program: jax.stages.Compiled | None = None) -> int:
    """Threads worth using: the cores of this process on a CPU, one on an accelerator.

    Args:
        program: what the threads are to run at the same time. One thread if it calls LAPACK: on a batch of matrices
            such a call waits for threads of the pool that it occupies, and several of them wait for one another forever
            (jaxlib 0.10).
    """
    if jax.default_backend() != "cpu" or (program is not None and _LAPACK_CALL in (program.as_text() or "")):
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
