"""The divergence as a least-squares problem of the unconstrained position, on a part of the population."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._platform import map_in_threads, num_workers
from ..clouds import without_failed
from ._levenberg_marquardt import Evaluation
from ._problem import Problem, Simulated

_FRESH = 2**20  # keys of populations that no descent has seen, beyond those of chunks and rounds
_MOST_NOISE = 0.75  # share of the covariance of influences that may be taken off as noise


class Look(NamedTuple):
    """The divergence about a point, and the influence of measured, (N, P), and simulated specimens, (M, P)."""

    evaluation: Evaluation
    of_measured: np.ndarray
    of_simulated: np.ndarray


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
        first_failure: where specimens first had a value or derivative that is not finite, and which.
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
        self._best: tuple[float, np.ndarray, Any, Any] = (np.inf, np.zeros(0), None, None)
        self._num_threads = 0
        self.medians: list[np.ndarray] = []
        self.first_failure: tuple[np.ndarray, np.ndarray] | None = None

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
        base, rows = self._draw(position, keys[0])
        problem.costs.add(self.num_specimens)

        def linearize(vector, position, base, rows, keys, data):
            scores, weights = (part[rows] for part in problem.reweigh(vector, position, keys[0]))
            cloud, tangents = problem.extrapolate(vector, position, base)
            return problem.linearize(Simulated(cloud, tangents, scores), keys[1], data.cloud, log_weights=weights)

        def model(vector):
            arguments = (jnp.asarray(vector), jnp.asarray(position), base, rows, keys, self._data)
            found = problem.call("held", linearize, *arguments)
            return Evaluation(*(np.asarray(part, float) for part in found))

        return model

    @property
    def noise(self) -> float:
        """What sampling noise adds to the divergence, in units of `Problem.sampling_noise`."""
        return 1 / self._data.cloud.shape[0] + 1 / self.num_specimens

    def __call__(self, position: np.ndarray) -> Evaluation:
        """Linearise at an unconstrained position. One simulation of the part, tangents included."""
        simulated, rows = self._draw(position)
        linearization = self.problem.call("linearize", self._linearize, simulated, self._keys[1], self._data)
        self.problem.costs.add(self.num_specimens)
        self.medians.append(np.median(np.asarray(simulated.cloud), axis=0))
        evaluation = Evaluation(*(np.asarray(part, float) for part in linearization))
        # The best point stays on the device: it is where the fit ends, and where `look` is asked for.
        if evaluation.value < self._best[0]:
            self._best = (float(evaluation.value), position, simulated, rows)
        return evaluation

    def simulated(self, position: np.ndarray) -> Simulated:
        """The specimens at a position; those of the best position so far are kept."""
        if self.kept(position) is None:
            self._best = (np.inf, np.zeros(0), None, None)
            self(position)
        return self._best[2]

    def kept(self, position: np.ndarray) -> Simulated | None:
        """The specimens at a position if they are kept."""
        return self._best[2] if np.array_equal(self._best[1], position) else None

    def look(self, position: np.ndarray, num_fresh: int = 0) -> Look:
        """The divergence about a position, and what each specimen does to its gradient.

        Args:
            position: where; that of the least loss costs no simulation.
            num_fresh: number of simulated specimens besides, independent of those of other calls. All are looked at
                together: the noise of the curvature falls with their number. Those that are not finite are left out.
        """
        parts = [self.simulated(position)]
        while (size := min(num_fresh, self.num_specimens)) > 0:
            key = jax.random.fold_in(self._keys[0], _FRESH + len(parts))
            parts.append(_finite(self._simulate(position, key, size)))
            self.problem.costs.add(size)
            num_fresh -= size
        return look(self.problem, parts, self._keys[1], self._data.cloud)

    def left_out(self, position: np.ndarray) -> np.ndarray:
        """Which specimens are left out at a position, because they fail."""
        self.simulated(position)
        return np.flatnonzero(np.asarray(self._best[3]) != np.arange(self.num_specimens))

    def _simulate(self, position, simulation_key=None, num_specimens=None):
        """`Simulated` specimens, without the failed ones if they are few."""
        return self._draw(position, simulation_key, num_specimens)[0]

    def _draw(self, position, simulation_key=None, num_specimens=None):
        """`Simulated` specimens, chunk by chunk on all cores, and the row of each; failed ones have that of another.

        One program serves all chunks and all parts of the population. Nothing but the cloud and its derivative is as
        large as the population.
        """
        problem, size = self.problem, num_specimens or self.num_specimens
        arguments = (jnp.asarray(position), self._keys[0] if simulation_key is None else simulation_key)
        num_chunks = math.ceil(size / problem.population.chunk_size)
        program = problem.program("chunk", problem.simulate_chunk, *arguments, jnp.asarray(0), problem.data)
        self._num_threads = self._num_threads or num_workers(program)

        def run(number):
            return program(*arguments, jnp.asarray(number), problem.data)

        parts = list(map_in_threads("simulate", run, range(num_chunks), self._num_threads))
        whole = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:size], *parts)
        good = np.all([np.isfinite(x).reshape(len(x), -1).all(1) for x in jax.tree.leaves(whole)], axis=0)
        if not good.all() and self.first_failure is None:
            self.first_failure = (position, np.flatnonzero(~good))
        if not good.all() and problem.max_failed:
            return without_failed(jax.tree.map(jnp.asarray, whole), problem.max_failed)
        return jax.tree.map(jnp.asarray, whole), jnp.arange(size)

    def _linearize(self, simulated, divergence_key, data):
        return self.problem.linearize(simulated, divergence_key, data.cloud)


def look(problem: Problem, parts: Sequence[Simulated], divergence_key: jax.Array, measured: jax.Array) -> Look:
    """What a measured cloud and the simulated specimens of all parts, put together, say of the divergence.

    An influence is made of the tangents of the simulated specimens, whose noise widens its covariance; the estimate
    itself does not scatter by it. Its size is known from disjoint parts of the simulation, and the influences are
    shortened in the directions that hold it, until their covariance is that of influences without noise.
    """
    pooled = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
    linearization, *others = problem.call("look", problem.look, pooled, divergence_key, measured)
    of_measured, of_simulated, of_parts = (np.asarray(part, float) for part in others)
    evaluation = Evaluation(*(np.asarray(part, float) for part in linearization))
    shrink = _shrinkage(of_measured, of_parts)
    return Look(evaluation, of_measured @ shrink, of_simulated @ shrink)


def _shrinkage(influence, of_parts):
    """Matrix A (P, P) with A' S A = S - noise, where S is the covariance of `influence`, at least a part of it."""
    num, scale = len(of_parts), influence.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    rest = (of_parts - of_parts.mean(axis=0)) / scale
    noise = np.einsum("nik,nil->kl", rest, rest) / (influence.shape[0] * num * max(num - 1, 1))
    values, vectors = np.linalg.eigh(covariance_of(influence / scale))
    kept = values > 1e-10 * values.max(initial=0.0)
    root = vectors[:, kept] * np.sqrt(values[kept])
    white = vectors[:, kept] / np.sqrt(values[kept])
    share, turn = np.linalg.eigh(white.T @ noise @ white)
    middle = (turn * np.sqrt(1 - np.minimum(share, _MOST_NOISE))) @ turn.T
    return (white @ middle @ root.T) / scale[:, None] * scale


def covariance_of(influence: np.ndarray) -> np.ndarray:
    """Covariance of the influence of one specimen, mean zero, shape (P, P)."""
    return influence.T @ influence / len(influence)


def _finite(simulated):
    rows = np.logical_and.reduce(
        [np.isfinite(np.asarray(x)).reshape(len(x), -1).all(axis=1) for x in jax.tree.leaves(simulated)]
    )
    return simulated if rows.all() else jax.tree.map(lambda x: x[np.flatnonzero(rows)], simulated)
