"""The parameters of a model: names, prior, and one vector of unconstrained values."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float
from numpyro import handlers
from numpyro.distributions import Distribution

from .._keys import single_key
from .._pickling import ByValue
from ._bijection import bijection, describe_support, is_positive, values_from
from ._checks import check_names, checked_values
from ._messengers import InnerOnly, hide_specimens


class ParameterSpace(Mapping[str, jax.ShapeDtypeStruct]):
    """The parameters of a model: a mapping from names to shapes and dtypes, constrained.

    They are the latent sites outside of the specimen plate; nothing is simulated here. Their order is that of
    the names; a vector holds the unconstrained values of all.

    Args:
        model: a NumPyro model without arguments.
        plate: name of its specimen plate.
        shapes: name -> shape and dtype of each parameter.
    """

    def __init__(self, model: Callable, plate: str, shapes: Mapping[str, jax.ShapeDtypeStruct]):
        self._model, self._plate, self._shapes = model, plate, dict(shapes)

    def __getitem__(self, name: str) -> jax.ShapeDtypeStruct:
        return self._shapes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": ByValue(self._model), "_plate": self._plate, "_shapes": self._shapes}

    @property
    def labels(self) -> list[str]:
        """Name of each entry of the raveled constrained parameters: ["delay[0]", "delay[1]", "noise", ...]."""
        return [
            name + (f"[{','.join(map(str, index))}]" if index else "")
            for name, shape in self.items()
            for index in np.ndindex(*shape.shape)
        ]

    @functools.cached_property
    def positive(self) -> frozenset[str]:
        """Names of the parameters whose prior allows no negative value."""
        with jax.ensure_compile_time_eval():
            return frozenset(name for name, prior in self.priors().items() if is_positive(prior.support))

    def priors(self) -> dict[str, Distribution]:
        """Distributions of the parameters, each at one draw of those before it."""
        return self._run(lambda model: handlers.seed(model, jax.random.key(0)))[1]

    def sample(self, rng_key: ArrayLike) -> dict[str, Array]:
        """Draw the parameters from their prior; constrained values by name."""
        prior_key, specimen_key = jax.random.split(single_key(rng_key))
        return self._run(lambda model: handlers.seed(model, prior_key), specimen_key)[0]

    def constrain(self, unconstrained: Mapping[str, Array]) -> dict[str, Array]:
        """Constrained values of the parameters from unconstrained ones, by name; `bijection` says how."""
        substitute_fn = values_from(unconstrained)
        return self._run(lambda model: handlers.substitute(model, substitute_fn=substitute_fn))[0]

    def unconstrain(self, params: Mapping[str, Any]) -> dict[str, Array]:
        """Unconstrained values of the parameters from constrained ones, by name."""
        params = checked_values(params, self)
        _, distributions = self._run(lambda model: handlers.substitute(model, data=params))
        return {name: bijection(distributions[name]).inv(params[name]) for name in self}

    def to_vector(self, params: Mapping[str, Any]) -> Float[Array, "unconstrained"]:
        """Unconstrained values of all parameters in one vector, from constrained values by name."""
        return ravel_pytree(self.unconstrain(params))[0]

    def from_vector(self, vector: Float[Array, "unconstrained"]) -> dict[str, Array]:
        """Constrained values by name, from the vector of unconstrained ones: the inverse of `to_vector`."""
        return self.constrain(self.split(vector))

    def split(self, vector: Float[Array, "unconstrained"]) -> dict[str, Array]:
        """Unconstrained values by name, from the vector of all."""
        return self._unravel(vector)

    def position_of(self, params: Mapping[str, Any]) -> Float[np.ndarray, "unconstrained"]:
        """The vector of given constrained values.

        Raises:
            ValueError: if a value is missing, has the wrong shape, or is outside of the support of its prior.
        """
        check_names(params, self)
        # Compiled, for a model that sees a wrong value speaks of its own lines, and not of the parameter.
        vector = np.asarray(self._compiled["vector"]({name: params[name] for name in self}))
        back = self.at(vector)
        for name in self:
            value = np.asarray(params[name])
            if not np.isfinite(value).all() or not np.allclose(back[name], value, rtol=1e-3, atol=1e-6):
                raise ValueError(
                    f"params['{name}'] = {value} is outside of the support of its prior: it must be"
                    f" {describe_support(self.priors()[name])}. Pass a value that the model could draw."
                )
        return vector

    def sample_vectors(self, rng_key: Array, num_draws: int) -> Float[np.ndarray, "draws unconstrained"]:
        """Draws of the prior as vectors."""
        return np.asarray(self._compiled["sample"](jax.random.split(rng_key, num_draws)))

    def at(self, vector: Float[np.ndarray, "*draws unconstrained"]) -> dict[str, np.ndarray]:
        """Constrained values of a vector, or of one in each row, by name."""
        values = self._compiled["value" if vector.ndim == 1 else "values"](jnp.asarray(vector))
        return {name: np.asarray(value) for name, value in values.items()}

    def table(self, vectors: Float[np.ndarray, "draws unconstrained"]) -> Float[np.ndarray, "draws entries"]:
        """Raveled constrained parameters of vectors, in the order of the labels, in double precision."""
        values = self.at(vectors)
        return np.concatenate([values[name].reshape(len(vectors), -1) for name in self], axis=1).astype(float)

    def jacobian(self, vector: Float[np.ndarray, "unconstrained"]) -> Float[np.ndarray, "entries unconstrained"]:
        """Derivative of the raveled constrained parameters, in the order of the labels."""
        return np.asarray(self._compiled["jacobian"](jnp.asarray(vector)), float)

    def by_name(self, entries: Float[np.ndarray, "entries"]) -> dict[str, np.ndarray]:
        """A value for each label as arrays of the shapes of the parameters."""
        parts = np.split(entries, np.cumsum([math.prod(shape.shape) for shape in self._shapes.values()])[:-1])
        return {name: part.reshape(self[name].shape) for name, part in zip(self, parts, strict=True)}

    def describe_directions(self, directions: Float[np.ndarray, "entries num"]) -> tuple[str, ...]:
        """Directions of parameter space in words: "0.71 kappa[0] - 0.71 kappa[1]"; small parts are left out.

        Args:
            directions: one direction of the raveled constrained parameters a column.
        """
        described, labels = [], self.labels
        for direction in directions.T:
            direction = direction / np.linalg.norm(direction)
            order = np.flatnonzero(np.abs(direction) > 0.05)
            direction = direction * np.sign(direction[order[0]])
            parts = [f"{'-' if direction[i] < 0 else '+'} {abs(direction[i]):.2f} {labels[i]}" for i in order]
            if len(order) == 1:
                parts = [labels[order[0]]]
            described.append(" ".join(parts).removeprefix("+ "))
        return tuple(described)

    @functools.cached_property
    def _unravel(self) -> Callable[[Array], dict[str, Array]]:
        shapes = jax.eval_shape(lambda: self.unconstrain({k: jnp.ones(x.shape, x.dtype) for k, x in self.items()}))
        return ravel_pytree({name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()})[1]

    @functools.cached_property
    def _compiled(self) -> dict[str, Callable]:
        """Functions for the host."""

        def entries(vector):
            values = self.from_vector(vector)
            return jnp.concatenate([values[name].reshape(-1) for name in self])

        return {
            "sample": jax.jit(jax.vmap(lambda key: self.to_vector(self.sample(key)))),
            "vector": jax.jit(self.to_vector),
            "value": jax.jit(self.from_vector),
            "values": jax.jit(jax.vmap(self.from_vector)),
            "jacobian": jax.jit(jax.jacfwd(entries)),
        }

    def _run(self, wrap: Callable[[Callable], Callable], rng_key: Array | None = None) -> tuple[dict, dict]:
        """Values and distributions of the parameters; the simulated values are thrown away: any key serves."""
        rng_key = jax.random.key(0) if rng_key is None else rng_key
        hidden = hide_specimens(self._model, self._plate, rng_key)
        with InnerOnly():
            wrap(hidden)()
        return {name: hidden.values[name] for name in self}, {name: hidden.distributions[name] for name in self}
