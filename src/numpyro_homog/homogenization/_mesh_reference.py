"""Exact inverse of a Laplacian on a mesh, by a block-tridiagonal factorisation."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# One dense block up to here: one product of matrices is faster than many small ones.
_DENSE = 1024
_LARGEST = 2**31  # bytes


class MeshReference(NamedTuple):
    """Inverse of the reference stiffness on the unknowns of a mesh: a multiple of the Laplacian of each component.

    With nodes in an order of small bandwidth the matrix is block-tridiagonal, S_i = D_i - C_i S_{i-1}^-1 C_i' by
    elimination; the inverse of S_i and C_i S_{i-1}^-1 are kept. It is exact, so the number of iterations does not grow
    with the mesh, and made of products of matrices, so it runs wherever JAX runs.

    Attributes:
        order: number of the unknown in each slot of the blocks, shape (blocks * size,), -1 where a slot is empty.
        inverses: inverse of S_i, shape (blocks, size, size).
        couplings: C_i S_{i-1}^-1, shape (blocks, size, size), the first zero.
        floating: constants are in the null space: residuals and results have zero mean.
        constraint: functionals of the mean gradient that must vanish, shape (d, num_unknowns), and the inverse times
            them, such that each has one functional one and the others zero; or None.
        least: lower bound of the eigenvalues of reference media I + ratio J relative to this Laplacian.
    """

    order: np.ndarray
    inverses: np.ndarray
    couplings: np.ndarray
    floating: bool
    constraint: tuple[np.ndarray, np.ndarray] | None
    least: float

    def preconditioner(self, ratio: Float[Array, "batch"]) -> Callable[[Array], Array]:
        """The inverse as a function of residuals (batch, loads, components, unknowns)."""
        dtype = ratio.dtype
        inverses, couplings = (jnp.asarray(part, dtype) for part in (self.inverses, self.couplings))
        num_blocks, size = self.inverses.shape[:2]
        used = self.order >= 0
        slot = np.argsort(np.where(used, self.order, len(used)))[: used.sum()]
        order = np.where(used, self.order, len(slot))

        def multiply(matrix, vectors):
            return jnp.matmul(vectors, matrix.T, precision=lax.Precision.HIGHEST)

        def eliminate(previous, step):
            part, coupling = step
            current = part - multiply(coupling, previous)
            return current, current

        def substitute(following, step):
            part, inverse, coupling = step
            current = multiply(inverse, part) - following
            return multiply(coupling.T, current), current

        def invert(residual):
            if self.floating:
                residual = residual - jnp.mean(residual, axis=-1, keepdims=True)
            blocks = jnp.take(residual, order, axis=-1, mode="fill", fill_value=0)
            blocks = jnp.moveaxis(blocks.reshape(-1, num_blocks, size), 1, 0)
            if num_blocks == 1:
                result = multiply(inverses[0], blocks[0])[None]
            else:
                zero = jnp.zeros_like(blocks[0])
                _, parts = lax.scan(eliminate, zero, (blocks, couplings))
                _, result = lax.scan(substitute, zero, (parts, inverses, couplings), reverse=True)
            result = jnp.moveaxis(result, 0, 1).reshape(*residual.shape[:-1], num_blocks * size)
            result = jnp.take(result, slot, axis=-1)
            return result - jnp.mean(result, axis=-1, keepdims=True) if self.floating else result

        if self.constraint is None:
            return invert
        functionals, corrections = (
            [jnp.asarray(row.reshape(1, 1, 1, -1), dtype) for row in part] for part in self.constraint
        )

        def invert_within(residual):
            result = invert(residual)
            for functional, correction in zip(functionals, corrections, strict=True):
                result = result - jnp.sum(functional * result, axis=-1, keepdims=True) * correction
            return result

        return invert_within


def mesh_reference(
    laplacian, places: np.ndarray, *, floating: bool, gradients: np.ndarray | None, scale: float, least: float
):
    """The reference of a mesh.

    Args:
        laplacian: sparse matrix of the Laplacian between the unknowns.
        places: where they are, shape (num_unknowns, d), in [0, 1].
        floating: constants are in its null space.
        gradients: functionals of the mean gradient that must vanish, or None.
        scale: the reference is the Laplacian divided by this.
        least: as in `MeshReference`.

    Raises:
        ValueError: if the mesh is too large for this factorisation.
    """
    import scipy.sparse

    num = laplacian.shape[0]
    order = _narrow_order(laplacian.tocoo(), places)
    matrix = laplacian.tocsr()[order][:, order].tocoo()
    width = int(np.max(np.abs(matrix.row - matrix.col), initial=1))
    size = num if num <= _DENSE else width
    num_blocks = math.ceil(num / size) if num else 1
    if 16 * num_blocks * size**2 > _LARGEST:
        raise ValueError(
            f"The reference medium of this mesh, with {num} unknowns in blocks of {size}, takes more than 2 GiB. Use a"
            " coarser mesh of second order, or voxels: nh.Grid has no such limit."
        )
    slots = np.full(num_blocks * size, -1, np.int32)
    slots[:num] = order
    if floating:  # the first is held: the means are taken away before and after
        keep = (matrix.row > 0) & (matrix.col > 0)
        matrix = scipy.sparse.coo_matrix((matrix.data[keep], (matrix.row[keep], matrix.col[keep])), matrix.shape)
    inverses, couplings = _factorise(matrix, num_blocks, size, floating)
    reference = MeshReference(slots, inverses * scale, couplings, floating, None, least)
    if gradients is None:
        return reference
    lifted = _apply_exactly(reference, gradients)
    corrections = np.linalg.solve(gradients @ lifted.T, lifted)
    return reference._replace(constraint=(gradients, corrections))


def _narrow_order(matrix, places):
    """The order of least bandwidth of a few: Cuthill and McKee's, and plane by plane, along each axis."""
    import scipy.sparse.csgraph

    orders = [scipy.sparse.csgraph.reverse_cuthill_mckee(matrix.tocsr(), symmetric_mode=True)]
    for keys in (places, np.abs(places - 0.5)):  # a torus is folded in the middle
        for axis in range(places.shape[1]):
            orders.append(np.lexsort(np.round(np.roll(keys, axis, axis=1).T, 9)))

    def width(order):
        position = np.argsort(order)
        return np.max(np.abs(position[matrix.row] - position[matrix.col]), initial=0)

    return min(orders, key=width).astype(np.int32)


