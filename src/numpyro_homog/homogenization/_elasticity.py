"""Linear elasticity in Mandel notation."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ..tensors import mandel_factors
from ._elastic_mixture import ElasticMixture
from ._law import AbstractGradientLaw, Coefficients, is_definite, tensor_coefficients
from ._moduli import Lame, Plane, like, mandel_basis, volumetric
from ._tensor_fields import Geometry, as_real_array, field_axes, freeze, hint_of_mix, is_tensor_field


class LinearElasticity(AbstractGradientLaw):
    """Linear elasticity: stress = C(x) : strain, small strains.

    The field is `Lame` moduli or a pair (lame_lambda, shear_modulus), arrays of one shape (*batch, *grid) (isotropic);
    phases mixed by `mix`; or a stiffness in Mandel notation, shape (*batch, *grid, m, m), symmetric positive definite.
    m = 3 in 2D, with the order 11, 22, 12; m = 6 in 3D, with the order 11, 22, 33, 23, 13, 12. In Mandel notation shear
    entries carry a factor sqrt(2) in strain and stress alike, so that C is a matrix in the usual sense;
    `voigt_to_mandel` converts.

    The effective tensor has shape (*batch, m, m), Mandel, and the unit of C. The corrector is a displacement, shape
    (*batch, m, d, *grid).

    Args:
        plane: what a 2D cell is a section of: "strain" (a long prism; the default) or "stress" (a thin plate). Moduli
            remain those of the material in 3D, also where `mix` mixes them. A stiffness in Mandel notation does not
            tell what plane it is of and is taken as it is: for plane stress that of
            `isotropic_stiffness(..., plane="stress")`.

    Raises:
        ValueError: at construction, if `plane` is neither; at call or trace time, if the shape of the field does not
            fit. A stiffness that is isotropic in Voigt notation everywhere is flagged like a bad coefficient.

    The shear modulus must be positive and lame_lambda > -2/d shear_modulus (with d = 3 for plane stress). Void is no
    material: give it a small stiffness (a millionth of that of the other phases, with 64 bits and `Multigrid()`).

    Example:
        >>> cell = CellProblem(Grid((32, 32)), LinearElasticity(), Periodic())
        >>> lame = lame_from_young(jnp.full((32, 32), 70.0), jnp.full((32, 32), 0.3))
        >>> effective_tensor(cell, lame).shape
        (3, 3)
    """

    plane: Plane = eqx.field(static=True, default="strain")

    def __check_init__(self) -> None:
        if self.plane not in ("strain", "stress"):
            raise ValueError(f"LinearElasticity(plane=...) must be 'strain' or 'stress'; got {self.plane!r}.")

    def basis(self, ndim: int) -> np.ndarray:
        """Symmetric matrices, so that unit strains do not rotate."""
        return mandel_basis(ndim)

    def reference_mode(self, ndim: int) -> np.ndarray:
        """The volumetric direction: the reference medium has Poisson's ratio near that of the material."""
        trace = volumetric(ndim)
        return np.outer(trace, trace)

    @property
    def symmetric_gradient(self) -> bool:
        return True

    def coefficients(self, field: PyTree, grid: Geometry) -> Coefficients:
        """Lame parameters or Mandel stiffness, as in the description of the class."""
        d, size, mode = grid.ndim, self.num_loads(grid.ndim), self.reference_mode(grid.ndim)
        if self.plane == "stress" and d != 2:
            raise ValueError(f"Plane stress is a two-dimensional state; the grid has {d} dimensions.")
        if isinstance(field, ElasticMixture):
            field.check(grid)
            made = field.mixed(self.plane)
            found = _isotropic(made, grid, mode) if isinstance(made, tuple) else tensor_coefficients(made, grid, mode)
            return self._of_materials(found, field.moduli, -1)
        if isinstance(field, tuple | list):
            moduli = _checked_pair(field, grid)
            return self._of_materials(_isotropic(moduli.of_plane(self.plane), grid, mode), moduli, field_axes(grid))
        field = as_real_array(field, "nh.Lame moduli, phases mixed by `mix`, or one array of Mandel matrices")
        if not is_tensor_field(field.shape, grid, size):
            raise ValueError(
                f"field has shape {field.shape} but cell.grid is {grid.shape}; expected Mandel stiffnesses"
                f" (*batch, *grid, {size}, {size}), or a pair (lame_lambda, shear_modulus) of arrays (*batch, *grid)."
                + hint_of_mix(field.shape, grid, 3)
            )
        found = tensor_coefficients(field, grid, mode)
        return eqx.tree_at(lambda c: c.valid, found, found.valid & ~_is_isotropic_in_voigt(field, grid))

    def _of_materials(self, found: Coefficients, moduli: Lame, axes: int | tuple[int, ...]) -> Coefficients:
        """Coefficients that are valid only if the materials are, with a positive bulk modulus in three dimensions."""
        if self.plane == "strain":
            return found
        bulk = jnp.min(lax.stop_gradient(3 * moduli.lame_lambda + 2 * moduli.shear_modulus), axis=axes)
        return eqx.tree_at(lambda c: c.valid, found, found.valid & (bulk > 0))


