"""Linear elasticity in Mandel notation."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from ..tensors import mandel_factors
from ._law import AbstractLaw, Coefficients, tensor_coefficients
from ._tensor_fields import Geometry, as_real_array, field_axes, freeze, hint_of_mix, is_tensor_field

MANDEL_PAIRS = {2: ((0, 0), (1, 1), (0, 1)), 3: ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))}


class LinearElasticity(AbstractLaw):
    """Linear elasticity: stress = C(x) : strain, small strains.

    The field is the pair (lame_lambda, shear_modulus), arrays of one shape (*batch, *grid) (isotropic), or a stiffness
    in Mandel notation, shape (*batch, *grid, m, m), symmetric positive definite. m = 3 in 2D, with the order 11, 22,
    12; m = 6 in 3D, with the order 11, 22, 33, 23, 13, 12. In Mandel notation shear entries carry a factor sqrt(2) in
    strain and stress alike, so that C is a matrix in the usual sense; `mandel_to_voigt` converts.

    The effective tensor has shape (*batch, m, m), Mandel, and the unit of C. The corrector is a displacement, shape
    (*batch, m, d, *grid).

    Args:
        plane: what a 2D cell is a section of: "strain" (a long prism; the default) or "stress" (a thin plate; the Lame
            parameters remain those of the material in 3D). A stiffness field in Mandel notation is taken as it is.

    Raises:
        ValueError: at construction, if `plane` is neither; at call or trace time, if the shape of the field does not
            fit.

    The shear modulus must be positive and lame_lambda > -2/d shear_modulus (with d = 3 for plane stress). Void is no
    material: give it a small stiffness (a thousandth of the softest phase changes the tensor by about as little).

    Example:
        >>> cell = CellProblem(Grid((32, 32)), LinearElasticity(), Periodic())
        >>> lame = lame_from_young(jnp.full((32, 32), 70.0), jnp.full((32, 32), 0.3))
        >>> effective_tensor(cell, lame).shape
        (3, 3)
    """

    plane: Literal["strain", "stress"] = eqx.field(static=True, default="strain")

    def __check_init__(self):
        if self.plane not in ("strain", "stress"):
            raise ValueError(f"LinearElasticity(plane=...) must be 'strain' or 'stress'; got {self.plane!r}.")

    def num_components(self, ndim: int) -> int:
        """One displacement along each axis."""
        return ndim

    def num_loads(self, ndim: int) -> int:
        """Three strains in 2D, six in 3D, one in 1D."""
        return ndim * (ndim + 1) // 2

    def strain_operator(self, gradients: np.ndarray) -> np.ndarray:
        """Symmetric gradient in Mandel components."""
        quads, nodes, ndim = gradients.shape
        strain = np.zeros((quads, self.num_loads(ndim), nodes, ndim))
        for m, (i, j) in enumerate(_pairs(ndim)):
            weight = 1.0 if i == j else math.sqrt(0.5)
            strain[:, m, :, i] += weight * gradients[:, :, j]
            if i != j:
                strain[:, m, :, j] += weight * gradients[:, :, i]
        return strain.reshape(quads, -1, nodes * ndim)

    def affine(self, points: np.ndarray) -> np.ndarray:
        """Displacements of unit Mandel strains, without rotation."""
        nodes, ndim = points.shape
        displacement = np.zeros((self.num_loads(ndim), nodes, ndim))
        for m, (i, j) in enumerate(_pairs(ndim)):
            weight = 1.0 if i == j else math.sqrt(0.5)
            displacement[m, :, i] = weight * points[:, j]
            displacement[m, :, j] = weight * points[:, i]
        return displacement.reshape(-1, nodes * ndim)

    def reference_mode(self, ndim: int) -> np.ndarray:
        """The volumetric direction: the reference medium has Poisson's ratio near that of the material."""
        trace = _volumetric(ndim)
        return np.outer(trace, trace)

    @property
    def symmetric_gradient(self) -> bool:
        """Rotations cost no energy."""
        return True

    def coefficients(self, field: PyTree, grid: Geometry) -> Coefficients:
        """Lame parameters or Mandel stiffness, as in the description of the class."""
        d, size = grid.ndim, self.num_loads(grid.ndim)
        if self.plane == "stress" and d != 2:
            raise ValueError(f"Plane stress is a two-dimensional state; the grid has {d} dimensions.")
        if isinstance(field, tuple | list):
            return self._isotropic(field, grid)
        field = as_real_array(field, "a pair (lame_lambda, shear_modulus) of arrays, or one array of Mandel matrices")
        if not is_tensor_field(field.shape, grid, size):
            raise ValueError(
                f"field has shape {field.shape} but cell.grid is {grid.shape}; expected Mandel stiffnesses"
                f" (*batch, *grid, {size}, {size}), or a pair (lame_lambda, shear_modulus) of arrays (*batch, *grid)."
                + hint_of_mix(field.shape, grid, 3)
            )
        return tensor_coefficients(field, grid, self.reference_mode(d))

    def _isotropic(self, field, grid):
        d, space = grid.ndim, field_axes(grid)
        if len(field) != 2:
            raise ValueError(f"field must be a pair (lame_lambda, shear_modulus); got {len(field)} arrays.")
        lame, shear = (as_real_array(part, "a pair of arrays (lame_lambda, shear_modulus)") for part in field)
        if lame.shape != shear.shape or lame.shape[-len(space) :] != grid.shape:
            raise ValueError(
                f"lame_lambda has shape {lame.shape} and shear_modulus {shear.shape}, but cell.grid is {grid.shape};"
                " expected the same shape (*batch, *grid) for both: use jnp.broadcast_to."
            )
        dtype = jnp.result_type(lame, shear)
        lame, shear = lame.astype(dtype), shear.astype(dtype)
        bulk_in_3d = lax.stop_gradient(3 * lame + 2 * shear)
        if self.plane == "stress":
            lame = 2 * lame * shear / (lame + 2 * shear)
        values = jnp.stack([lame, shear], axis=-len(space) - 1)
        bases = (freeze(self.reference_mode(d)), freeze(2 * np.eye(self.num_loads(d))))
        twice_shear = 2 * lax.stop_gradient(shear)
        spherical = twice_shear + d * lax.stop_gradient(lame)
        ends = [(jnp.min(part, axis=space), jnp.max(part, axis=space)) for part in (twice_shear, spherical)]
        (shear_least, shear_greatest), (bulk_least, bulk_greatest) = ends
        # The reference has the geometric mean of the extreme stiffnesses in both modes.
        stretch = jnp.sqrt((bulk_least / shear_least) * (bulk_greatest / shear_greatest)) if d > 1 else 1.0
        stretch = jnp.where(jnp.isfinite(stretch), jnp.maximum(stretch, 1), jnp.ones_like(shear_least))
        least = jnp.minimum(shear_least, bulk_least / stretch)
        greatest = jnp.maximum(shear_greatest, bulk_greatest / stretch)
        valid = jnp.isfinite(least) & jnp.isfinite(greatest) & (least > 0)
        if self.plane == "stress":
            valid = valid & (jnp.min(bulk_in_3d, axis=space) > 0)
        return Coefficients(values, bases, least, greatest, (stretch - 1) / d, valid)


