"""The density of a measured specimen: surrogates given the simulated sites, and these integrated."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from numpyro import handlers

from .._compat import dependencies
from ..surrogates import AbstractSurrogate, AbstractTensorLaw
from ._bijection import bijection
from ._messengers import Chunk, InnerOnly, Requests
from ._simulator import Simulator

_NUM_DRAWS = 64  # of the prior, and as many specimens at each, for the range of the nodes
_RANGE = (0.05, 99.95)  # percent of them


class Nodes(NamedTuple):
    """Points at which simulated sites are integrated: values by site, shape (M, *event), and log weights (M,)."""

    values: dict[str, Array]
    log_weights: Float[Array, " nodes"]


class SpecimenDensity:
    """The density of the measured tensors of one specimen as a function of the parameters.

    It is

        p(K | theta) = integral q(K | inputs(s, theta)) p(s | theta) ds,

    with the surrogate q of one realisation and the simulated sites s on which its inputs depend. The integral is a sum
    over fixed nodes, so that it is smooth in theta and has no noise.

    Args:
        simulator: of a model that compares sites `homogenize(name, cell, field_fn, inputs=..., num_realizations=1)`.
        surrogates: compared site -> surrogate.
        rng_key: key of the nodes.
        num_nodes: number of nodes, a lattice in unconstrained coordinates that is dense where the prior draws the
            sites.

    Raises:
        ValueError: if a compared site has no surrogate, one was trained for another cell, or the inputs depend on a
            simulated site without a density.
    """

    def __init__(
        self,
        simulator: Simulator,
        surrogates: Mapping[str, AbstractSurrogate],
        rng_key: Array,
        *,
        num_nodes: int = 3000,
    ):
        self.simulator, self.surrogates = simulator, dict(surrogates)
        if set(simulator.keys) != set(self.surrogates):
            raise ValueError(
                f"Each compared site needs a surrogate: the data are of {list(simulator.keys)}, the surrogates of"
                f" {list(self.surrogates)}."
            )
        self.sites = self._integrated_sites()
        self.nodes = self._make_nodes(rng_key, num_nodes)

    def log_prob(
        self, params: Mapping[str, Array], data: Mapping[str, ArrayLike], *, batch_size: int = 50
    ) -> Float[Array, " N"]:
        """Log density of each measured specimen; traceable, differentiable in the parameters and the surrogates.

        Args:
            params: constrained value of every parameter.
            data: compared site -> tensors, shape (N, d, d).
            batch_size: specimens at a time: peak memory grows with it.
        """
        given = self.at_nodes(params)
        return jax.lax.map(lambda tensors: _log_mean(given, tensors), self._arrays(data), batch_size=batch_size)

    def scores(
        self, vector: Float[Array, "unconstrained"], data: Mapping[str, ArrayLike], *, batch_size: int = 50
    ) -> tuple[Float[Array, " N"], Float[Array, "N unconstrained"]]:
        """Log densities as `log_prob`, and their derivatives in the unconstrained parameters; traceable.

        The laws at the nodes are differentiated forward, the mixture of them in reverse: a few times the cost of
        `log_prob`, whatever the number of parameters.
        """

        def arrays_at(vector):
            return eqx.partition(self.at_nodes(self.simulator.parameters.from_vector(vector)), eqx.is_inexact_array)

        arrays, static = arrays_at(vector)
        # One tangent after the other: in 32 bits, XLA of JAX 0.10 makes wrong ones of many nodes side by side.
        _, push = jax.linearize(lambda vector: arrays_at(vector)[0], vector)
        slopes = jax.tree.leaves(jax.lax.map(push, jnp.eye(len(vector), dtype=vector.dtype)))

        def one(tensors):
            value, pull = jax.value_and_grad(lambda arrays: _log_mean(eqx.combine(arrays, static), tensors))(arrays)
            parts = zip(jax.tree.leaves(pull), slopes, strict=True)
            return value, sum(slope.reshape(len(vector), -1) @ part.reshape(-1) for part, slope in parts)

        return jax.lax.map(one, self._arrays(data), batch_size=batch_size)

    def _arrays(self, data: Mapping[str, ArrayLike]) -> dict[str, Array]:
        return {key: jnp.asarray(data[key]) for key in self.surrogates}

    def at_nodes(self, params: Mapping[str, Array]) -> tuple[dict[str, AbstractTensorLaw], Float[Array, " nodes"]]:
        """Law of each compared site at the nodes, and their log weights, which sum to one; traceable."""
        num = len(self.nodes.log_weights)
        sites, requests = self._trace(params, self.nodes.values, num)
        log_weights = self.nodes.log_weights
        for name, value in self.nodes.values.items():
            log_weights = log_weights + sites[name]["fn"].log_prob(value).reshape(num, -1).sum(1)
        laws = {key: surrogate.given(*requests[key].inputs) for key, surrogate in self.surrogates.items()}
        return laws, jax.nn.log_softmax(log_weights)

    def _trace(
        self, params: Mapping[str, Array], values: Mapping[str, Array], num: int, rng_key: Array | None = None
    ) -> tuple[dict, dict[str, Any]]:
        """All sites of so many specimens, and the requests; nothing is solved."""
        specimens, rng_key = self.simulator.specimens, jax.random.key(0) if rng_key is None else rng_key
        indices = jnp.arange(num) % specimens.plate_size
        answers = {key: jnp.broadcast_to(jnp.eye(e[-1]), (num, *e)) for key, e in self.simulator.compared.items()}
        model = Requests(Chunk(handlers.seed(specimens.model, rng_key), specimens.plate, indices, False), answers)
        with InnerOnly():
            sites = handlers.trace(handlers.substitute(model, data={**params, **values})).get_trace()
        return sites, model.requests

    def _integrated_sites(self) -> tuple[str, ...]:
        """The simulated sites on which the inputs depend; nothing is computed."""
        without_density = set()

        def look(key):
            params = self.simulator.parameters.sample(key)
            sites, requests = self._trace(params, {}, 2)
            for name, surrogate in self.surrogates.items():
                _check_request(name, surrogate, requests)
            for name in self.simulator.simulated:
                try:
                    sites[name]["fn"].log_prob(sites[name]["value"])
                except NotImplementedError:
                    without_density.add(name)
            return params, {name: sites[name]["value"] for name in self.simulator.simulated}

        params, values = jax.eval_shape(look, jax.random.key(0))

        def inputs(**given):
            values = {name: given.pop(name) for name in self.simulator.simulated}
            return {key: self._trace(given, values, 2)[1][key].inputs for key in self.surrogates}

        needed = frozenset().union(*dependencies(inputs, params | values).values())
        if needed & without_density:
            raise ValueError(
                f"The inputs of the surrogates depend on sites {sorted(needed & without_density)}, which have no"
                " density and cannot be integrated. Draw the microstructure in the function that homogenize is given:"
                " homogenize(name, cell, field_fn, inputs=(fractions, kappa), num_realizations=1)."
            )
        return tuple(name for name in values if name in needed)

    def _make_nodes(self, rng_key: Array, num_nodes: int) -> Nodes:
        if not self.sites:
            return Nodes({}, jnp.zeros(1))

        @jax.jit
        @jax.vmap
        def draw(key):
            params = self.simulator.parameters.sample(key)
            sites = self._trace(params, {}, _NUM_DRAWS, jax.random.fold_in(key, 1))[0]
            points = [bijection(sites[name]["fn"]).inv(sites[name]["value"]) for name in self.sites]
            return [point.reshape(_NUM_DRAWS, -1) for point in points]

        drawn = [np.asarray(x).reshape(_NUM_DRAWS**2, -1) for x in draw(jax.random.split(rng_key, _NUM_DRAWS))]
        sizes, joined = [x.shape[1] for x in drawn], np.concatenate(drawn, axis=1)
        warps = [_quantiles(column[np.isfinite(column)]) for column in joined.T]
        unit = _unit_points(len(warps), num_nodes)
        where = np.stack([warp(x) for warp, x in zip(warps, unit.T, strict=True)], axis=1)
        spacing = np.prod([warp(x, 1) for warp, x in zip(warps, unit.T, strict=True)], axis=0)

        @jax.jit
        def place(points, log_weights):
            sites = self._trace(self.simulator.parameters.sample(rng_key), {}, len(points))[0]
            values = {}
            parts = jnp.split(points, np.cumsum(sizes)[:-1], axis=1)
            for name, part in zip(self.sites, parts, strict=True):
                transform = bijection(sites[name]["fn"])
                values[name] = transform(part)
                change = transform.log_abs_det_jacobian(part, values[name])
                log_weights = log_weights + change.reshape(len(points), -1).sum(1)
            return Nodes(values, log_weights)

        return place(*(jnp.asarray(x, jnp.result_type(float)) for x in (where, np.log(spacing))))


def _check_request(key: str, surrogate: AbstractSurrogate, requests: Mapping[str, Any]) -> None:
    if key not in requests:
        raise ValueError(f"Site '{key}' is not one of homogenize, {list(requests)}; a surrogate is the law of one.")
    surrogate.check_cell(requests[key].cell)
    if requests[key].num_realizations != 1:
        raise ValueError(
            f"Site '{key}' has num_realizations={requests[key].num_realizations}, but a surrogate is the law of one"
            " realisation: write homogenize(name, cell, field_fn, inputs=..., num_realizations=1)."
        )


def _log_mean(
    given: tuple[Mapping[str, AbstractTensorLaw], Float[Array, " nodes"]], tensors: Mapping[str, Array]
) -> Float[Array, ""]:
    """Log density of the tensors of one specimen, a mixture over the nodes."""
    laws, log_weights = given
    return jax.scipy.special.logsumexp(log_weights + sum(laws[key].log_prob(tensors[key]) for key in laws))


def _quantiles(draws: Float[np.ndarray, " draws"]) -> Any:
    """Smooth increasing map of the unit interval to the range of some draws: three quarters of points go as they do."""
    from scipy.interpolate import PchipInterpolator

    low, high = np.percentile(draws, _RANGE)
    inside = draws[(draws > low) & (draws < high)]
    pooled = np.concatenate([inside, np.linspace(low, high, len(inside) // 3)])
    levels = np.linspace(0, 100, 41)
    return PchipInterpolator(levels / 100, np.percentile(pooled, levels))


def _unit_points(ndim: int, num: int) -> Float[np.ndarray, "nodes ndim"]:
    """A lattice of points in the unit cube, of equal weights, whose projections on any axis do not coincide."""
    # The root of x^d = x + 1 for d - 1 axes makes the most even fractions (d = 2: the golden section).
    root = np.max(np.roots([1, *[0] * (ndim - 2), -1, -1]).real) if ndim > 1 else 1.0
    steps = np.arange(num)
    rest = [(0.5 + steps * root**-axis) % 1 for axis in range(1, ndim)]
    return np.stack([(steps + 0.5) / num, *rest], axis=1)
