"""The counters of what a run costs."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class Costs:
    """What a run has cost so far.

    Attributes:
        num_simulated: specimens simulated (one cell solve each, the tangents included).
        num_evaluations: populations simulated.
        compile_seconds: time spent in compiling; the rest of a run is computing.
    """

    def __init__(self):
        self.num_simulated, self.num_evaluations, self.compile_seconds = 0, 0, 0.0

    def add(self, num_simulated: int) -> None:
        """Count one simulated population."""
        self.num_simulated += num_simulated
        self.num_evaluations += 1

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The counters for a checkpoint; the clock is not part of it."""
        return {"num_simulated": np.array(self.num_simulated), "num_evaluations": np.array(self.num_evaluations)}

    def from_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on counting from a checkpoint."""
        self.num_simulated, self.num_evaluations = int(arrays["num_simulated"]), int(arrays["num_evaluations"])

    def compiled(self, fn: Callable, *args: Any) -> jax.stages.Compiled:
        """`fn` compiled for arguments of these shapes, on the clock of `compile_seconds`."""
        begin = time.perf_counter()
        compiled = jax.jit(fn).lower(*args).compile()
        self.compile_seconds += time.perf_counter() - begin
        return compiled
