"""A model against data: the functions of a fit, compiled once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..clouds import CloudScale, without_failed
from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence, Linearization, noise_shrinkage
from ..optimise import Evaluation, Recorder
from ..population import Simulator, Specimens

_NUM_PARTS = 5


class Influences(NamedTuple):
    """The divergence about a point, and the influence of measured, (N, P), and simulated specimens, (M, P)."""

    evaluation: Evaluation
    of_measured: np.ndarray
    of_simulated: np.ndarray


class Problem:
    """A simulator, data and a divergence, with everything that is compiled for them once.

    Attributes:
        data: cloud of the data, shape (N, p), and the factors, (p,), that bring simulated clouds into its scale.
        recorder: counts what is simulated.
    """

    def __init__(
        self, simulator: Simulator, scale: CloudScale, divergence: AbstractDivergence, max_failed: float = 0.0
    ):
        self.simulator, self.parameters, self.programs = simulator, simulator.parameters, simulator.programs
        self.scale, self.divergence, self.max_failed = scale, divergence, max_failed
        self.begin_run(scale, Recorder())

    def begin_run(self, scale: CloudScale, recorder: Recorder) -> None:
        """Begin a new run, on data in this scale; what is compiled is kept."""
        self.run_scale, self.recorder, cloud = scale, recorder, scale.data_cloud()
        # Simulations come in the scale that was compiled; one multiplication brings them into the scale of these data.
        self.data = (cloud, jnp.asarray(self.scale.scales / scale.scales, cloud.dtype))

    @property
    def num_data(self) -> int:
        """Number N of measured specimens."""
        return self.data[0].shape[0]

    @property
    def least_squares(self) -> AbstractLeastSquaresDivergence:
        """The divergence, which is a sum of squares."""
        return self.divergence  # type: ignore[return-value]

    def simulate(
        self, vector: Float[np.ndarray, "P"], rng_key: Array, num_specimens: int
    ) -> tuple[Specimens, Int[Array, " M"], Int[np.ndarray, " failed"]]:
        """Specimens at an unconstrained vector with their derivatives, on all cores.

        Returns:
            The specimens; the row of each, for failed ones, if they are few, have that of another; and the failed rows,
            where a value or derivative is not finite.
        """
        self.recorder.count(num_specimens)

        def fn(number, vector, rng_key, rescale):
            return self.simulator.linearize_chunk(vector, rng_key, number, self._points(rescale))

        simulator = self.simulator.resize(num_specimens)
        whole = simulator.map_chunks("linearize", fn, jnp.asarray(vector), rng_key, self.data[1])
        failed = np.flatnonzero(~are_finite(whole))
        whole = jax.tree.map(jnp.asarray, whole)
        if failed.size and self.max_failed:
            return *without_failed(whole, self.max_failed), failed
        return whole, jnp.arange(num_specimens), failed

    def value(self, vector: Array, keys: tuple[Array, Array], data: tuple[Array, Array]) -> Array:
        """Any divergence of the population, by keys of simulation and divergence; traceable."""
        values = self.simulator.simulate(self.parameters.from_vector(vector), keys[0])
        cloud, _ = without_failed(self._points(data[1])(values), self.max_failed)
        return self.divergence(cloud, data[0], rng_key=keys[1])

    def value_and_gradient(
        self, vector: Array, keys: tuple[Array, Array], data: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """Value and gradient, scores included; traceable."""
        if not self.simulator.scored:
            return jax.value_and_grad(self.value)(vector, keys, data)

        def linearize(number):
            return self.simulator.linearize_chunk(vector, keys[0], number, self._points(data[1]))

        parts = jax.lax.map(linearize, jnp.arange(self.simulator.num_chunks))
        num = self.simulator.num_specimens
        whole = without_failed(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num], parts), self.max_failed)[0]
        linearization = self.linearize(whole, keys[1], data[0])
        return linearization.value, 2 * linearization.gradient

    def linearize(
        self, specimens: Specimens, divergence_key: Array, measured: Array, **weights: Array
    ) -> Linearization:
        """The divergence from a measured cloud, linearised; `weights` may be `log_weights`; traceable."""
        cloud, tangents, scores = specimens
        options = weights if scores is None else weights | {"scores": scores}
        return self.least_squares.linearize(cloud, tangents, measured, rng_key=divergence_key, **options)

    def influences(self, parts: Sequence[Specimens], divergence_key: Array, measured: Array) -> Influences:
        """What a measured cloud and the simulated specimens of all parts, put together, say of the divergence.

        An influence is made of the tangents of the simulated specimens, whose noise widens its covariance; the estimate
        itself does not scatter by it. Its size is known from disjoint parts of the simulation, and the influences are
        shortened in the directions that hold it, until their covariance is that of influences without noise.
        """

        def look(specimens, divergence_key, measured):
            def influence(part, points):
                cloud, tangents, scores = part
                options = {} if scores is None else {"scores": scores}
                return self.least_squares.influence(cloud, tangents, points, rng_key=divergence_key, **options)

            size = max(1, specimens.points.shape[0] // _NUM_PARTS)
            parts = jax.tree.map(lambda x: x[: size * (len(x) // size)].reshape(-1, size, *x.shape[1:]), specimens)
            return (
                self.linearize(specimens, divergence_key, measured),
                influence(specimens, measured),
                influence(specimens, specimens.points),
                jax.lax.map(lambda part: influence(part, measured), parts),
            )

        pooled = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *parts)
        found = self.programs("influences", look, pooled, divergence_key, measured)
        linearization, of_measured, of_simulated, of_parts = jax.tree.map(lambda x: np.asarray(x, float), found)
        shrink = noise_shrinkage(of_measured, of_parts)
        return Influences(Evaluation(*linearization), of_measured @ shrink, of_simulated @ shrink)

    def _points(self, rescale: Array) -> Callable[[dict[str, Array]], Array]:
        return lambda values: self.scale.cloud(values) * rescale


def are_finite(specimens: Specimens) -> Bool[np.ndarray, " M"]:
    """Which specimens have finite values and derivatives."""
    leaves = jax.tree.leaves(specimens)
    return np.all([np.isfinite(np.asarray(x)).reshape(len(x), -1).all(axis=1) for x in leaves], axis=0)
