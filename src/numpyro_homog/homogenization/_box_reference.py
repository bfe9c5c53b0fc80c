"""Inverse of a Laplacian on a box with clamped or free faces, by the eigenvectors of one-dimensional elements."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..grids import Grid


class BoxReference(NamedTuple):
    """Inverse of the reference stiffness on fields that vanish at the faces, or whose mean gradient vanishes.

    The reference is a multiple of the Laplacian of each component. On a box its multilinear stiffness is a sum of
    products of one-dimensional stiffness and mass matrices, which their common eigenvectors make diagonal.

    Attributes:
        vectors: eigenvectors for each axis, orthonormal in the mass matrix, shape (nodes, modes).
        inverse: inverse eigenvalues, shape (modes_1, ..., modes_d), zero for constants.
        gradients: functionals of the mean gradient that must vanish, shape (d, *nodes), or None.
        least: lower bound of the eigenvalues of reference media I + ratio J relative to this Laplacian.
        is_medium: whether the Laplacian is that of the medium I itself.

    References:
        Lynch, Rice and Thomas, Numer. Math. 6 (1964), for the tensor products.
    """

    vectors: tuple[np.ndarray, ...]
    inverse: np.ndarray
    gradients: np.ndarray | None
    least: float
    is_medium: bool

    def preconditioner(self, ratio: Float[Array, "batch"]) -> Callable[[Array], Array]:
        """The inverse as a function of residuals (batch, loads, components, *nodes)."""
        dtype = ratio.dtype
        vectors = [jnp.asarray(matrix, dtype) for matrix in self.vectors]
        inverse = jnp.asarray(self.inverse.reshape(1, 1, 1, *self.inverse.shape), dtype)
        ndim = len(vectors)

        def invert(residual):
            for axis, matrix in enumerate(vectors):
                residual = _contract(residual, matrix, 3 + axis)
            residual = residual * inverse
            for axis, matrix in enumerate(vectors):
                residual = _contract(residual, matrix.T, 3 + axis)
            return residual

        if self.gradients is None:
            return invert
        shape = (ndim, 1, 1, 1, *self.gradients.shape[1:])
        functionals = jnp.asarray(self.gradients.reshape(shape), dtype)
        # The inverse of the functionals, combined so that each has one functional one and the others zero.
        lifted = np.array([self._invert_exactly(functional) for functional in self.gradients])
        gram = np.array([[np.sum(functional * lift) for lift in lifted] for functional in self.gradients])
        corrections = jnp.asarray(np.tensordot(np.linalg.inv(gram), lifted, axes=1).reshape(shape), dtype)

        def invert_within(residual):
            result = invert(residual)
            axes = tuple(range(3, result.ndim))
            for functional, correction in zip(functionals, corrections, strict=True):
                result = result - jnp.sum(functional * result, axis=axes, keepdims=True) * correction
            return result

        return invert_within

    def _invert_exactly(self, residual):
        for axis, matrix in enumerate(self.vectors):
            residual = np.moveaxis(np.tensordot(residual, matrix, (axis, 0)), -1, axis)
        residual = residual * self.inverse
        for axis, matrix in enumerate(self.vectors):
            residual = np.moveaxis(np.tensordot(residual, matrix, (axis, 1)), -1, axis)
        return residual


def box_reference(grid: Grid, *, clamped: bool, symmetric: bool) -> BoxReference:
    """The reference of a grid.

    Args:
        grid: voxels of the box.
        clamped: fields vanish at the faces (and the nodes of opposite faces are one); otherwise faces are free, and
            fields have zero mean gradient.
        symmetric: the law sees the symmetric gradient alone. The reference is then half the Laplacian, which is below
            the energy of clamped fields; for free faces Korn's inequality adds `korn_factor`.
    """
    pairs = [_one_dimensional(n, h) for n, h in zip(grid.shape, grid.spacing, strict=True)]
    solved = [_eigenpairs(stiffness, mass, clamped) for stiffness, mass in pairs]
    values = np.zeros(())
    for eigenvalues, _ in solved:
        values = values[..., None] + eigenvalues
    if not clamped:
        values[(0,) * grid.ndim] = np.inf
    inverse = (2.0 if symmetric else 1.0) / values
    vectors = tuple(matrix for _, matrix in solved)
    if clamped:
        return BoxReference(vectors, inverse, None, 1.0, not symmetric)
    gradients = []
    for axis in range(grid.ndim):
        functional = np.ones(())
        for other, (_, mass) in enumerate(pairs):
            ends = np.zeros(len(mass))
            ends[[0, -1]] = -1.0, 1.0
            functional = np.multiply.outer(functional, ends if other == axis else mass.sum(axis=1))
        gradients.append(functional / math.prod(grid.lengths))
    least = korn_factor(grid.lengths) if symmetric else 1.0
    return BoxReference(vectors, inverse, np.array(gradients), least, not symmetric)


def korn_factor(lengths: tuple[float, ...]) -> float:
    """Least energy of the symmetric gradient relative to half the Laplacian, on fields of zero mean gradient of a box.

    References:
        Horgan and Payne, Arch. Rational Mech. Anal. 82 (1983) 165; Costabel and Dauge, Arch. Rational Mech. Anal. 217
        (2015) 873: Korn's constant of a rectangle is at most 2 / sin(angle / 2)^2 with the angle between the diagonal
        and the longer edge. In three dimensions the same value is used, without proof.
    """
    return math.sin(math.atan(min(lengths) / max(lengths)) / 2) ** 2 if len(lengths) > 1 else 1.0


def _one_dimensional(num, spacing):
    """Stiffness and mass of linear elements, (num + 1) x (num + 1)."""
    stiffness, mass = np.zeros((2, num + 1, num + 1))
    for i in range(num):
        part = np.ix_((i, i + 1), (i, i + 1))
        stiffness[part] += np.array([[1, -1], [-1, 1]]) / spacing
        mass[part] += np.array([[2, 1], [1, 2]]) * spacing / 6
    return stiffness, mass


def _eigenpairs(stiffness, mass, clamped):
    import scipy.linalg

    if not clamped:
        values, vectors = scipy.linalg.eigh(stiffness, mass)
        values[0] = 0.0
        return values, vectors
    inner = slice(1, len(mass) - 1)
    if len(mass) == 2:
        return np.zeros(0), np.zeros((1, 0))
    values, vectors = scipy.linalg.eigh(stiffness[inner, inner], mass[inner, inner])
    return values, np.concatenate([np.zeros((1, len(values))), vectors])


def _contract(array, matrix, axis):
    return jnp.moveaxis(jnp.tensordot(array, matrix, axes=(axis, 0)), -1, axis)
