"""What a population makes of given parameters, compiled when it is asked for."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..population import Population


def predict(population: Population, params: Mapping[str, Any], rng_key: Any, num_specimens: int) -> dict[str, Any]:
    """Compared sites of `num_specimens` specimens at constrained parameters; see `MinimumDistanceResult.predict`."""
    population = population.resize(num_specimens)

    @jax.jit
    def chunk(number):
        return population.simulate_chunk(params, rng_key, number, throw=True)

    numbers = range(math.ceil(num_specimens / population.chunk_size))
    parts = [jax.tree.map(np.asarray, chunk(jnp.asarray(number))) for number in numbers]
    return {key: np.concatenate([part[key] for part in parts])[:num_specimens] for key in population.keys}
