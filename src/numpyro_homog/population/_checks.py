"""Checks of what a call passes: arguments of the model, values of its parameters; private to the package."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._compat import Messenger


def check_arguments(model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Raise unless the model can be called with these arguments; nothing is run.

    Raises:
        TypeError: naming what is missing or unknown, and the argument that may be meant.
    """
    while isinstance(model, Messenger):
        model = model.fn
    signature = inspect.signature(model)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = [name for name in kwargs if name not in signature.parameters]
        near = [match for name in unknown for match in difflib.get_close_matches(name, signature.parameters, n=1)]
        raise TypeError(
            f"The model takes {signature}, but: {error}. It gets all arguments that the call does not know itself."
            + (f" Is '{near[0]}' meant?" if near else "")
        ) from None


def check_names(params: Mapping[str, Any], parameters: Mapping[str, jax.ShapeDtypeStruct]) -> None:
    """Raise unless there is a value of every parameter.

    Args:
        params: values by name.
        parameters: the parameters by name.

    Raises:
        ValueError: naming those that are missing and those that are given.
    """
    missing = [name for name in parameters if name not in params]
    if missing:
        raise ValueError(f"Values of all parameters are needed; missing: {missing}, given: {sorted(params)}.")


def checked_values(params: Mapping[str, Any], parameters: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Values of all parameters as arrays of their dtype at least; other entries are passed on.

    Raises:
        ValueError: if a value is missing or has another shape than the parameter.
    """
    check_names(params, parameters)
    checked = {name: jnp.asarray(value) for name, value in params.items()}
    for name, expected in parameters.items():
        if checked[name].shape != expected.shape:
            raise ValueError(
                f"Parameter '{name}' has shape {expected.shape} in the model; got a value of shape"
                f" {checked[name].shape}."
            )
        checked[name] = checked[name].astype(jnp.promote_types(checked[name].dtype, expected.dtype))
    return checked


def same_arguments(first: Mapping[str, Any] | tuple, second: Mapping[str, Any] | tuple) -> bool:
    """Whether two sets of arguments of a model are equal, array for array.

    Args:
        first: positional or keyword arguments.
        second: others of the same kind.
    """
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
