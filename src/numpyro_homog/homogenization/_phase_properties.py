"""Volume fractions and properties of phases: what functions of them accept."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from .._results import VOIDS
from ._moduli import Lame, Plane
from ._tensor_fields import as_floating


def phase_scalars(
    fractions: PyTree, properties: PyTree, ndim: int, plane: Plane = "strain"
) -> tuple[Array, list[Array]]:
    """Fractions and a list of scalar properties, all of shape (*batch, J), after the checks.

    Args:
        fractions: volume fractions, shape (*batch, J).
        properties: an array, the pair (bulk, shear), or `Lame` moduli, which become that pair; batch axes broadcast.
        ndim: number of space dimensions, 2 or 3.
        plane: plane state of `Lame` moduli in two dimensions.

    Raises:
        ValueError: if shapes or `ndim` do not fit; if values are concrete and no fractions, or not positive.
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
    names = ("bulk", "shear") if isinstance(properties, tuple) else ("properties",)
    given = properties if isinstance(properties, tuple) else (properties,)
    if len(given) != len(names):
        raise ValueError(f"elastic properties are the pair (bulk, shear); got a tuple of {len(given)}.")
    fractions, *parts = (_as_float(array) for array in (fractions, *given))
    for name, part in zip(names, parts, strict=True):
        if part.shape[-1:] != fractions.shape[-1:]:
            raise ValueError(
                f"{name} has shape {part.shape}, but fractions, shape {fractions.shape}, has {fractions.shape[-1]}"
                " phases; pass one number per phase, on the last axis."
            )
        _check_values(name, part, _are_positive, "finite and positive", VOIDS)
    _check_fractions(fractions)
    rank = max(array.ndim for array in (fractions, *parts))
    fractions, *parts = jnp.broadcast_arrays(*(_pad(array, rank) for array in (fractions, *parts)))
    return fractions, parts


def phase_properties(fractions: PyTree, properties: PyTree) -> tuple[Array, Array]:
    """Fractions (*batch, J), and scalars of the same rank or tensors of a rank higher by two, after the checks.

    Args:
        fractions: volume fractions, shape (*batch, J).
        properties: shape (*batch, J) or (*batch, J, m, m); told apart by rank if both readings fit.

    Raises:
        ValueError: if shapes do not fit; if values are concrete and no fractions, or not positive (definite).
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
    core = 3 if tensors else 1
    if tensors:
        _check_values("properties", properties, _are_definite, "symmetric and positive definite")
    else:
        _check_values("properties", properties, _are_positive, "finite and positive", VOIDS)
    _check_fractions(fractions)
    batch = max(fractions.ndim - 1, properties.ndim - core)
    return _pad(fractions, batch + 1), _pad(properties, batch + core)


def _as_float(array):
    array = jnp.asarray(array)
    if array.ndim == 0:
        raise ValueError("fractions and properties need an axis of phases; got a number.")
    return as_floating(array, "fractions or properties")


def _pad(array, rank):
    """The array with leading axes of length one before its batch axes."""
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _check_fractions(fractions):
    tolerance = float(jnp.finfo(fractions.dtype).eps) ** 0.5 * fractions.shape[-1]

    def sum_to_one(values):
        return np.all(values >= 0) and np.all(np.abs(values.sum(-1) - 1) <= tolerance)

    _check_values("fractions", fractions, sum_to_one, ">= 0 with sum one over the last axis")


def _check_values(name, array, is_right, what, advice=""):
    if isinstance(array, jax.core.Tracer):
        return
    values = np.asarray(array, float)
    if not is_right(values):
        raise ValueError(f"{name} must be {what}; got {values}. {advice}".rstrip())


def _are_positive(values):
    return np.all(np.isfinite(values) & (values > 0))


def _are_definite(values):
    if not np.all(np.isfinite(values)):
        return False
    asymmetry = np.abs(values - np.swapaxes(values, -1, -2))
    return np.all(asymmetry <= 1e-4 * np.abs(values).max()) and np.all(np.linalg.eigvalsh(values) > 0)
