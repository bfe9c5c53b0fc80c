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

    Attributes:
        medians: median of each component of the cloud, shape (p,), at each position that was evaluated.
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
        self._keys = (simulation_key, divergence_key)
        self._data = problem.data
        if num_data is not None and num_data < problem.num_data:
            rows = jax.random.choice(divergence_key, problem.num_data, (num_data,), replace=False)
            self._data = problem.data._replace(cloud=problem.data.cloud[rows])
        self._best: tuple[float, np.ndarray, Any] = (np.inf, np.zeros(0), None)
        self._influences: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))
        self._num_threads = 0
        self.medians: list[np.ndarray] = []

    @property
    def can_hold(self) -> bool:
        """Whether there is something to hold, and weights are understood."""
        return bool(self.problem.population.scored) and self.problem.least_squares.takes_weights

    def hold(self, position: np.ndarray, number: int | None = None) -> Callable[[np.ndarray], Evaluation]:
        """A model of the divergence about `position`, where both agree, that needs no further solve.

        Scored sites are held at what they draw at `position`, and at other positions the specimens have the weights of
        their densities: no label flips. What acts by path moves the cloud as `Problem.extrapolate` says. So the model
        is as smooth as its derivative says, and exact in what acts by score alone. Far away few weights are left, and
        their noise raises it.

        Args:
            position: where it is made.
            number: of another population, independent of those of other numbers; default: the one that calls draw.
        """
        problem, (simulation_key, divergence_key) = self.problem, self._keys
        keys = (simulation_key if number is None else jax.random.fold_in(simulation_key, number), divergence_key)
        base = self._simulate(position, keys[0])
        problem.costs.add(self.num_specimens)

        def linearize(vector, position, base, keys, data):
            scores, weights = (part[: self.num_specimens] for part in problem.reweigh(vector, position, keys[0]))
            cloud, tangents = problem.extrapolate(vector, position, base)
            return problem.linearize(Simulated(cloud, tangents, scores), keys[1], data.cloud, log_weights=weights)

        def model(vector):
            arguments = (jnp.asarray(vector), jnp.asarray(position), base, keys, self._data)
            found = problem.call("held", linearize, *arguments)
            return Evaluation(*(np.asarray(part, float) for part in found))

        return model

    @property
    def noise(self) -> float:
        """What sampling noise adds to the divergence, in units of `Problem.sampling_noise`."""
        return 1 / self._data.cloud.shape[0] + 1 / self.num_specimens

    def __call__(self, position: np.ndarray) -> Evaluation:
        """Linearise at an unconstrained position. One simulation of the part, tangents included."""
        simulated = self._simulate(position)
        linearization = self.problem.call("linearize", self._linearize, simulated, self._keys[1], self._data)
        self.problem.costs.add(self.num_specimens)
        self.medians.append(np.median(np.asarray(simulated.cloud), axis=0))
        evaluation = Evaluation(*(np.asarray(part, float) for part in linearization))
        # The best point stays on the device: it is where the fit ends, and where `influence` is asked for.
        if evaluation.value < self._best[0]:
            self._best = (float(evaluation.value), position, simulated)
        return evaluation

    def simulated(self, position: np.ndarray) -> Simulated:
        """The specimens at a position; those of the best position so far are kept."""
        if not np.array_equal(self._best[1], position):
            self._best = (np.inf, np.zeros(0), None)
            self(position)
        return self._best[2]

    def influence(self, position: np.ndarray) -> np.ndarray:
        """Influence of each data specimen on the gradient, shape (N, P); that of the last position is kept."""
        if not np.array_equal(self._influences[0], position):
            simulated = self.simulated(position)
            values = self.problem.call("influence", self._influence, simulated, self._keys[1], self._data)
            self._influences = (position, np.asarray(values, float))
        return self._influences[1]

    def _simulate(self, position, simulation_key=None):
        """`Simulated` specimens, chunk by chunk on all cores.

        One program serves all chunks and all parts of the population. Nothing but the cloud and its derivative is as
        large as the population.
        """
        problem = self.problem
        arguments = (jnp.asarray(position), self._keys[0] if simulation_key is None else simulation_key)
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
