"""The divergence as a least-squares problem of the unconstrained position, on a part of the population."""

import concurrent.futures
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._workers import num_workers
from ._levenberg_marquardt import Evaluation
from ._problem import Problem, Simulated


class LeastSquares:
    """The divergence of a least-squares problem on a part of the population, under common random numbers.

    Args:
        problem: the problem; its divergence has `linearize` and `influence`.
        num_specimens: size of the part.
        simulation_key: key of the simulated sites, held fixed.
        divergence_key: key of the divergence, held fixed.
        num_data: number of measured specimens that are looked at, drawn at random. Default: all of them.
    """

    def __init__(
        self,
        problem: Problem,
        num_specimens: int,
        simulation_key: jax.Array,
        divergence_key: jax.Array,
        num_data: int | None = None,
    ):
        self.problem, self.num_specimens = problem, num_specimens
        self._simulation_key, self.divergence_key = simulation_key, divergence_key
        self.data = problem.data
        if num_data is not None and num_data < problem.num_data:
            rows = jax.random.choice(divergence_key, problem.num_data, (num_data,), replace=False)
            self.data = problem.data._replace(cloud=problem.data.cloud[rows])
        self._best: tuple[float, np.ndarray, Any] = (np.inf, np.zeros(0), None)
        self._kept: dict[bytes, Callable[[np.ndarray], np.ndarray]] = {}
        self._num_threads = 0

    @property
    def can_hold(self) -> bool:
        """Whether there is something to hold, and weights are understood."""
        return bool(self.problem.population.scored) and self.problem.least_squares.takes_weights

    def key_of(self, number: int | None) -> jax.Array:
        """Key of another population, independent of those of other numbers; None is the one that calls draw."""
        return self._simulation_key if number is None else jax.random.fold_in(self._simulation_key, number)

    def keep(self, position: np.ndarray, influence: Callable[[np.ndarray], np.ndarray]) -> None:
        """`influence` at this position is then that of another population."""
        self._kept[position.tobytes()] = influence

    @property
    def noise(self) -> float:
        """What sampling noise adds to the divergence, in units of `Problem.sampling_noise`."""
        return 1 / self.data.cloud.shape[0] + 1 / self.num_specimens

    def __call__(self, position: np.ndarray) -> Evaluation:
        """Linearise at an unconstrained position. One simulation of the part, tangents included."""
        simulated = self.simulate(position, self._simulation_key)
        linearization = self.problem.call("linearize", self._linearize, simulated, self.divergence_key, self.data)
        self.problem.costs.add(self.num_specimens)
        evaluation = Evaluation(*(np.asarray(part, float) for part in linearization))
        # The best point stays on the device: it is where the fit ends, and where `influence` is asked for.
        if evaluation.value < self._best[0]:
            self._best = (float(evaluation.value), position, simulated)
        return evaluation

    def influence(self, position: np.ndarray) -> np.ndarray:
        """Influence of each data specimen on the gradient, shape (N, P)."""
        if position.tobytes() in self._kept:
            return self._kept[position.tobytes()](position)
        if not np.array_equal(self._best[1], position):
            self._best = (np.inf, np.zeros(0), None)
            self(position)
        values = self.problem.call("influence", self._influence, self._best[2], self.divergence_key, self.data)
        return np.asarray(values, float)

    def simulate(self, position: np.ndarray, simulation_key: jax.Array) -> Simulated:
        """Specimens, chunk by chunk on all cores.

        One program serves all chunks and all parts of the population. Nothing but the cloud and its derivative is as
        large as the population.
        """
        problem = self.problem
        arguments = (jnp.asarray(position), simulation_key)
        num_chunks = math.ceil(self.num_specimens / problem.population.chunk_size)
        program = problem.program("chunk", problem.simulate_chunk, *arguments, jnp.asarray(0), problem.data)
        self._num_threads = self._num_threads or num_workers(program)

        def run(number):
            return program(*arguments, jnp.asarray(number), problem.data)

        with concurrent.futures.ThreadPoolExecutor(self._num_threads) as pool:
            try:
                parts = list(pool.map(run, range(num_chunks)))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return jax.tree.map(lambda *arrays: jnp.asarray(np.concatenate(arrays)[: self.num_specimens]), *parts)

    def _linearize(self, simulated, divergence_key, data):
        return self.problem.linearize(simulated, divergence_key, data.cloud)

    def _influence(self, simulated, divergence_key, data):
        cloud, tangents, scores = simulated
        options = {} if scores is None else {"scores": scores}
        return self.problem.least_squares.influence(cloud, tangents, data.cloud, rng_key=divergence_key, **options)
