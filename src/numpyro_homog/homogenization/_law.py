"""Constitutive laws: how a field of coefficients becomes a tensor in each voxel."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from ._tensor_fields import (
    Geometry,
    along,
    as_real_array,
    direction_of,
    eigenvalue_bounds,
    field_axes,
    freeze,
    hint_of_mix,
    is_tensor_field,
    relative_to,
    split_components,
    symmetric_bases,
)


class Coefficients(eqx.Module):
    """The tensor field C(x) = sum_c values_c(x) bases_c of a law, and its spectral bounds.

    The bounds are relative to the reference medium R = I + ratio J, where J is the `AbstractLaw.reference_mode` of the
    law: least * R <= C(x) <= greatest * R in the Loewner order, for all x.

    Attributes:
        values: shape (*batch, c, *grid).
        bases: constant m x m matrices, a tuple of c nested tuples.
        least: lower bound over the cell, shape (*batch,).
        greatest: upper bound over the cell, shape (*batch,).
        ratio: weight of J in the reference medium, shape (*batch,), >= 0.
        valid: whether C is finite, symmetric and positive definite everywhere, shape (*batch,).
    """

    values: Float[Array, "*batch_c_grid"]
    bases: tuple = eqx.field(static=True)
    least: Float[Array, "*batch"]
    greatest: Float[Array, "*batch"]
    ratio: Float[Array, "*batch"]
    valid: Array

    @property
    def batch(self) -> tuple[int, ...]:
        """The batch axes."""
        return self.least.shape


class AbstractLaw(eqx.Module):
    """A linear law flux = C(x) strain.

    To write one, say how many components the unknown has, how a strain is made of shape-function gradients, and how
    the user's field becomes `Coefficients`. The operator, the solver and the derivative rule do the rest.
    """

    @abc.abstractmethod
    def num_components(self, ndim: int) -> int:
        """Components of the unknown: 1 for a potential, `ndim` for a displacement."""

    @abc.abstractmethod
    def num_loads(self, ndim: int) -> int:
        """Number m of independent macroscopic strains, the size of the effective tensor."""

    @abc.abstractmethod
    def strain_operator(self, gradients: np.ndarray) -> np.ndarray:
        """Strain matrix B, shape (quads, m, nodes * components), from gradients of shape (quads, nodes, ndim)."""

    @abc.abstractmethod
    def affine(self, points: np.ndarray) -> np.ndarray:
        """Values of the m unit-strain affine unknowns at `points` (nodes, ndim): shape (m, nodes * components)."""

    def reference_mode(self, ndim: int) -> np.ndarray:
        """The matrix J of the reference medium I + ratio J, shape (m, m), positive semidefinite; default: zero."""
        return np.zeros((self.num_loads(ndim),) * 2)

    @property
    def symmetric_gradient(self) -> bool:
        """Whether the law sees the symmetric part of the gradient alone: rotations cost no energy; default: no."""
        return False

    def coercivity(self, spacing: tuple[float, ...]) -> float:
        """Least energy of a strain on a voxel relative to that of the (symmetric) gradient; default: 1, the same."""
        return 1.0

    @abc.abstractmethod
    def coefficients(self, field: PyTree, grid: Geometry) -> Coefficients:
        """Coefficients of a user's field; raises ValueError if its shape does not fit."""


class AbstractGradientLaw(AbstractLaw):
    """A law whose strains are the components of the gradient in a basis.

    To write one, give the basis, and how the user's field becomes `Coefficients`.
    """

    @abc.abstractmethod
    def basis(self, ndim: int) -> np.ndarray:
        """Gradients of the unit strains, orthonormal, shape (m, components, ndim)."""

    def num_components(self, ndim: int) -> int:
        return self.basis(ndim).shape[1]

    def num_loads(self, ndim: int) -> int:
        return len(self.basis(ndim))

    def strain_operator(self, gradients: np.ndarray) -> np.ndarray:
        strains = np.einsum("mki,qni->qmnk", self.basis(gradients.shape[-1]), gradients)
        return strains.reshape(*strains.shape[:2], -1)

    def affine(self, points: np.ndarray) -> np.ndarray:
        unknowns = np.einsum("mki,ni->mnk", self.basis(points.shape[-1]), points)
        return unknowns.reshape(len(unknowns), -1)


