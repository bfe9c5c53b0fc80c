"""Exact inverse of a Laplacian on a mesh, by a block-tridiagonal factorisation."""

import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..meshes import Mesh
from ._boundary import AbstractBoundary
from ._mesh_nodes import checked_elements
from ._reference import AbstractReference, Preconditioner, constrained, korn_factor
from ._tensor_fields import Unknown

# One dense block up to here: one product of matrices is faster than many small ones.
_DENSE = 1024
_LARGEST = 2**31  # bytes


@dataclasses.dataclass(frozen=True, eq=False)
class MeshReference(AbstractReference):
    """Inverse of the reference stiffness on the unknowns of a mesh: a multiple of the Laplacian of each component.

    With nodes in an order of small bandwidth the matrix is block-tridiagonal, S_i = D_i - C_i S_{i-1}^-1 C_i' by
    elimination; the inverse of S_i and C_i S_{i-1}^-1 are kept. It is exact, so the number of iterations does not grow
    with the mesh, and made of products of matrices, so it runs wherever JAX runs.
    """

    order: np.ndarray  # number of the unknown in each slot of the blocks
    inverses: np.ndarray  # of S_i, (blocks, size, size)
    couplings: np.ndarray  # C_i S_{i-1}^-1, the first zero, (blocks, size, size)
    floating: bool  # constants are in the null space: residuals and results have zero mean

    def inverse(self, ratio: Float[Array, " batch"]) -> Preconditioner:
        """By elimination and substitution, block by block; the ratio plays no part."""
        dtype = ratio.dtype
        inverses, couplings = (jnp.asarray(part, dtype) for part in (self.inverses, self.couplings))
        num_blocks, size = self.inverses.shape[:2]
        slot, empty = np.argsort(self.order), num_blocks * size - len(self.order)
        order = np.append(self.order, np.full(empty, len(slot), np.int32))

        def multiply(matrix: Array, vectors: Array) -> Array:
            return jnp.matmul(vectors, matrix.T, precision=lax.Precision.HIGHEST)

        def eliminate(previous: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
            part, coupling = step
            current = part - multiply(coupling, previous)
            return current, current

        def substitute(following: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            part, inverse, coupling = step
            current = multiply(inverse, part) - following
            return multiply(coupling.T, current), current

        def invert(residual: Unknown) -> Unknown:
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

        return invert


@functools.lru_cache(maxsize=8)
def mesh_reference(mesh: Mesh, boundary: AbstractBoundary, *, symmetric: bool) -> MeshReference:
    """The Laplacian of one component, or half of it for a law that sees the symmetric gradient alone.

    Raises ValueError if the mesh is too large for this factorisation.
    """
    import scipy.sparse.linalg

    elements, numbers = checked_elements(mesh), boundary.numbers(mesh)
    num, unknowns = int(numbers.max()) + 1, numbers[mesh.elements.T]
    floating, scale = bool(np.all(numbers >= 0)), 2.0 if symmetric else 1.0
    stiffness = np.einsum("eq,eqai,eqbi->abe", elements.weights, elements.gradients, elements.gradients, optimize=True)
    rows, columns = (np.broadcast_to(x, stiffness.shape).reshape(-1) for x in (unknowns[:, None], unknowns[None]))
    keep = (rows >= 0) & (columns >= 0)
    laplacian = scipy.sparse.coo_matrix((stiffness.reshape(-1)[keep], (rows[keep], columns[keep])), (num, num)).tocsr()
    places = np.zeros((num + 1, mesh.ndim))
    places[numbers] = (mesh.points - np.array(mesh.lower)) / np.array(mesh.lengths)
    order, width = _narrow_order(laplacian.tocoo(), places[:-1])
    size = num if num <= _DENSE else max(width, 1)
    num_blocks = math.ceil(num / size) if num else 1
    if 16 * num_blocks * size**2 > _LARGEST:
        raise ValueError(
            f"The reference medium of this mesh, with {num} unknowns in blocks of {size}, takes more than 2 GiB. Use a"
            " coarser mesh of second order, or voxels: nh.Grid has no such limit."
        )
    first = int(floating)  # the first unknown is held: the means are taken away before and after
    inner = laplacian[order][:, order][first:, first:]
    idle = np.arange(num_blocks * size) >= num
    idle[:first] = True
    held = [scipy.sparse.eye(first), inner, scipy.sparse.eye(len(idle) - num)]
    inverses, couplings = _factorise(scipy.sparse.block_diag(held, format="csr"), idle, num_blocks, size)
    constraint = None
    if boundary.free:
        parts = np.einsum("eq,eqai->iae", elements.weights, elements.gradients) / np.prod(mesh.lengths)
        gradients = np.stack([np.bincount(unknowns.reshape(-1), part.reshape(-1), num) for part in parts])
        centered = gradients - floating * gradients.mean(axis=1, keepdims=True)
        lifted = np.zeros_like(gradients)
        lifted[:, order[first:]] = scipy.sparse.linalg.splu(inner.tocsc()).solve(centered[:, order[first:]].T).T
        constraint = constrained(gradients, scale * (lifted - floating * lifted.mean(axis=1, keepdims=True)))
    least = korn_factor(mesh.lengths) if boundary.free and symmetric else 1.0
    return MeshReference(least, False, constraint, order, inverses * scale, couplings, floating)


def _narrow_order(matrix: Any, places: np.ndarray) -> tuple[np.ndarray, int]:
    """The order of least bandwidth of a few (Cuthill and McKee's, and plane by plane along each axis), and that."""
    import scipy.sparse.csgraph

    orders = [scipy.sparse.csgraph.reverse_cuthill_mckee(matrix.tocsr(), symmetric_mode=True)]
    for keys in (places, np.abs(places - 0.5)):  # a torus is folded in the middle
        for axis in range(places.shape[1]):
            orders.append(np.lexsort(np.round(np.roll(keys, axis, axis=1).T, 9)))

    positions = [np.argsort(order) for order in orders]
    widths = [int(np.max(np.abs(place[matrix.row] - place[matrix.col]), initial=0)) for place in positions]
    return orders[np.argmin(widths)].astype(np.int32), min(widths)


def _factorise(matrix: Any, idle: np.ndarray, num_blocks: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Inverse blocks and couplings of a sparse block-tridiagonal matrix; the inverse is zero where rows are idle."""
    import scipy.linalg

    inverses, couplings = np.zeros((2, num_blocks, size, size))
    for block in range(num_blocks):
        own = slice(block * size, (block + 1) * size)
        schur = matrix[own, own].toarray()
        if block:
            coupling = matrix[own, own.start - size : own.start].toarray()
            couplings[block] = coupling @ inverses[block - 1]
            schur -= couplings[block] @ coupling.T
        inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(schur), np.eye(size))
        inverses[block] = np.where(idle[own, None] | idle[own], 0.0, (inverse + inverse.T) / 2)
    return inverses, couplings
