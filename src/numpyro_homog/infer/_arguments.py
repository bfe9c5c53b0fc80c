"""Comparison of the arguments of two calls."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def same_arguments(first: Mapping[str, Any] | tuple, second: Mapping[str, Any] | tuple) -> bool:
    """Whether two sets of arguments of a model are equal, array for array."""
    leaves_1, structure_1 = jax.tree.flatten(first)
    leaves_2, structure_2 = jax.tree.flatten(second)
    same_structure: Any = structure_1 == structure_2  # type: ignore[operator]
    return bool(same_structure) and all(_same(a, b) for a, b in zip(leaves_1, leaves_2, strict=True))


def _same(a, b):
    if a is b:
        return True
    if isinstance(a, (np.ndarray, jax.Array)) or isinstance(b, (np.ndarray, jax.Array)):
        return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))
    return type(a) is type(b) and bool(a == b)
