"""Constitutive laws: how a field of coefficients becomes a tensor in each voxel."""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from ..grids import Grid


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
        return _tensor_coefficients(field, grid)


def _tensor_coefficients(field, grid):
    d, space = grid.ndim, tuple(range(-grid.ndim, 0))
    # One transposition to contiguous components; everything after it is elementwise.
    components = lax.optimization_barrier(jnp.moveaxis(field, (-2, -1), (-d - 2, -d - 1)))
    entry = {(i, j): components[(..., i, j) + d * (slice(None),)] for i in range(d) for j in range(d)}
    smallest, largest = _principal_values(lax.stop_gradient(components), d)
    least, greatest = jnp.min(smallest, axis=space), jnp.max(largest, axis=space)
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    asymmetry = [jnp.max(jnp.abs(entry[i, j] - entry[j, i]), axis=space) for i, j in pairs if i < j]
    tolerance = float(jnp.finfo(field.dtype).eps) ** 0.5
    valid = jnp.isfinite(least) & jnp.isfinite(greatest) & (least > 0)
    for difference in asymmetry:
        valid = valid & (difference <= tolerance * greatest)
    values = jnp.stack([(entry[i, j] + entry[j, i]) / 2 for i, j in pairs], axis=-d - 1)
    bases = np.zeros((len(pairs), d, d))
    for basis, (i, j) in zip(bases, pairs, strict=True):
        basis[i, j] = basis[j, i] = 1.0
    return Coefficients(values, tuple(map(_freeze, bases)), least, greatest, valid)


def _principal_values(components, d):
    """Least and greatest eigenvalue of symmetric tensors with components (*batch, d, d, *grid)."""
    if d == 2:
        first, second, mixed = (components[..., i, j, :, :] for i, j in ((0, 0), (1, 1), (0, 1)))
        centre, radius = (first + second) / 2, jnp.hypot((first - second) / 2, mixed)
        return centre - radius, centre + radius
    values = jnp.linalg.eigvalsh(jnp.moveaxis(components, (-d - 2, -d - 1), (-2, -1)))
    return values[..., 0], values[..., -1]


def _as_real_array(field):
    if isinstance(field, tuple | list | dict | str) or field is None:
        raise TypeError(f"field must be one array of conductivities; got {type(field).__name__}.")
    field = jnp.asarray(field)
    if jnp.issubdtype(field.dtype, jnp.complexfloating) or field.dtype == bool:
        raise TypeError(f"field must be real; got dtype {field.dtype}.")
    return field if jnp.issubdtype(field.dtype, jnp.floating) else field.astype(jnp.result_type(float))


def _freeze(matrix):
    return tuple(map(tuple, matrix.tolist()))
