"""Volume fractions and properties of phases: what functions of them accept."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._results import VOIDS
from .._tracing import is_traced
from ._moduli import Lame, Plane
from ._tensor_fields import as_floating


def phase_scalars(
    fractions: PyTree, properties: PyTree, ndim: int, plane: Plane = "strain"
) -> tuple[Array, list[Array]]:
    """Fractions and a list of scalar properties, all of shape (*batch, J), after the checks of what is known.

    Properties are an array, the pair (bulk, shear), or `Lame` moduli, which become that pair; batch axes broadcast.
    """
    if ndim not in (2, 3):
        raise ValueError(f"ndim must be 2 or 3; got {ndim}.")
    if plane != "strain" and (ndim != 2 or not isinstance(properties, Lame)):
        raise ValueError(
            "plane='stress' is for nh.Lame moduli in two dimensions; a pair (bulk, shear) holds the area modulus of its"
            " plane state already."
        )
    if isinstance(properties, Lame):
        lame, shear = Lame(*map(_as_float, properties)).of_plane(plane)
        properties = (lame + 2 * shear / ndim, shear)
    given = properties if isinstance(properties, tuple) else (properties,)
    names = ("bulk", "shear") if isinstance(properties, tuple) else ("properties",)
    if len(given) != len(names):
        raise ValueError(f"elastic properties are the pair (bulk, shear); got a tuple of {len(given)}.")
    fractions, *parts = map(_as_float, (fractions, *given))
    for name, part in zip(names, parts, strict=True):
        if part.shape[-1:] != fractions.shape[-1:]:
            raise ValueError(
                f"{name} has shape {part.shape}, but fractions, shape {fractions.shape}, has {fractions.shape[-1]}"
                " phases; pass one number per phase, on the last axis."
            )
        _check_positive(name, part)
    _check_fractions(fractions)
    rank = max(array.ndim for array in (fractions, *parts))
    fractions, *parts = jnp.broadcast_arrays(*(_pad(array, rank) for array in (fractions, *parts)))
    return fractions, parts


def phase_properties(fractions: PyTree, properties: PyTree) -> tuple[Array, Array]:
    """Fractions (*batch, J), and scalars of the same rank or tensors of a rank higher by two, after the checks.

    Properties have the shape (*batch, J) or (*batch, J, m, m); told apart by rank if both readings fit.
    """
    if isinstance(properties, tuple | list):
        raise TypeError(
            "properties must be one array: conductivities, or one modulus, or for elastic phases the stiffnesses"
            " isotropic_stiffness(lame_lambda, shear_modulus, ndim, plane=...)."
        )
    fractions, properties = _as_float(fractions), _as_float(properties)
    num, shape = fractions.shape[-1], properties.shape
    scalars = shape[-1:] == (num,)
    tensors = len(shape) >= 3 and shape[-3] == num and shape[-1] == shape[-2]
    if scalars and tensors:
        scalars, tensors = len(shape) == fractions.ndim, len(shape) == fractions.ndim + 2
    if scalars == tensors:
        raise ValueError(
            f"properties has shape {shape}, but fractions, shape {fractions.shape}, has {num} phases: expected"
            f" (*batch, {num}) for scalars or (*batch, {num}, m, m) for tensors. If both fit, give properties the"
            " batch axes of fractions."
        )
    if scalars:
        _check_positive("properties", properties)
    elif not is_traced(properties):
        values = np.asarray(properties, float)
        asymmetry = np.abs(values - np.swapaxes(values, -1, -2))
        symmetric = np.all(np.isfinite(values)) and np.all(asymmetry <= 1e-4 * np.abs(values).max())
        if not symmetric or np.any(np.linalg.eigvalsh(values) <= 0):
            raise ValueError(f"properties must be symmetric and positive definite; got {values}.")
    _check_fractions(fractions)
    core = 1 if scalars else 3
    batch = max(fractions.ndim - 1, properties.ndim - core)
    return _pad(fractions, batch + 1), _pad(properties, batch + core)


def _as_float(array: Any) -> Array:
    array = jnp.asarray(array)
    if array.ndim == 0:
        raise ValueError("fractions and properties need an axis of phases; got a number.")
    return as_floating(array, "fractions or properties")


def _pad(array: Array, rank: int) -> Array:
    """The array with leading axes of length one before its batch axes."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _check_fractions(fractions: Float[Array, "*batch J"]) -> None:
    tolerance = float(jnp.finfo(fractions.dtype).eps) ** 0.5 * fractions.shape[-1]
    if not is_traced(fractions):
        values = np.asarray(fractions, float)
        if not (np.all(values >= 0) and np.all(np.abs(values.sum(-1) - 1) <= tolerance)):
            raise ValueError(f"fractions must be >= 0 with sum one over the last axis; got {values}.")


def _check_positive(name: str, array: Array) -> None:
    if not is_traced(array) and not np.all(np.isfinite(array) & (np.asarray(array) > 0)):
        raise ValueError(f"{name} must be finite and positive; got {np.asarray(array, float)}. {VOIDS}")
