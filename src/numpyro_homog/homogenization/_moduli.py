"""Moduli of isotropic elastic materials, by name, and stiffnesses made of them."""

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from .._tracing import is_traced
from ..tensors import mandel_factors

MANDEL_PAIRS = {
    1: ((0, 0),),
    2: ((0, 0), (1, 1), (0, 1)),
    3: ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)),
}
Plane = Literal["strain", "stress"]


class Lame(NamedTuple):
    """Lame parameters of isotropic materials, as `lame_from_young` and `lame_from_bulk` make.

    They are those of the material in three dimensions, whatever a cell in the plane is a section of. Arrays of shapes
    that broadcast, in one unit: of the phases, (*batch, J), for `mix`, or of the voxels, (*batch, *grid), as a field.

    Attributes:
        lame_lambda: first Lame parameter, > -2/3 shear_modulus.
        shear_modulus: shear modulus, > 0.

    Example:
        >>> nh.mix(phases, nh.Lame(jnp.array([1.0, 40.0]), jnp.array([0.5, 28.0])))
    """

    lame_lambda: Array
    shear_modulus: Array

    def of_plane(self, plane: Plane) -> "Lame":
        """The moduli that stand in their place in the equations of a plane problem; raises ValueError for no plane.

        In plane "strain" they are themselves, in "stress" 2 lambda mu / (lambda + 2 mu) stands for lambda.
        """
        if plane not in ("strain", "stress"):
            raise ValueError(f"plane must be 'strain' or 'stress'; got {plane!r}.")
        if plane == "strain":
            return self
        lame, shear = self
        return Lame(2 * lame * shear / (lame + 2 * shear), shear)

    def thermal_modulus(self, plane: Plane) -> Array:
        """Pressure that keeps a material from expanding by one: 3 lambda + 2 mu, in a plate E / (1 - nu)."""
        lame, shear = self.of_plane(plane)
        return 3 * lame + 2 * shear if plane == "strain" else 2 * (lame + shear)


def lame_from_young(young: ArrayLike, poisson: ArrayLike) -> Lame:
    """Lame parameters of Young's modulus and Poisson's ratio.

    lambda = E nu / ((1 + nu) (1 - 2 nu)), shear = E / (2 (1 + nu)); any shapes that broadcast, in the unit of E.

    Args:
        young: Young's modulus E, > 0.
        poisson: Poisson's ratio nu, in (-1, 1/2).

    Raises:
        ValueError: if a concrete Poisson's ratio is not in (-1, 1/2).
    """
    modulus, ratio = _broadcast(young, poisson)
    if not is_traced(ratio) and not bool(jnp.all((ratio > -1) & (ratio < 0.5))):
        raise ValueError(f"Poisson's ratio must lie in (-1, 1/2); got {poisson}.")
    return Lame(modulus * ratio / ((1 + ratio) * (1 - 2 * ratio)), modulus / (2 * (1 + ratio)))


def young_from_lame(lame_lambda: ArrayLike, shear_modulus: ArrayLike) -> tuple[Array, Array]:
    """Young's modulus and Poisson's ratio: the inverse of `lame_from_young`.

    Args:
        lame_lambda: first Lame parameter.
        shear_modulus: shear modulus, in the same unit; shapes broadcast.
    """
    lame, shear = _broadcast(lame_lambda, shear_modulus)
    return shear * (3 * lame + 2 * shear) / (lame + shear), lame / (2 * (lame + shear))


def lame_from_bulk(bulk: ArrayLike, shear_modulus: ArrayLike) -> Lame:
    """Lame parameters of the bulk modulus K = lambda + 2/3 shear in space, and of the shear.

    Args:
        bulk: bulk modulus.
        shear_modulus: shear modulus, in the same unit; shapes broadcast.
    """
    volumetric, shear = _broadcast(bulk, shear_modulus)
    return Lame(volumetric - 2 * shear / 3, shear)


def isotropic_stiffness(
    lame_lambda: ArrayLike, shear_modulus: ArrayLike, ndim: int, *, plane: Plane = "strain"
) -> Array:
    """Mandel matrices lambda 1 1' + 2 mu I, shape (*batch, m, m).

    Args:
        lame_lambda: first Lame parameter of the material, shape (*batch,).
        shear_modulus: shear modulus mu, a shape that broadcasts with it.
        ndim: 2 (m = 3) or 3 (m = 6).
        plane: in 2D, "strain" or "stress"; in plane stress 2 lambda mu / (lambda + 2 mu) stands for lambda. It must be
            that of the law: a matrix does not tell what plane it is of.

    Raises:
        ValueError: for plane stress in three dimensions.
    """
    if plane == "stress" and ndim != 2:
        raise ValueError(f"Plane stress is a two-dimensional state; got ndim={ndim}.")
    moduli = Lame(*_broadcast(lame_lambda, shear_modulus)).of_plane(plane)
    lame, shear = (part[..., None, None] for part in moduli)
    trace = volumetric(ndim)
    return lame * like(np.outer(trace, trace), lame) + 2 * shear * like(np.eye(len(trace)), lame)


