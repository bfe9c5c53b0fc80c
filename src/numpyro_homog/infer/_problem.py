"""A model against data: the compiled functions of a fit, and the counters of what they cost."""

import concurrent.futures
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._workers import num_workers
from ..clouds import CloudScale
from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence
from ..population import Population
from ._levenberg_marquardt import Evaluation

_NUM_SPLITS = 4


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

    def compiled(self, fn: Callable, *args: Any) -> Callable:
        """`fn` compiled for arguments of these shapes, on the clock of `compile_seconds`."""
        begin = time.perf_counter()
        compiled = jax.jit(fn).lower(*args).compile()
        self.compile_seconds += time.perf_counter() - begin
        return compiled


class Data(NamedTuple):
    """Cloud of the data, shape (N, p), and the factors that bring simulated clouds into its scale, shape (p,)."""

    cloud: jax.Array
    rescale: jax.Array


class Problem:
    """A population, data and a divergence, with everything that is compiled for them once.

    Args:
        population: what is simulated.
        scale: what the clouds are measured in.
        divergence: what is minimised.
    """

    def __init__(self, population: Population, scale: CloudScale, divergence: AbstractDivergence):
        self.population, self.scale, self.divergence = population, scale, divergence
        self.data = Data(scale.data_cloud(), jnp.ones(len(scale.scales), scale.data_cloud().dtype))
        self.labels = population.parameter_labels()
        self._compiled: dict[Any, Callable] = {}
        self.costs = Costs()

    def begin_run(self, scale: CloudScale) -> None:
        """Start the counters of a new run, on data in this scale; what is compiled is kept."""
        self.costs = Costs()
        cloud = scale.data_cloud()
        # Simulations come in the scale that was compiled; one multiplication brings them into the scale of these data.
        self.data = Data(cloud, jnp.asarray(self.scale.scales / scale.scales, cloud.dtype))

    @property
    def num_data(self) -> int:
        """Number N of measured specimens."""
        return self.data.cloud.shape[0]

    def call(self, name: Any, fn: Callable, *args: Any) -> Any:
        """Call `fn`, compiled once for each `name` and kind of arguments."""
        key = (name, tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(args)))
        if key not in self._compiled:
            self._compiled[key] = self.costs.compiled(fn, *args)
        return self._compiled[key](*args)

    def cloud(self, vector: jax.Array, rng_key: jax.Array, num_specimens: int, data: "Data") -> jax.Array:
        """Cloud of the first specimens at an unconstrained vector, shape (num_specimens, p); traceable."""
        population = self.population.resize(num_specimens)
        return self.scale.cloud(population.simulate(population.from_vector(vector), rng_key)) * data.rescale

    def prior_vectors(self, rng_key: jax.Array, num_draws: int) -> np.ndarray:
        """Draws of the prior in unconstrained space, shape (num_draws, P)."""

        def draw(key):
            return self.population.to_vector(self.population.prior_sample(key))

        keys = jax.random.split(rng_key, num_draws)
        return np.asarray(self.call("prior", jax.vmap(draw), keys))

    def constrain(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """Constrained values by name."""
        values = self.call("constrain", self.population.from_vector, jnp.asarray(vector))
        return {name: np.asarray(value) for name, value in values.items()}

    def constrain_many(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Constrained values of many vectors, shape (num, P), by name."""
        many = jax.vmap(self.population.from_vector)
        values = self.call(("constrain", len(vectors)), many, jnp.asarray(vectors))
        return {name: np.asarray(value) for name, value in values.items()}

    def constrain_jacobian(self, vector: np.ndarray) -> np.ndarray:
        """Derivative of the raveled constrained parameters, in the order of the labels; shape (num, P)."""

        def flat(v):
            values = self.population.from_vector(v)
            return jnp.concatenate([values[name].reshape(-1) for name in self.population.parameters])

        return np.asarray(self.call("jacobian", jax.jacfwd(flat), jnp.asarray(vector)), float)

    def sampling_noise(self, rng_key: jax.Array) -> float:
        """Divergence of two clouds of one point each from the law of the data, per point: E D = noise (1/N + 1/M).

        Measured between random halves of the data.
        """
        num = self.num_data

        def splits(keys, cloud):
            def one_split(key):
                order_key, divergence_key = jax.random.split(key)
                shuffled = jax.random.permutation(order_key, cloud)
                return self.divergence(shuffled[: num // 2], shuffled[num // 2 :], rng_key=divergence_key)

            return jnp.mean(jax.lax.map(one_split, keys))

        mean = self.call("noise", splits, jax.random.split(rng_key, _NUM_SPLITS), self.data.cloud)
        return float(mean) / (1 / (num // 2) + 1 / (num - num // 2))


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
        self._keys = (simulation_key, divergence_key)
        self._data = problem.data
        if num_data is not None and num_data < problem.num_data:
            rows = jax.random.choice(divergence_key, problem.num_data, (num_data,), replace=False)
            self._data = problem.data._replace(cloud=problem.data.cloud[rows])
        self._best: tuple[float, np.ndarray, Any] = (np.inf, np.zeros(0), None)

    @property
    def noise(self) -> float:
        """What sampling noise adds to the divergence, in units of `Problem.sampling_noise`."""
        return 1 / self._data.cloud.shape[0] + 1 / self.num_specimens

    def __call__(self, position: np.ndarray) -> Evaluation:
        """Linearise at an unconstrained position. One simulation of the part, tangents included."""
        cloud, tangents = self._simulate(position)
        linearization = self.problem.call("linearize", self._linearize, cloud, tangents, self._keys[1], self._data)
        self.problem.costs.add(self.num_specimens)
        evaluation = Evaluation(*(np.asarray(part, float) for part in linearization))
        # The best point stays on the device: it is where the fit ends, and where `influence` is asked for.
        if evaluation.value < self._best[0]:
            self._best = (float(evaluation.value), position, (cloud, tangents))
        return evaluation

    def influence(self, position: np.ndarray) -> np.ndarray:
        """Influence of each data specimen on the gradient, shape (N, P)."""
        if not np.array_equal(self._best[1], position):
            self._best = (np.inf, np.zeros(0), None)
            self(position)
        cloud, tangents = self._best[2]
        values = self.problem.call("influence", self._influence, cloud, tangents, self._keys[1], self._data)
        return np.asarray(values, float)

    def _simulate(self, position):
        """Cloud (num_specimens, p) and its derivative (num_specimens, p, P), chunk by chunk on all cores.

        One program serves all chunks and all parts of the population. Nothing but the cloud and its derivative is as
        large as the population.
        """
        arguments = (jnp.asarray(position), self._keys[0])
        num_chunks = math.ceil(self.num_specimens / self.problem.population.chunk_size)
        # The first chunk compiles, alone.
        parts = [self.problem.call("chunk", self._simulate_chunk, *arguments, jnp.asarray(0), self.problem.data)]

        def run(number):
            return self.problem.call("chunk", self._simulate_chunk, *arguments, jnp.asarray(number), self.problem.data)

        with concurrent.futures.ThreadPoolExecutor(num_workers()) as pool:
            try:
                parts += pool.map(run, range(1, num_chunks))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        cloud, tangents = (np.concatenate(arrays)[: self.num_specimens] for arrays in zip(*parts, strict=True))
        return jnp.asarray(cloud), jnp.asarray(tangents)

    def _simulate_chunk(self, vector, simulation_key, number, data):
        population = self.problem.population

        def twice(v):
            values = population.simulate_chunk(population.from_vector(v), simulation_key, number)
            cloud = self.problem.scale.cloud(values) * data.rescale
            return cloud, cloud

        # Value and Jacobian in one pass over the cells.
        tangents, cloud = jax.jacfwd(twice, has_aux=True)(vector)
        return cloud, tangents

    def _linearize(self, cloud, tangents, divergence_key, data):
        return self._divergence.linearize(cloud, tangents, data.cloud, rng_key=divergence_key)

    def _influence(self, cloud, tangents, divergence_key, data):
        return self._divergence.influence(cloud, tangents, data.cloud, rng_key=divergence_key)

    @property
    def _divergence(self) -> AbstractLeastSquaresDivergence:
        return self.problem.divergence  # type: ignore[return-value]


def split_vector(vector: np.ndarray, population: Population) -> dict[str, np.ndarray]:
    """A vector in the order of the labels, as arrays by parameter name."""
    parts: dict[str, np.ndarray] = {}
    begin = 0
    for name, parameter in population.parameters.items():
        size = int(np.prod(parameter.shape))
        parts[name] = vector[begin : begin + size].reshape(parameter.shape)
        begin += size
    return parts


def same_arguments(first: Mapping[str, Any] | tuple, second: Mapping[str, Any] | tuple) -> bool:
    """Whether two sets of arguments of a model are equal, array for array."""
    leaves_1, structure_1 = jax.tree.flatten(first)
    leaves_2, structure_2 = jax.tree.flatten(second)
    same_structure: Any = structure_1 == structure_2  # type: ignore[operator]
    return bool(same_structure) and all(_same(a, b) for a, b in zip(leaves_1, leaves_2, strict=True))


def _same(a, b):
    if a is b:
        return True
    if isinstance(a, (np.ndarray, jax.Array)) or isinstance(b, (np.ndarray, jax.Array)):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))
    return type(a) is type(b) and bool(a == b)
