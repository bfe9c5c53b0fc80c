"""Checks of arguments, at construction, of what is known then."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def float_arrays(*values: ArrayLike) -> list[jax.Array]:
    """The values as arrays of their common floating dtype; whole numbers get the default one."""
    dtype = jnp.result_type(*values)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return [jnp.asarray(value, dtype) for value in values]


def require(holds, name: str, value: ArrayLike, expected: str) -> None:
    """Raise `ValueError` unless `holds(value)` everywhere; a traced value passes.

    `expected` completes the sentence "name must be ...", and may say what to do.
    """
    if isinstance(value, jax.core.Tracer):
        return
    value = np.asarray(value)
    if not np.all(holds(value)):
        raise ValueError(f"{name} must be {expected}; got {value.tolist() if value.size <= 16 else value}.")


def require_positive(name: str, value: ArrayLike) -> None:
    """Raise `ValueError` unless the value is positive and finite; a traced value passes."""
    require(lambda v: (v > 0) & np.isfinite(v), name, value, "positive and finite")
