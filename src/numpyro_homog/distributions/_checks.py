"""Checks of arguments, at construction, of what is known then."""

from collections.abc import Callable

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


def require(holds: Callable, name: str, value: ArrayLike, expected: str) -> None:
    """Raise `ValueError` unless `holds(value)` everywhere; a traced value passes.

    `expected` completes the sentence "name must be ...", and may say what to do.
    """
    if isinstance(value, jax.core.Tracer):
        return
    value = np.asarray(value)
    if not np.all(holds(value)):
        raise ValueError(f"{name} must be {expected}; got {value.tolist() if value.size <= 16 else value}.")


def require_positive(**values: ArrayLike) -> None:
    """Raise `ValueError` unless the values are positive and finite; a traced value passes."""
    for name, value in values.items():
        require(lambda v: (v > 0) & np.isfinite(v), name, value, "positive and finite")


def require_phases(name: str, value: jax.Array, what: str, least: int, advice: str = "") -> None:
    """Raise `ValueError` unless the last axis has an entry for each of J >= `least` phases; `what` is an entry."""
    if value.ndim < 1 or value.shape[-1] < least:
        raise ValueError(
            f"{name} has shape {value.shape}; {what} is expected on the last axis, (*batch, J) with J >= {least}."
            + advice
        )


def broadcast_batches(advice: str = "", /, **batches: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which the batch shapes of arguments broadcast, or `ValueError`."""
    try:
        return np.broadcast_shapes(*batches.values())
    except ValueError:
        shapes = ", ".join(f"{name} {shape}" for name, shape in batches.items())
        raise ValueError(f"batch shapes do not broadcast to one batch shape: {shapes}.{advice}") from None
