"""What a cycle of grids has to know of boundary conditions: nodes, null spaces, fields of zero mean gradient."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._reference import Preconditioner
from ._tensor_fields import Unknown
from ._voxel_space import VoxelSpace


def null_fields(space: VoxelSpace) -> np.ndarray:
    """Constants, and rotations where faces are free and they cost no energy, shape (components * nodes, count)."""
    ndim, num, nodes = space.geometry.ndim, space.num_components, space.points
    fields = list(np.multiply.outer(np.eye(num), np.ones(nodes)))
    if space.boundary.free and space.law.symmetric_gradient:
        axes = [h * (np.arange(n) - (n - 1) / 2) for n, h in zip(nodes, space.geometry.spacing, strict=True)]
        places = np.meshgrid(*axes, indexing="ij")
        for i, j in itertools.combinations(range(ndim), 2):
            rotation = np.zeros((num, *nodes))
            rotation[i], rotation[j] = places[j], -places[i]
            fields.append(rotation)
    return np.array(fields).reshape(len(fields), -1).T


def inner_nodes(nodes: tuple[int, ...], dtype: np.dtype) -> Array:
    """Zero at the first nodes along each axis, one elsewhere: shape (1, 1, 1, *nodes)."""
    inner = np.pad(np.ones([n - 1 for n in nodes]), [(1, 0)] * len(nodes))
    return jnp.asarray(inner[None, None, None], dtype)


def node_shares(space: VoxelSpace) -> np.ndarray:
    """Shares of nodes in the mean of a multilinear field, half at faces that share no nodes: shape (*nodes,)."""
    shares = np.ones(())
    for voxels, num in zip(space.geometry.shape, space.points, strict=True):
        share = np.full(num, 1 / voxels)
        share[[0, -1]] /= 1 + num - voxels
        shares = np.multiply.outer(shares, share)
    return shares


def of_zero_gradient(invert: Preconditioner, gradients: Array, batch: int, num: int) -> Preconditioner:
    """The inverse M within the fields of zero mean gradient G: M - M G' (G M G')^-1 G M."""
    ndim, nodes = len(gradients), gradients.shape[1:]

    def measure(unknown: Unknown) -> Float[Array, "batch loads gradients"]:
        """Mean gradients, component by component."""
        flat = unknown.reshape(*unknown.shape[:3], -1)
        found = jnp.tensordot(flat, gradients.reshape(ndim, -1), ((3,), (1,)), precision=lax.Precision.HIGHEST)
        return found.reshape(*unknown.shape[:2], -1)

    units = jnp.eye(num, dtype=gradients.dtype).reshape(num, 1, num, *(1,) * ndim) * gradients[None, :, None]
    lifted = invert(jnp.broadcast_to(units.reshape(1, -1, num, *nodes), (batch, num * ndim, num, *nodes)))
    root = inverse_root(measure(lifted))
    weights = jnp.matmul(jnp.swapaxes(root, 1, 2), root, precision=lax.Precision.HIGHEST)

    def invert_within(residual: Unknown) -> Unknown:
        unknown = invert(residual)
        amounts = jnp.matmul(measure(unknown), weights, precision=lax.Precision.HIGHEST)
        change = jnp.matmul(amounts, lifted.reshape(batch, amounts.shape[2], -1), precision=lax.Precision.HIGHEST)
        return unknown - change.reshape(unknown.shape)

    return invert_within


def inverse_root(matrix: Float[Array, "batch m m"]) -> Float[Array, "batch m m"]:
    """Inverse of the lower Cholesky factor of positive definite matrices.

    By elimination, step by step: LAPACK's routines wait for threads of the pool that they occupy, and programs that
    run at the same time then wait for one another forever (jaxlib 0.10).
    """
    size = matrix.shape[-1]
    rows = jnp.arange(size)

    def eliminate(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, root = state
        pivot = lax.dynamic_index_in_dim(matrix, k, axis=1)
        factor = jnp.where(rows > k, pivot / lax.dynamic_slice_in_dim(pivot, k, 1, axis=2), 0)
        factor = jnp.swapaxes(factor, 1, 2)
        return matrix - factor * pivot, root - factor * lax.dynamic_index_in_dim(root, k, axis=1)

    identity = jnp.broadcast_to(jnp.eye(size, dtype=matrix.dtype), matrix.shape)
    upper, root = lax.fori_loop(0, size, eliminate, (matrix, identity))
    return root / jnp.sqrt(jnp.diagonal(upper, axis1=1, axis2=2))[:, :, None]
