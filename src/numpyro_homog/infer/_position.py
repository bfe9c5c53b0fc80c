"""Given parameters as a point of unconstrained space."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ..population import Population, check_names, describe_support


def position_of(population: Population, params: Mapping[str, Any]) -> np.ndarray:
    """The unconstrained vector of constrained values, shape (P,).

    Raises:
        ValueError: if a value is missing, has the wrong shape, or the way back does not lead to it.
    """
    check_names(params, population.parameters)
    # Compiled, for a model that sees a wrong value speaks of its own lines, and not of the parameter.
    vector = jax.jit(population.to_vector)({name: params[name] for name in population.parameters if name in params})
    back = jax.jit(population.from_vector)(vector)
    for name in population.parameters:
        value = np.asarray(params[name])
        if not np.isfinite(value).all() or not np.allclose(back[name], value, rtol=1e-3, atol=1e-6):
            raise ValueError(
                f"params['{name}'] = {value} is outside of the support of its prior: it must be"
                f" {describe_support(population.priors()[name])}. Pass a value that the model could draw."
            )
    return np.asarray(vector)


def spread_of(draws: np.ndarray) -> np.ndarray:
    """Standard deviation of each coordinate over the finite draws, (num, P) to (P,); one if there is none."""
    finite = draws[np.isfinite(draws).all(axis=1)].astype(float)
    spread = finite.std(axis=0) if len(finite) > 1 else np.zeros(draws.shape[1])
    return np.where(spread > 0, spread, 1.0)
