"""Simulation of a population of specimens from a NumPyro model, chunk by chunk of its plate."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float
from numpyro import handlers
from numpyro.distributions import Distribution

from .._keys import single_key
from .._pickling import ByValue
from ._bijection import bijection, is_positive
from ._checks import check_arguments, checked_values
from ._chunks import checked_chunk_size, map_chunks
from ._inspection import inspect_model
from ._messengers import Chunk, InnerOnly, density_change, hide_specimens


class Population:
    """The specimens that a model simulates, as a function of the model's parameters.

    The specimen plate is the innermost plate of the compared sites. Latent sites outside of it are the parameters;
    sample sites inside are simulated. A site that a handler of the model has fixed (`condition`, `substitute`, `do`) is
    neither. Construction traces the model abstractly: it costs no solve and no memory.

    Handlers that are active around a call see the "homogenize" messages of the model and nothing else.

    Args:
        model: a NumPyro model. What varies from specimen to specimen stands in the plate; per-specimen data must be
            indexed with what the plate yields (`with numpyro.plate("specimens", n) as index: ... temperature[index]`).
        keys: names of the compared sites: deterministic or sample sites of the plate.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        plate: name of the specimen plate, if not the innermost one of the compared sites.
        chunk_size: number of specimens simulated at a time; peak memory grows with it and not with the population.
            Default: as many as make 4 MiB of simulated values and fields.
        score: names of simulated sites whose score is to be used although they have a path derivative.

    Attributes:
        num_specimens: size of the population.
        chunk_size: number of specimens simulated at a time.
        plate: name of the specimen plate.
        parameters: name -> shape and dtype of each parameter, constrained, in the order of the vector.
        compared: name -> event shape of each compared site.
        simulated: names of the sample sites inside the plate.
        effective: names of the compared sites that `homogenize` records: their values are positive definite.
        non_reparametrized: simulated site -> names of the parameters that act on it without a differentiable path.
            Derivatives of `simulate` miss that action.
        scored: simulated site -> names of the parameters whose action on it `simulate_chunk_scored` turns into a
            score. These are the sites of `score`, and those that take the place of a missing path: a site with a
            density one of whose arguments has no path, or sites with a density that carry a parameter into such an
            argument of a site without.
        without_derivative: simulated site -> names of the parameters that act on it, and on the compared sites,
            neither by path nor by score.
        derivatives: parameter -> the ways in which it acts on the compared sites: "path", "score", both, or none.

    Raises:
        TypeError: if the model does not take these arguments, or the size of its plate is no integer.
        ValueError: if a key is not a site, is in no plate, does not vary within it or depends on no parameter; if keys
            stand in different plates; if there is no parameter, a discrete one, or one without a density (a
            microstructure outside the plate); if a site of the plate is observed, or the model is seeded.

    Example:
        >>> population = Population(model, ["K_eff"], (1000,))
        >>> params = population.prior_sample(jax.random.key(0))
        >>> population.simulate(params, jax.random.key(1))["K_eff"].shape
        (1000, 2, 2)
    """

    def __init__(
        self,
        model: Callable,
        keys: Sequence[str],
        args: tuple = (),
        kwargs: dict | None = None,
        *,
        plate: str | None = None,
        chunk_size: int | None = None,
        score: Sequence[str] = (),
    ):
        kwargs = {} if kwargs is None else kwargs
        self.keys = tuple(keys)
        check_arguments(model, args, kwargs)
        self._model = functools.partial(model, *args, **kwargs)
        facts = inspect_model(self._model, self.keys, plate, tuple(score))
        self.plate, self.num_specimens = facts.plate, facts.num_specimens
        self._plate_size = facts.num_specimens
        self.parameters = facts.parameters
        self.compared, self.simulated, self.effective = facts.compared, facts.simulated, facts.effective
        ways = facts.derivatives
        self.non_reparametrized, self.scored = ways.non_reparametrized, ways.scored
        self.without_derivative, self.derivatives = ways.without_derivative, ways.derivatives
        self._axes = facts.axes
        self.chunk_size = checked_chunk_size(chunk_size, self.num_specimens, facts.bytes_per_specimen)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_unravel", "positive")}
        return state | {"_model": ByValue(self._model)}

    def resize(self, num_specimens: int) -> "Population":
        """The first `num_specimens` of these specimens, with the same chunks: nested common random numbers.

        Args:
            num_specimens: fewer or more than in the plate; beyond its end, what the model takes by index comes again.
                Multiples of `chunk_size` waste nothing.

        Raises:
            ValueError: if `num_specimens` is not a positive integer.
        """
        if isinstance(num_specimens, bool) or int(num_specimens) != num_specimens or num_specimens < 1:
            raise ValueError(f"num_specimens must be a positive integer; got {num_specimens!r}.")
        other = object.__new__(Population)
        other.__dict__.update(self.__dict__, num_specimens=int(num_specimens))
        return other

    def simulate(
        self, params: Mapping[str, Any], rng_key: ArrayLike, *, throw: bool = False
    ) -> dict[str, Float[Array, "specimens ..."]]:
        """Simulate the compared sites of all specimens.

        The same key gives the same noise whatever the parameters (common random numbers), and the same first
        specimens whatever the size of the population. Chunk i uses `fold_in(rng_key, i)`.

        Args:
            params: constrained value of every parameter.
            rng_key: key of the simulated sites.
            throw: raise if a cell fails. With False its tensor is NaN, and its derivative zero.

        Returns:
            Key -> values, shape (num_specimens, *event), floating point.

        Raises:
            ValueError: at call or trace time, if a parameter is missing or has the wrong shape.

        Costs one forward simulation; first derivatives, forward or reverse, one simulation with a tangent for each
        entry of the parameters (the cells are not solved again), in memory that does not grow with the population
        beyond the values and their Jacobian. Values behind a discrete draw have derivative zero (see
        `non_reparametrized`).
        """
        rng_key = single_key(rng_key)
        flat, unravel = ravel_pytree(checked_values(params, self.parameters))
        num_chunks = math.ceil(self.num_specimens / self.chunk_size)
        indices = jnp.arange(num_chunks * self.chunk_size).reshape(num_chunks, self.chunk_size)
        chunks = (jnp.arange(num_chunks), indices % self._plate_size)

        def run(flat, rng_key, chunk):
            number, index = chunk
            return self._run_chunk(unravel(flat), jax.random.fold_in(rng_key, number), index, throw=throw)

        # What the model closes over may be traced: as leaves of a pytree it can enter a custom derivative.
        run = eqx.filter_closure_convert(run, flat, rng_key, jax.tree.map(lambda x: x[0], chunks))
        values = map_chunks(flat, (run, rng_key, chunks))
        return {key: x.reshape(-1, *x.shape[2:])[: self.num_specimens] for key, x in values.items()}

    def simulate_chunk(
        self, params: Mapping[str, Any], rng_key: ArrayLike, number: int | Array, *, throw: bool = False
    ) -> dict[str, Float[Array, "specimens ..."]]:
        """Simulate one chunk: specimens number * chunk_size and following of `simulate`; one program for all chunks.

        Args:
            params: constrained value of every parameter.
            rng_key: key of the simulated sites.
            number: index of the chunk, which may be traced.
            throw: raise if a cell fails.

        Returns:
            Key -> values, shape (chunk_size, *event). Beyond the last specimen of the population they are padding.
        """
        return self._run_chunk(checked_values(params, self.parameters), *self._chunk(rng_key, number), throw=throw)

    def simulate_chunk_scored(
        self,
        params: Mapping[str, Any],
        rng_key: ArrayLike,
        number: int | Array,
        *,
        held_at: Mapping[str, Any] | None = None,
        throw: bool = False,
    ) -> tuple[dict[str, Float[Array, "specimens ..."]], Float[Array, " specimens"]]:
        """Simulate one chunk with the `scored` sites held: their parameters act on a density instead.

        The scored sites have the values that they draw at `held_at`, through which no derivative passes. With w_i the
        log density there of specimen i at `params`, less that at `held_at`, the mean of any f over the specimens is
        E[exp(w) f], and its derivative E[exp(w) (df/dtheta + f dw/dtheta)].

        Args:
            params: constrained value of every parameter.
            rng_key: key of the simulated sites.
            number: index of the chunk, which may be traced.
            held_at: constrained value of every parameter where the scored sites are drawn; default: `params`, and the
                values are those of `simulate_chunk`.
            throw: raise if a cell fails.

        Returns:
            Key -> values, shape (chunk_size, *event), and w, shape (chunk_size,).
        """
        params = checked_values(params, self.parameters)
        held_at = jax.lax.stop_gradient(params if held_at is None else checked_values(held_at, self.parameters))
        return self._run_scored(params, held_at, *self._chunk(rng_key, number), throw=throw)

    def prior_sample(self, rng_key: ArrayLike) -> dict[str, Array]:
        """Draw the parameters from their prior; constrained values by name. Costs no solve."""
        prior_key, rng_key = jax.random.split(single_key(rng_key))
        return self._run_parameters(lambda model: handlers.seed(model, prior_key), rng_key)[0]

    def constrain(self, unconstrained: Mapping[str, Array]) -> dict[str, Array]:
        """Constrained values of the parameters from unconstrained ones, by name; `bijection` says how."""

        def substitute_fn(site):
            if site["type"] == "sample" and site["name"] in unconstrained:
                return bijection(site["fn"])(unconstrained[site["name"]])

        return self._run_parameters(lambda model: handlers.substitute(model, substitute_fn=substitute_fn))[0]

    def unconstrain(self, params: Mapping[str, Any]) -> dict[str, Array]:
        """Unconstrained values of the parameters from constrained ones, by name."""
        params = checked_values(params, self.parameters)
        _, distributions = self._run_parameters(lambda model: handlers.substitute(model, data=params))
        return {name: bijection(distributions[name]).inv(params[name]) for name in self.parameters}

    def to_vector(self, params: Mapping[str, Any]) -> Float[Array, "unconstrained"]:
        """Unconstrained values of all parameters in one vector, from constrained values by name."""
        return ravel_pytree(self.unconstrain(params))[0]

    def from_vector(self, vector: Float[Array, "unconstrained"]) -> dict[str, Array]:
        """Constrained values by name, from the vector of unconstrained ones: the inverse of `to_vector`."""
        return self.constrain(self.split(vector))

    def split(self, vector: Float[Array, "unconstrained"]) -> dict[str, Array]:
        """Unconstrained values by name, from the vector of all."""
        return self._unravel(vector)

    @functools.cached_property
    def positive(self) -> frozenset[str]:
        """Names of the parameters whose prior allows no negative value."""
        with jax.ensure_compile_time_eval():
            return frozenset(name for name, prior in self.priors().items() if is_positive(prior.support))

    def priors(self) -> dict[str, Distribution]:
        """Distributions of the parameters, each at one draw of those before it."""
        return self._run_parameters(lambda model: handlers.seed(model, jax.random.key(0)))[1]

    def parameter_labels(self) -> list[str]:
        """Name of each entry of the raveled constrained parameters: ["delay[0]", "delay[1]", "noise", ...]."""
        return [
            name + (f"[{','.join(map(str, index))}]" if index else "")
            for name, parameter in self.parameters.items()
            for index in np.ndindex(*parameter.shape)
        ]

    @functools.cached_property
    def _unravel(self):
        shapes = jax.eval_shape(
            lambda: self.unconstrain({k: jnp.ones(x.shape, x.dtype) for k, x in self.parameters.items()})
        )
        return ravel_pytree({name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()})[1]

    def _chunk(self, rng_key, number):
        """Key and indices of a chunk."""
        rng_key, number = single_key(rng_key), jnp.asarray(number)
        indices = number * self.chunk_size + jnp.arange(self.chunk_size)
        return jax.random.fold_in(rng_key, number), indices % self._plate_size

    def _run_chunk(self, params, rng_key, indices, *, throw):
        return self._compared_values(self._trace_chunk(params, rng_key, indices, throw))

    def _run_scored(self, params, held_at, rng_key, indices, *, throw):
        drawn = self._trace_chunk(held_at, rng_key, indices, False)
        values = {name: drawn[name]["value"] for name in self.scored}
        # A site takes its key before it is given its value: what follows the held ones draws as ever.
        sites = self._trace_chunk(params | values, rng_key, indices, throw)
        return self._compared_values(sites), density_change(drawn, sites, self.scored, self.plate, self.chunk_size)

    def _trace_chunk(self, values, rng_key, indices, throw):
        model = Chunk(handlers.seed(self._model, rng_key), self.plate, indices, throw)
        with InnerOnly():
            return handlers.trace(handlers.substitute(model, data=values)).get_trace()

    def _compared_values(self, sites):
        values = {key: jnp.moveaxis(sites[key]["value"], axis, 0) for key, axis in self._axes.items()}
        return {key: x.astype(jnp.result_type(x.dtype, float)) for key, x in values.items()}

    def _run_parameters(self, wrap, rng_key=None):
        # The simulated values are thrown away here: any key serves.
        rng_key = jax.random.key(0) if rng_key is None else rng_key
        hidden = hide_specimens(self._model, self.plate, rng_key)
        with InnerOnly():
            wrap(hidden)()
        return tuple({name: found[name] for name in self.parameters} for found in (hidden.values, hidden.distributions))
