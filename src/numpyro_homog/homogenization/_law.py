"""Constitutive laws: how a field of coefficients becomes a tensor in each voxel."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..grids import Grid
from ..tensors import least_eigenvalue


class Coefficients(eqx.Module):
    """The tensor field C(x) = sum_c values_c(x) bases_c of a law, and its spectral bounds.

    Attributes:
        values: shape (*batch, c, *grid).
        bases: constant m x m matrices, a tuple of c nested tuples.
        least: lower bound of the eigenvalues of C over the cell, shape (*batch,).
        greatest: upper bound of the eigenvalues of C over the cell, shape (*batch,).
        valid: whether C is finite, symmetric and positive definite everywhere, shape (*batch,).
    """

    values: Float[Array, "..."]
    bases: tuple = eqx.field(static=True)
    least: Float[Array, "..."]
    greatest: Float[Array, "..."]
    valid: Array

    @property
    def batch(self) -> tuple[int, ...]:
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

    @abc.abstractmethod
    def coefficients(self, field: PyTree, grid: Grid) -> Coefficients:
        """Coefficients of a user's field; raises ValueError if its shape does not fit."""


class Conductivity(AbstractLaw):
    """Heat conduction, diffusion or electric conduction: flux = -k grad u, with k > 0.

    The field is k(x), shape (*batch, *grid) (isotropic), or shape (*batch, *grid, d, d), symmetric positive definite
    (anisotropic). The effective tensor has shape (*batch, d, d) and the unit of k.
    """

    def num_components(self, ndim: int) -> int:
        return 1

    def num_loads(self, ndim: int) -> int:
        return ndim

    def strain_operator(self, gradients: np.ndarray) -> np.ndarray:
        return np.swapaxes(gradients, -1, -2)

    def affine(self, points: np.ndarray) -> np.ndarray:
        return points.T

    def coefficients(self, field: PyTree, grid: Grid) -> Coefficients:
        field = _as_real_array(field)
        d, space = grid.ndim, tuple(range(-grid.ndim, 0))
        isotropic = field.shape[-d:] == grid.shape
        tensorial = field.shape[-2:] == (d, d) and field.shape[-2 - d : -2] == grid.shape
        if isotropic and tensorial:
            raise ValueError(
                f"field of shape {field.shape} on a grid of shape {grid.shape} can be read as scalars or as tensors;"
                " use a finer grid, or flatten the batch axes of a scalar field."
            )
        if isotropic:
            least, greatest = jnp.min(field, axis=space), jnp.max(field, axis=space)
            valid = jnp.isfinite(least) & jnp.isfinite(greatest) & (least > 0)
            values = jnp.expand_dims(field, -d - 1)
            return Coefficients(values, (_freeze(np.eye(d)),), least, greatest, valid)
        if not tensorial:
            raise ValueError(
                f"field has shape {field.shape} but cell.grid is {grid.shape}; expected (*batch, *grid) or"
                f" (*batch, *grid, {d}, {d}): pass a field on cell.grid or build the cell with the grid of the field."
            )
        eigenvalue = least_eigenvalue(field)
        trace = jnp.trace(field, axis1=-2, axis2=-1)
        least, greatest = jnp.min(eigenvalue, axis=space), jnp.max(trace - (d - 1) * eigenvalue, axis=space)
        asymmetry = jnp.max(jnp.abs(field - jnp.swapaxes(field, -1, -2)), axis=(*(s - 2 for s in space), -2, -1))
        tolerance = float(jnp.finfo(field.dtype).eps) ** 0.5
        valid = jnp.isfinite(least) & jnp.isfinite(greatest) & (least > 0) & (asymmetry <= tolerance * greatest)
        pairs = [(i, j) for i in range(d) for j in range(i, d)]
        values = jnp.stack([(field[..., i, j] + field[..., j, i]) / 2 for i, j in pairs], axis=-d - 1)
        bases = []
        for i, j in pairs:
            basis = np.zeros((d, d))
            basis[i, j] = basis[j, i] = 1.0
            bases.append(_freeze(basis))
        return Coefficients(values, tuple(bases), least, greatest, valid)


def _as_real_array(field):
    if isinstance(field, tuple | list | dict) or field is None:
        raise TypeError(f"field must be one array of conductivities; got {type(field).__name__}.")
    field = jnp.asarray(field)
    if jnp.issubdtype(field.dtype, jnp.complexfloating) or field.dtype == bool:
        raise TypeError(f"field must be real; got dtype {field.dtype}.")
    return field if jnp.issubdtype(field.dtype, jnp.floating) else field.astype(jnp.result_type(float))


def _freeze(matrix):
    return tuple(map(tuple, matrix.tolist()))
