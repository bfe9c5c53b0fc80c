"""The random keys that users pass."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def single_key(rng_key: Any) -> jax.Array:
    """One typed key, from a typed key or a raw one (`jax.random.PRNGKey(0)`, also as a NumPy array).

    Raises:
        TypeError: if it is no key, as an integer is not.
        ValueError: if it holds several keys.
    """
    if not isinstance(rng_key, (jax.Array, np.ndarray)):
        advice = f"jax.random.key({rng_key})" if isinstance(rng_key, (int, np.integer)) else "jax.random.key(0)"
        raise TypeError(f"rng_key is a JAX random key, not {rng_key!r}: pass {advice}.")
    if jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key):
        key = jnp.asarray(rng_key)
    elif rng_key.dtype == np.uint32 and rng_key.ndim > 0:
        key = jax.random.wrap_key_data(jnp.asarray(rng_key))
    else:
        raise TypeError(
            f"rng_key is a JAX random key, not an array of {rng_key.dtype}, shape {rng_key.shape}: pass"
            " jax.random.key(0)."
        )
    if key.shape:
        raise ValueError(
            f"rng_key holds keys of shape {key.shape}; one is expected. Pass one of them, or call once for each."
        )
    return key