def lame_from_young(young: ArrayLike, poisson: ArrayLike) -> tuple[Array, Array]:
    """Lame parameters (lambda, shear modulus) of Young's modulus and Poisson's ratio.

    lambda = E nu / ((1 + nu) (1 - 2 nu)), shear = E / (2 (1 + nu)); any shapes that broadcast, in the unit of E.

    Args:
        young: Young's modulus E, > 0.
        poisson: Poisson's ratio nu, in (-1, 1/2).

    Raises:
        ValueError: if a concrete Poisson's ratio is not in (-1, 1/2).
    """
    modulus, ratio = _broadcast(young, poisson)
    if not isinstance(ratio, jax.core.Tracer) and not bool(jnp.all((ratio > -1) & (ratio < 0.5))):
        raise ValueError(f"Poisson's ratio must lie in (-1, 1/2); got {poisson}.")
    return modulus * ratio / ((1 + ratio) * (1 - 2 * ratio)), modulus / (2 * (1 + ratio))


def young_from_lame(lame_lambda: ArrayLike, shear_modulus: ArrayLike) -> tuple[Array, Array]:
    """Young's modulus and Poisson's ratio: the inverse of `lame_from_young`.

    Args:
        lame_lambda: first Lame parameter, any shape.
        shear_modulus: shear modulus, a shape that broadcasts with it.
    """
    lame, shear = _broadcast(lame_lambda, shear_modulus)
    return shear * (3 * lame + 2 * shear) / (lame + shear), lame / (2 * (lame + shear))


def lame_from_bulk(bulk: ArrayLike, shear_modulus: ArrayLike) -> tuple[Array, Array]:
    """Lame parameters (lambda, shear modulus) of the 3D bulk modulus and the shear modulus.

    Args:
        bulk: bulk modulus K = lambda + 2/3 shear, any shape.
        shear_modulus: shear modulus, a shape that broadcasts with it.
    """
    volumetric, shear = _broadcast(bulk, shear_modulus)
    return volumetric - 2 * shear / 3, shear


def isotropic_stiffness(lame_lambda: ArrayLike, shear_modulus: ArrayLike, ndim: int) -> Array:
    """Mandel matrices lambda 1 1' + 2 mu I, shape (*batch, m, m); in 2D those of plane strain.

    Args:
        lame_lambda: first Lame parameter, shape (*batch,).
        shear_modulus: shear modulus mu, a shape that broadcasts with it.
        ndim: 2 (m = 3) or 3 (m = 6).
    """
    lame, shear = (part[..., None, None] for part in _broadcast(lame_lambda, shear_modulus))
    trace = _volumetric(ndim)
    return lame * _like(np.outer(trace, trace), lame) + 2 * shear * _like(np.eye(len(trace)), lame)


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


def _shear_weights(stiffness):
    size = stiffness.shape[-1]
    if size not in (3, 6) or stiffness.shape[-2:] != (size, size):
        raise ValueError(f"A stiffness has shape (*batch, 3, 3) in 2D or (*batch, 6, 6) in 3D; got {stiffness.shape}.")
    return _like(mandel_factors(size), stiffness)


def _like(matrix, array):
    """A constant matrix with the rank and dtype of `array`."""
    return jnp.asarray(matrix.reshape((1,) * (array.ndim - 2) + matrix.shape), array.dtype)


def _pairs(ndim):
    return ((0, 0),) if ndim == 1 else MANDEL_PAIRS[ndim]


def _volumetric(ndim):
    return np.array([float(i == j) for i, j in _pairs(ndim)])


def _broadcast(first, second):
    dtype = jnp.result_type(float, first, second)
    return jnp.broadcast_arrays(jnp.asarray(first, dtype), jnp.asarray(second, dtype))