def _isotropic(moduli: tuple[Array, Array], grid: Geometry, mode: np.ndarray) -> Coefficients:
    """Coefficients of the moduli of the plane problem, for the volumetric `mode`."""
    (lame, shear), d, space = moduli, grid.ndim, field_axes(grid)
    values = jnp.stack([lame, shear], axis=-len(space) - 1)
    twice_shear = 2 * lax.stop_gradient(shear)
    spherical = twice_shear + d * lax.stop_gradient(lame)
    shear_least, bulk_least = (jnp.min(part, axis=space) for part in (twice_shear, spherical))
    shear_greatest, bulk_greatest = (jnp.max(part, axis=space) for part in (twice_shear, spherical))
    # The reference has the geometric mean of the extreme stiffnesses in both modes.
    stretch = jnp.sqrt((bulk_least / shear_least) * (bulk_greatest / shear_greatest)) if d > 1 else 1.0
    stretch = jnp.where(jnp.isfinite(stretch), jnp.maximum(stretch, 1), jnp.ones_like(shear_least))
    least = jnp.minimum(shear_least, bulk_least / stretch)
    greatest = jnp.maximum(shear_greatest, bulk_greatest / stretch)
    bases = (freeze(mode), freeze(2 * np.eye(len(mode))))
    return Coefficients(values, bases, least, greatest, (stretch - 1) / d, is_definite(least, greatest))


def _checked_pair(field: tuple | list, grid: Geometry) -> Lame:
    """A field of two Lame parameters, of one shape and dtype."""
    axes = field_axes(grid)
    if len(field) != 2:
        raise ValueError(f"field must be a pair (lame_lambda, shear_modulus); got {len(field)} arrays.")
    lame, shear = (as_real_array(part, "a pair of arrays (lame_lambda, shear_modulus)") for part in field)
    if lame.shape != shear.shape or lame.shape[-len(axes) :] != grid.shape:
        raise ValueError(
            f"lame_lambda has shape {lame.shape} and shear_modulus {shear.shape}, but cell.grid is {grid.shape};"
            " expected the same shape (*batch, *grid) for both: use jnp.broadcast_to."
        )
    dtype = jnp.result_type(lame, shear)
    return Lame(lame.astype(dtype), shear.astype(dtype))


def _is_isotropic_in_voigt(field: Float[Array, "*batch_and_grid m m"], grid: Geometry) -> Array | np.bool_:
    """Whether each member of a field of matrices is, everywhere, the isotropic stiffness of Voigt notation.

    Read in Mandel notation that is a cubic material with half of the shear stiffness that would make it isotropic.
    """
    d, size = grid.ndim, field.shape[-1]
    field = lax.stop_gradient(field)
    if d == 1:
        return np.False_
    first, second = field[..., :1, :1], field[..., :1, 1:2]
    trace, shears = volumetric(d), np.diag(1 / np.diagonal(mandel_factors(size)))
    outer, diagonal = like(np.outer(trace, trace), field), like(shears, field)
    misfit = jnp.abs(field - second * outer - (first - second) * diagonal)
    tolerance = float(jnp.finfo(field.dtype).eps) ** 0.5
    return jnp.all(misfit <= tolerance * first, axis=tuple(range(-len(grid.shape) - 2, 0)))
