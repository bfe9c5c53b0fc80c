"""Specimens whose values are not finite: how many may fail, and who takes their places."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree


def without_failed(specimens: PyTree, max_failed: float) -> tuple[PyTree, Int[Array, " M"]]:
    """Replace specimens with a value that is not finite by others, if they are few.

    So they are left out at a static shape: the law of the others is compared.

    Args:
        specimens: arrays with M specimens along their first axis.
        max_failed: largest fraction of them that may be left out; if more have failed, all stay as they are.

    Returns:
        The arrays, and the row that each specimen now has.
    """
    good = jnp.stack([jnp.isfinite(x).reshape(len(x), -1).all(1) for x in jax.tree.leaves(specimens)]).all(0)
    num_failed = jnp.sum(~good)
    # Good rows first; the failed take them in turn.
    order = jnp.argsort(~good, stable=True)
    turn = (jnp.cumsum(~good) - 1) % jnp.maximum(good.size - num_failed, 1)
    rows = jnp.arange(good.size)
    rows = jnp.where(good | (num_failed > max_failed * good.size), rows, order[turn])
    return jax.tree.map(lambda x: x[rows], specimens), rows


def checked_fraction(max_failed: Any) -> float:
    """`max_failed` as a number; ValueError if it is no fraction in [0, 1)."""
    if not isinstance(max_failed, (int, float)) or not 0 <= max_failed < 1:
        raise ValueError(
            f"max_failed is the fraction of specimens that may fail, at least 0 and below 1; got {max_failed!r}."
        )
    return float(max_failed)