def _factorise(matrix, num_blocks, size, floating):
    """Inverse blocks and couplings of a block-tridiagonal matrix in triples; zero where it has no rows."""
    import scipy.linalg

    num = matrix.shape[0]
    row_block, column_block = matrix.row // size, matrix.col // size
    inverses, couplings = np.zeros((2, num_blocks, size, size))
    for block in range(num_blocks):
        # Rows that are empty or held are those of the identity here, and of zero in the inverse.
        idle = np.arange(block * size, (block + 1) * size) >= num
        idle[0] |= floating and block == 0
        schur = np.diag(idle.astype(float))
        own = (row_block == block) & (column_block == block)
        np.add.at(schur, (matrix.row[own] - block * size, matrix.col[own] - block * size), matrix.data[own])
        if block:
            below = (row_block == block) & (column_block == block - 1)
            coupling = np.zeros((size, size))
            rows, columns = matrix.row[below] - block * size, matrix.col[below] - (block - 1) * size
            np.add.at(coupling, (rows, columns), matrix.data[below])
            couplings[block] = coupling @ inverses[block - 1]
            schur -= couplings[block] @ coupling.T
        inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(schur), np.eye(size))
        inverses[block] = np.where(idle[:, None] | idle, 0.0, (inverse + inverse.T) / 2)
    return inverses, couplings


def _apply_exactly(reference, vectors):
    """The inverse of the reference times `vectors` (count, num_unknowns), in NumPy."""
    inverses, couplings = reference.inverses, reference.couplings
    num_blocks, size = inverses.shape[:2]
    used = reference.order >= 0
    blocks = np.zeros((len(vectors), num_blocks * size))
    centered = vectors - vectors.mean(axis=1, keepdims=True) if reference.floating else vectors
    blocks[:, used] = centered[:, reference.order[used]]
    blocks = np.moveaxis(blocks.reshape(-1, num_blocks, size), 1, 0)
    for block in range(1, num_blocks):
        blocks[block] -= blocks[block - 1] @ couplings[block].T
    result = blocks @ inverses
    for block in reversed(range(num_blocks - 1)):
        result[block] -= result[block + 1] @ couplings[block + 1]
    flat = np.moveaxis(result, 0, 1).reshape(len(vectors), -1)
    found = np.zeros_like(vectors)
    found[:, reference.order[used]] = flat[:, used]
    return found - found.mean(axis=1, keepdims=True) if reference.floating else found
