"""A model against data: the compiled functions of a fit."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..clouds import CloudScale, without_failed
from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence, Linearization
from ..population import Population
from ._costs import Costs

_NUM_SPLITS, _NUM_PARTS = 4, 5
_MAX_LOG_GROWTH = 2.0


class Data(NamedTuple):
    """Cloud of the data, shape (N, p), and the factors that bring simulated clouds into its scale, shape (p,)."""

    cloud: jax.Array
    rescale: jax.Array


class Simulated(NamedTuple):
    """Cloud of the model, (M, p), its derivative by path, (M, p, P), and that of the log weights, (M, P), or None."""

    cloud: jax.Array
    tangents: jax.Array
    scores: jax.Array | None


class Problem:
    """A population, data and a divergence, with everything that is compiled for them once.

    Args:
        population: what is simulated.
        scale: what the clouds are measured in.
        divergence: what is minimised.
        max_failed: largest fraction of simulated specimens that is left out where they fail.
    """

    def __init__(
        self, population: Population, scale: CloudScale, divergence: AbstractDivergence, max_failed: float = 0.0
    ):
        self.max_failed = max_failed
        self.population, self.scale, self.divergence = population, scale, divergence
        self.run_scale = scale
        self.data = Data(scale.data_cloud(), jnp.ones(len(scale.scales), scale.data_cloud().dtype))
        self.labels = population.parameter_labels()
        self._compiled: dict[Any, jax.stages.Compiled] = {}
        self.costs = Costs()

    def begin_run(self, scale: CloudScale) -> None:
        """Start the counters of a new run, on data in this scale; what is compiled is kept."""
        self.costs, self.run_scale = Costs(), scale
        cloud = scale.data_cloud()
        # Simulations come in the scale that was compiled; one multiplication brings them into the scale of these data.
        self.data = Data(cloud, jnp.asarray(self.scale.scales / scale.scales, cloud.dtype))

    @property
    def num_data(self) -> int:
        """Number N of measured specimens."""
        return self.data.cloud.shape[0]

    def call(self, name: Any, fn: Callable, *args: Any) -> Any:
        """Call `fn`, compiled once for each `name` and kind of arguments."""
        return self.program(name, fn, *args)(*args)

    def program(self, name: Any, fn: Callable, *args: Any) -> jax.stages.Compiled:
        """`fn` compiled, once for each `name` and kind of arguments."""
        key = (name, tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(args)))
        if key not in self._compiled:
            self._compiled[key] = self.costs.compiled(fn, *args)
        return self._compiled[key]

    def cloud(self, vector: jax.Array, rng_key: jax.Array, num_specimens: int, data: "Data") -> jax.Array:
        """Cloud of the first specimens at an unconstrained vector, shape (num_specimens, p); traceable."""
        population = self.population.resize(num_specimens)
        cloud = self.scale.cloud(population.simulate(population.from_vector(vector), rng_key)) * data.rescale
        return without_failed(cloud, self.max_failed)[0]

    def simulate_chunk(self, vector: jax.Array, rng_key: jax.Array, number: jax.Array, data: "Data") -> "Simulated":
        """One chunk of the population with its derivatives; traceable, one pass over the cells."""
        population = self.population

        def twice(v):
            params = population.from_vector(v)
            if population.scored:
                values, density = population.simulate_chunk_scored(params, rng_key, number)
            else:
                values, density = population.simulate_chunk(params, rng_key, number), None
            cloud = self.scale.cloud(values) * data.rescale
            return (cloud, density), cloud

        (tangents, scores), cloud = jax.jacfwd(twice, has_aux=True)(vector)
        return Simulated(cloud, tangents, scores)

    def reweigh(self, vector: jax.Array, held_at: jax.Array, rng_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Derivative of the log weights of all specimens, (num, P), and log weights; traceable, without a solve."""
        population, params_at = self.population, self.population.from_vector
        num_chunks = math.ceil(population.num_specimens / population.chunk_size)

        def chunk(number):
            def twice(v):
                density = population.simulate_chunk_scored(params_at(v), rng_key, number, held_at=params_at(held_at))[1]
                return density, density

            return jax.jacfwd(twice, has_aux=True)(vector)

        scores, weights = jax.lax.map(chunk, jnp.arange(num_chunks))
        return scores.reshape(-1, len(vector)), weights.reshape(-1)

    def extrapolate(self, vector: jax.Array, position: jax.Array, base: "Simulated") -> tuple[jax.Array, jax.Array]:
        """Cloud and tangents at `vector` from those at `position`, exact to first order; traceable, without a solve.

        Power laws: logarithms of what is positive are linear in the logarithms of positive parameters. Effective
        tensors scale with the properties of the phases, and in 2D their inverses do so with the inverse properties;
        of the extrapolations that scale, this one alone treats both alike.
        """

        def natural(v):
            params = self.population.from_vector(v)
            logs = (jnp.log(x) if name in self.population.positive else x for name, x in params.items())
            return jnp.concatenate([x.reshape(-1) for x in logs])

        slopes = jax.jacfwd(natural)
        inverse = jnp.linalg.pinv(slopes(position))
        move, turn = inverse @ (natural(vector) - natural(position)), inverse @ slopes(vector)
        shift, tangents = base.tangents @ move, base.tangents @ turn
        is_positive = jnp.all(base.cloud > 0, axis=0)
        relative = shift / jnp.where(is_positive, base.cloud, 1)
        # What is small by chance is no power law: beyond this growth a straight line goes on.
        slope = jnp.exp(jnp.minimum(relative, _MAX_LOG_GROWTH))
        growth = slope * (1 + jnp.maximum(relative - _MAX_LOG_GROWTH, 0))
        cloud = jnp.where(is_positive, base.cloud * growth, base.cloud + shift)
        return cloud, tangents * jnp.where(is_positive, slope, 1)[..., None]

    def linearize(
        self, simulated: "Simulated", divergence_key: jax.Array, measured: jax.Array, **weights: jax.Array
    ) -> Linearization:
        """The divergence from a measured cloud, linearised; `weights` may be `log_weights`; traceable."""
        cloud, tangents, scores = simulated
        options = weights if scores is None else weights | {"scores": scores}
        return self.least_squares.linearize(cloud, tangents, measured, rng_key=divergence_key, **options)

    def look(
        self, simulated: "Simulated", divergence_key: jax.Array, measured: jax.Array
    ) -> tuple[Linearization, jax.Array, jax.Array, jax.Array]:
        """The divergence from a measured cloud, and the influence of specimens on its gradient; traceable.

        Returns:
            Linearisation; influence of the measured, shape (N, P), and of the simulated specimens, (M, P); and that of
            the measured ones for disjoint parts of the simulation, (num_parts, N, P).
        """

        def influence(part, points):
            cloud, tangents, scores = part
            options = {} if scores is None else {"scores": scores}
            return self.least_squares.influence(cloud, tangents, points, rng_key=divergence_key, **options)

        size = max(1, simulated.cloud.shape[0] // _NUM_PARTS)
        parts = jax.tree.map(lambda x: x[: size * (len(x) // size)].reshape(-1, size, *x.shape[1:]), simulated)
        return (
            self.linearize(simulated, divergence_key, measured),
            influence(simulated, measured),
            influence(simulated, simulated.cloud),
            jax.lax.map(lambda part: influence(part, measured), parts),
        )

    def value_and_gradient(
        self, vector: jax.Array, rng_key: jax.Array, divergence_key: jax.Array, data: "Data", measured: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Value and gradient of a sum of squares on the whole population, scores included; traceable."""
        num, chunk = self.population.num_specimens, self.population.chunk_size
        numbers = jnp.arange(math.ceil(num / chunk))
        parts = jax.lax.map(lambda number: self.simulate_chunk(vector, rng_key, number, data), numbers)
        whole = without_failed(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num], parts), self.max_failed)[0]
        linearization = self.linearize(whole, divergence_key, measured)
        return linearization.value, 2 * linearization.gradient

    @property
    def least_squares(self) -> AbstractLeastSquaresDivergence:
        """The divergence, which is a sum of squares."""
        return self.divergence  # type: ignore[return-value]

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


def split_vector(vector: np.ndarray, population: Population) -> dict[str, np.ndarray]:
    """A vector in the order of the labels, as arrays by parameter name."""
    parts: dict[str, np.ndarray] = {}
    begin = 0
    for name, parameter in population.parameters.items():
        size = int(np.prod(parameter.shape))
        parts[name] = vector[begin : begin + size].reshape(parameter.shape)
        begin += size
    return parts