class Conductivity(AbstractGradientLaw):
    """Heat conduction, diffusion or electric conduction: flux = -k grad u, with k > 0.

    The field is k(x), shape (*batch, *grid) (isotropic), or shape (*batch, *grid, d, d), symmetric positive definite
    (anisotropic). The effective tensor has shape (*batch, d, d) and the unit of k.
    """

    def basis(self, ndim: int) -> np.ndarray:
        return np.eye(ndim)[:, None]

    def coefficients(self, field: PyTree, grid: Geometry) -> Coefficients:
        """Scalars or tensors, as in the description of the class."""
        field = as_real_array(field, "one array of conductivities")
        d, space = grid.ndim, field_axes(grid)
        isotropic = field.shape[-len(space) :] == grid.shape
        tensorial = is_tensor_field(field.shape, grid, d)
        if isotropic and tensorial:
            raise ValueError(
                f"field of shape {field.shape} on a grid of shape {grid.shape} can be read as scalars or as tensors;"
                " use a finer grid, or flatten the batch axes of a scalar field."
            )
        if isotropic:
            least, greatest = jnp.min(field, axis=space), jnp.max(field, axis=space)
            values, ratio = jnp.expand_dims(field, -len(space) - 1), jnp.zeros_like(least)
            return Coefficients(values, (freeze(np.eye(d)),), least, greatest, ratio, is_definite(least, greatest))
        if not tensorial:
            raise ValueError(
                f"field has shape {field.shape} but cell.grid is {grid.shape}; expected (*batch, *grid) or (*batch,"
                f" *grid, {d}, {d}): pass a field on cell.grid or build the cell with the grid of the field."
                + hint_of_mix(field.shape, grid, 2)
            )
        return tensor_coefficients(field, grid, self.reference_mode(d))


def tensor_coefficients(field: Float[Array, "*batch_and_grid m m"], grid: Geometry, mode: np.ndarray) -> Coefficients:
    """Coefficients of a field of symmetric matrices, shape (*batch, *grid, m, m).

    The ratio of the reference medium is that of the mean of the field, for a projector-like `mode` (a multiple of a
    projector on one direction), or zero.
    """
    size, space = field.shape[-1], field_axes(grid)
    entries, asymmetry = split_components(field, grid, size)
    fixed, norm = lax.stop_gradient(entries), float(np.trace(mode))
    ratio = jnp.zeros(field.shape[: field.ndim - len(space) - 2], field.dtype)
    if norm > 0:
        mean, direction = {pair: jnp.mean(entry, axis=space) for pair, entry in fixed.items()}, direction_of(mode)
        _, stiffness = along(mean, direction)
        across = (sum(mean[i, i] for i in range(size)) - stiffness) / (size - 1)
        ratio = (stiffness / across - 1) / norm
        ratio = jnp.where(jnp.isfinite(ratio), jnp.maximum(ratio, 0), 0)
        fixed = relative_to(fixed, direction, 1 / jnp.sqrt(1 + norm * lax.expand_dims(ratio, space)))
    smallest, largest = eigenvalue_bounds(fixed, size)
    least, greatest = jnp.min(smallest, axis=space), jnp.max(largest, axis=space)
    allowed = float(jnp.finfo(field.dtype).eps) ** 0.5 * jnp.max(jnp.abs(field), axis=tuple(range(-len(space) - 2, 0)))
    valid = is_definite(least, greatest) & (asymmetry <= allowed)
    values = jnp.stack(list(entries.values()), axis=-len(space) - 1)
    return Coefficients(values, symmetric_bases(size), least, greatest, ratio, valid)


def is_definite(least: Float[Array, "*batch"], greatest: Float[Array, "*batch"]) -> Bool[Array, "*batch"]:
    """Whether bounds of the eigenvalues are finite and positive."""
    return jnp.isfinite(least) & jnp.isfinite(greatest) & (least > 0)
