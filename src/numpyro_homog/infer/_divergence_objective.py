"""The divergence as an objective, on a part of the population, under common random numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..optimise import AbstractObjective, Evaluation
from ..population import Specimens, extrapolate
from ._problem import Influences, Problem, are_finite

_FRESH = 2**20  # keys of populations that no descent has seen, beyond those of chunks and rounds


class DivergenceObjective(AbstractObjective):
    """The divergence of a problem whose divergence has `linearize` and `influence`.

    Both keys stay the same for all positions. `num_data` measured specimens, by default all of them, are drawn at
    random and compared; `noise` is the `sampling_noise` of the data.

    Attributes:
        medians: position in bytes -> median of each component of the cloud there, shape (p,).
        first_failure: where specimens first had a value or derivative that is not finite, and which.
    """

    def __init__(
        self,
        problem: Problem,
        num_specimens: int,
        simulation_key: Array,
        divergence_key: Array,
        num_data: int | None = None,
        noise: float = np.nan,
    ):
        self.problem, self.num_specimens = problem, num_specimens
        self._keys = (simulation_key, divergence_key)
        cloud, rescale = problem.data
        if num_data is not None and num_data < problem.num_data:
            cloud = cloud[jax.random.choice(divergence_key, problem.num_data, (num_data,), replace=False)]
        self._data = (cloud, rescale)
        self.floor = noise * (1 / cloud.shape[0] + 1 / num_specimens)
        self.has_local_models = bool(problem.simulator.scored) and problem.least_squares.takes_weights
        self._best: tuple[float, np.ndarray, Any, Any] = (np.inf, np.zeros(0), None, None)
        self.medians: dict[bytes, np.ndarray] = {}
        self.first_failure: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, position: Float[np.ndarray, "P"]) -> Evaluation:
        """Linearise at an unconstrained position. One simulation of the part, tangents included."""
        specimens, rows = self._draw(position, self._keys[0])
        operands = (specimens, self._keys[1], self._data[0])
        evaluation = self._evaluation("linearize divergence", self.problem.linearize, *operands)
        self.medians[position.tobytes()] = np.median(np.asarray(specimens.points), axis=0)
        # The best point stays on the device: it is where the fit ends, and where `influences` are asked for.
        if evaluation.value < self._best[0]:
            self._best = (float(evaluation.value), position, specimens, rows)
        return evaluation

    def local_model(
        self, position: Float[np.ndarray, "P"], number: int | None = None
    ) -> Callable[[Float[np.ndarray, "P"]], Evaluation]:
        """A model of the divergence about `position`, where both agree.

        Scored sites keep what they draw at `position`, and at other positions the specimens have the weights of
        their densities: no label flips. What acts by path moves the cloud as `extrapolate` says. So the model
        is as smooth as its derivative says, and exact in what acts by score alone. Far away few weights are left, and
        their noise raises it. Each `number` has a population of its own; without one it is that of calls.
        """
        problem, (simulation_key, divergence_key) = self.problem, self._keys
        keys = (simulation_key if number is None else jax.random.fold_in(simulation_key, number), divergence_key)
        base, rows = self._draw(position, keys[0])
        operands = (jnp.asarray(position), base, rows, keys, self._data[0])

        def linearize(vector, position, base, rows, keys, measured):
            scores, weights = (part[rows] for part in problem.simulator.log_weights(vector, position, keys[0]))
            cloud, tangents = extrapolate(problem.parameters, vector, position, base)
            return problem.linearize(Specimens(cloud, tangents, scores), keys[1], measured, log_weights=weights)

        return lambda vector: self._evaluation("local model", linearize, jnp.asarray(vector), *operands)

    def specimens(self, position: Float[np.ndarray, "P"]) -> Specimens:
        """The specimens at a position; those of the best position so far are kept."""
        if (kept := self.kept(position)) is not None:
            return kept
        self._best = (np.inf, np.zeros(0), None, None)
        self(position)
        return self._best[2]  # type: ignore[return-value]

    def kept(self, position: Float[np.ndarray, "P"]) -> Specimens | None:
        """The specimens at a position if they are kept."""
        return self._best[2] if np.array_equal(self._best[1], position) else None

    def left_out(self, position: Float[np.ndarray, "P"]) -> Int[np.ndarray, " failed"]:
        """Which specimens are left out at a position, because they fail."""
        self.specimens(position)
        return np.flatnonzero(np.asarray(self._best[3]) != np.arange(self.num_specimens))

    def influences(self, position: Float[np.ndarray, "P"], num_fresh: int = 0) -> Influences:
        """The divergence about a position, and what each specimen does to its gradient; at the least loss for nothing.

        So many fresh specimens, independent of those of calls, are looked at besides: the noise of the curvature falls
        with their number. Those that are not finite are left out.
        """
        parts = [self.specimens(position)]
        while (size := min(num_fresh, self.num_specimens)) > 0:
            key = jax.random.fold_in(self._keys[0], _FRESH + len(parts))
            fresh = self._draw(position, key, size)[0]
            parts.append(jax.tree.map(lambda x, good=are_finite(fresh): x[good], fresh))  # noqa: B008
            num_fresh -= size
        return self.problem.influences(parts, self._keys[1], self._data[0])

    def _draw(
        self, position: Float[np.ndarray, "P"], simulation_key: Array, num_specimens: int | None = None
    ) -> tuple[Specimens, Int[Array, " M"]]:
        specimens, rows, failed = self.problem.simulate(position, simulation_key, num_specimens or self.num_specimens)
        if failed.size and self.first_failure is None:
            self.first_failure = (position, failed)
        return specimens, rows

    def _evaluation(self, name: str, fn: Callable, *args: Any) -> Evaluation:
        return Evaluation(*(np.asarray(part, float) for part in self.problem.programs(name, fn, *args)))