def mandel_to_voigt(stiffness: Float[Array, "*batch m m"]) -> Float[Array, "*batch m m"]:
    """Stiffness in Voigt notation of one in Mandel notation.

    Voigt entries are the components C_ijkl themselves (engineering shear strains). Only for stiffnesses; compliances
    scale the other way.

    Args:
        stiffness: Mandel matrices, shape (*batch, m, m) with m = 3 or 6.

    Raises:
        ValueError: if m is not 3 or 6.
    """
    return stiffness / _shear_weights(stiffness)


def voigt_to_mandel(stiffness: Float[Array, "*batch m m"]) -> Float[Array, "*batch m m"]:
    """Stiffness in Mandel notation of one in Voigt notation: the inverse of `mandel_to_voigt`.

    Args:
        stiffness: Voigt matrices, shape (*batch, m, m) with m = 3 or 6.
    """
    return stiffness * _shear_weights(stiffness)


def phase_moduli(properties: PyTree) -> PyTree:
    """`Lame` moduli, or one array of scalar properties, of what a user gives; a bare pair of moduli warns.

    Raises:
        TypeError: for a list of numbers.
        ValueError: for another number of arrays than two, and for a bare pair that is Young's modulus and Poisson's
            ratio by its values.
    """
    if isinstance(properties, Lame) or not isinstance(properties, tuple | list):
        return properties
    if all(np.ndim(part) == 0 for part in properties):
        raise TypeError(
            f"The properties of the phases are one array: write jnp.array({list(properties)}), or in elasticity"
            " nh.lame_from_young(E, nu) with one array for each modulus."
        )
    if len(properties) != 2:
        raise ValueError(
            "The properties of the phases must be one array, or nh.Lame(lame_lambda, shear_modulus); got"
            f" {len(properties)} arrays."
        )
    remedy = "nh.lame_from_young(E, nu), nh.lame_from_bulk(K, mu) or nh.Lame(lame_lambda, shear_modulus)"
    if not is_traced(properties):
        first, second = (np.asarray(part, float) for part in properties)
        if first.shape == second.shape and np.all((np.abs(second) < 0.5) & (first > 5 * np.abs(second))):
            raise ValueError(
                f"The bare pair ({first}, {second}) looks like Young's moduli and Poisson's ratios, but would be taken"
                f" as Lame parameters; name it: {remedy}."
            )
    warnings.warn(
        f"A bare pair of moduli is taken as (lame_lambda, shear_modulus); name it: {remedy}. The next minor release"
        " will refuse bare pairs.",
        FutureWarning,
        stacklevel=3,
    )
    return Lame(*properties)


def mandel_basis(ndim: int) -> np.ndarray:
    """The symmetric matrices of unit Mandel strains, shape (m, ndim, ndim)."""
    basis = np.zeros((len(MANDEL_PAIRS[ndim]), ndim, ndim))
    for unit, (i, j) in zip(basis, MANDEL_PAIRS[ndim], strict=True):
        unit[i, j] = unit[j, i] = 1.0 if i == j else np.sqrt(0.5)
    return basis


def volumetric(ndim: int) -> np.ndarray:
    """The unit tensor in Mandel components."""
    return np.array([float(i == j) for i, j in MANDEL_PAIRS[ndim]])


def spherical(scalars: Array, ndim: int) -> Array:
    """Mandel components, on a new last axis, of multiples of the unit tensor."""
    return jnp.stack([scalars * unit for unit in volumetric(ndim)], axis=-1)


def _shear_weights(stiffness: Array) -> Array:
    size = stiffness.shape[-1]
    if size not in (3, 6) or stiffness.shape[-2:] != (size, size):
        raise ValueError(f"A stiffness has shape (*batch, 3, 3) in 2D or (*batch, 6, 6) in 3D; got {stiffness.shape}.")
    return like(mandel_factors(size), stiffness)


def like(matrix: np.ndarray, array: Array) -> Array:
    """A constant matrix with the rank and dtype of `array`."""
    return jnp.asarray(matrix.reshape((1,) * (array.ndim - 2) + matrix.shape), array.dtype)


def _broadcast(first: ArrayLike, second: ArrayLike) -> Sequence[Array]:
    dtype = jnp.result_type(float, first, second)
    return jnp.broadcast_arrays(jnp.asarray(first, dtype), jnp.asarray(second, dtype))
