"""Compiled programs and the time that compiling them took."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax

from ._platform import num_workers


class Programs:
    """Functions that are compiled once for each name and kind of arguments.

    Attributes:
        seconds: time spent in compiling so far.
    """

    def __init__(self):
        self.seconds = 0.0
        self._compiled: dict[Hashable, jax.stages.Compiled] = {}
        self._num_threads: dict[int, int] = {}

    def compiled(self, name: Hashable, fn: Callable, *args: Any) -> jax.stages.Compiled:
        """`fn` compiled for arguments of these shapes; of all functions of one name the first is taken."""
        key = (name, tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(args)))
        if key not in self._compiled:
            begin = time.perf_counter()
            self._compiled[key] = jax.jit(fn).lower(*args).compile()
            self.seconds += time.perf_counter() - begin
        return self._compiled[key]

    def num_threads(self, program: jax.stages.Compiled) -> int:
        """Threads on which it is worth while to run one of these programs at the same time."""
        if id(program) not in self._num_threads:
            self._num_threads[id(program)] = num_workers(program)
        return self._num_threads[id(program)]

    def __call__(self, name: Hashable, fn: Callable, *args: Any) -> Any:
        """Call `fn`, compiled."""
        return self.compiled(name, fn, *args)(*args)
