"""The arguments of a fit: what does not fit together, and which are equal to those of another call."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .._compat import sites_given_outside
from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence
from ..population import Population
from ._levenberg_marquardt import LevenbergMarquardt
from ._stochastic import GradientTransformation


def checked_optimizer(
    divergence: AbstractDivergence,
    optimizer: LevenbergMarquardt | GradientTransformation | None,
    num_steps: int | None,
    batch_size: int | None,
) -> LevenbergMarquardt | GradientTransformation:
    """The optimizer, by default the one for sums of squares.

    Raises:
        TypeError: if the divergence is none.
        ValueError: if the options do not fit the optimizer, or it not the divergence.
    """
    if not isinstance(divergence, AbstractDivergence):
        raise TypeError(f"divergence must be an AbstractDivergence, as SlicedWasserstein() is; got {divergence!r}.")
    least_squares = isinstance(divergence, AbstractLeastSquaresDivergence)
    if optimizer is None:
        if not least_squares:
            raise ValueError(
                f"{type(divergence).__name__} is no sum of squares: pass an optax optimizer and num_steps."
            )
        optimizer = LevenbergMarquardt()
    if isinstance(optimizer, LevenbergMarquardt):
        if not least_squares:
            raise ValueError(f"LevenbergMarquardt needs a sum of squares; {type(divergence).__name__} is none.")
        if num_steps is not None or batch_size is not None:
            raise ValueError(
                "num_steps and batch_size belong to optax optimizers; LevenbergMarquardt(max_steps=...) has limits of"
                " its own."
            )
    elif num_steps is None or num_steps < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError("An optax optimizer needs num_steps >= 1 (and batch_size >= 1, if given).")
    return optimizer


def refuse_outer_values(population: Population) -> None:
    """Raise if a handler around the call would give a parameter its value.

    Raises:
        ValueError: naming the parameters.
    """
    given = sorted(sites_given_outside() & set(population.parameters))
    if given:
        raise ValueError(
            f"Handlers around this call give values to {given}, but a fit hides its model from them. To fix parameters,"
            " wrap the model: `handlers.condition(model, {name: value})`."
        )


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
