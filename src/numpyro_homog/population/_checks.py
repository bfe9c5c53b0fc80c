"""Checks of what a call passes: arguments of the model, values of its parameters; private to the package."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._compat import Messenger


def check_arguments(model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
    """Raise TypeError unless the model can be called with these arguments; nothing is run."""
    while isinstance(model, Messenger):
        model = model.fn
    signature = inspect.signature(model)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        unknown = [name for name in kwargs if name not in signature.parameters]
        meant = (guess_name(name, signature.parameters) for name in unknown)
        raise TypeError(
            f"The model takes {signature}, but: {error}. It gets all arguments that the call does not know itself."
            + next(filter(None, meant), "")
        ) from None


def guess_name(name: str, known: Iterable[str]) -> str:
    """The question whether another name is meant, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Is '{near[0]}' meant?" if near else ""


def check_names(params: Mapping[str, Any], parameters: Mapping[str, jax.ShapeDtypeStruct]) -> None:
    """Raise ValueError unless there is a value of every parameter."""
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
    return bool(eqx.tree_equal(first, second, typematch=True))
