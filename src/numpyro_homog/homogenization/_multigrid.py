"""A cycle of voxel grids as a preconditioner that knows the coefficients, for high contrast."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..grids import Grid
from ._boundary import AbstractBoundary, Affine
from ._cycle_spaces import inner_nodes, inverse_root, node_shares, null_fields, of_zero_gradient
from ._law import AbstractLaw
from ._reference import Preconditioner
from ._tensor_fields import Unknown, Values, weighted
from ._voxel_space import VoxelSpace, shifted

# Smoothing damps the part of the spectrum above this, relative to the sums of moduli.
_SMOOTHED_FROM = 0.05
_MOST_STEPS = 4
# The direct solver of the coarsest grid: where halving stops, and where it must have led at least.
_FEW, _MANY = 16, 128
_MANY_VALUES = 6


class GridCycle(NamedTuple):
    """One V-cycle of grids, finest first, each with the mean coefficients of the voxels it joins.

    Before and after each coarser grid stand Jacobi iterations in which the sum of moduli of a row takes the place of
    its diagonal entry, relaxed by the roots of a Chebyshev polynomial. The stiffness is at most the diagonal matrix of
    these sums, so the cycle is positive definite for any coefficients, without estimates of eigenvalues. Coarser grids,
    which cost little and know the coefficients less well, are smoothed more often. The coarsest is solved directly.

    References:
        Baker, Falgout, Kolev and Yang, SIAM J. Sci. Comput. 33 (2011) 2864, for the sums of moduli and the polynomial;
        Bramble and Pasciak, Math. Comput. 49 (1987) 311, for a number of steps that grows on coarser grids.
    """

    spaces: tuple[VoxelSpace, ...]

    def preconditioner(self, values: Values) -> Preconditioner:
        """The cycle for coefficients, as a function of residuals of zero mean."""
        fine, boundary = self.spaces[0], self.spaces[0].boundary
        clamped, free = isinstance(boundary, Affine), boundary.free
        halos, steps = [], []
        for space in self.spaces:
            values = _join(values, space.geometry.shape)
            halos.append(space.prepare(values))
            step = 1 / _moduli(space, halos[-1])
            steps.append(step * inner_nodes(space.points, values.dtype) if clamped else step)
        solve = _direct(self.spaces[-1], halos[-1], clamped=clamped)

        def cycle(level: int, residual: Unknown) -> Unknown:
            if level == len(self.spaces) - 1:
                return solve(residual)
            space, halo, step = self.spaces[level], halos[level], steps[level]
            coarser = self.spaces[level + 1].geometry.shape
            halved = [a > b for a, b in zip(space.geometry.shape, coarser, strict=True)]
            num = min(2**level, _MOST_STEPS)
            roots = np.cos(np.pi * (2 * np.arange(num) + 1) / (2 * num))  # of a Chebyshev polynomial
            weights = 2 / ((1 + _SMOOTHED_FROM) + (1 - _SMOOTHED_FROM) * roots)

            def smooth(solution: Unknown, weight: Array | float) -> tuple[Unknown, None]:
                return solution + weight * step * (residual - space.apply(halo, solution)), None

            solution = _repeat(smooth, float(weights[0]) * step * residual, weights[1:])
            left = residual - space.apply(halo, solution)
            solution = solution + _interpolate(cycle(level + 1, _restrict(left, halved, free)), halved, free)
            return _repeat(smooth, solution, weights[::-1])

        if clamped:
            return functools.partial(cycle, 0)
        shares = jnp.asarray(node_shares(fine), values.dtype).ravel()

        def invert(residual: Unknown) -> Unknown:
            solution = cycle(0, residual)
            # A product, not a sum: XLA would compute the solution once more within the sum.
            mean = jnp.matmul(solution.reshape(*solution.shape[:3], -1), shares, precision=lax.Precision.HIGHEST)
            return solution - lax.expand_dims(mean, range(3, solution.ndim))

        constraint = fine.reference.constraint
        if constraint is None:
            return invert
        return of_zero_gradient(invert, jnp.asarray(constraint[0], values.dtype), len(values), fine.num_components)


def coarser_shapes(grid: Grid, law: AbstractLaw) -> list[tuple[int, ...]]:
    """Voxels of each grid, finest first; raises ValueError if the last has too many to be solved directly."""
    shapes, num_components = [grid.shape], law.num_components(grid.ndim)
    while num_components * math.prod(shapes[-1]) > _FEW and (longest := max(shapes[-1])) > 2:
        coarser = tuple(n // 2 if n % 2 == 0 and 2 * n > longest else n for n in shapes[-1])
        if coarser == shapes[-1]:
            break
        shapes.append(coarser)
    if num_components * math.prod(shapes[-1]) > _MANY:
        raise ValueError(
            f"Multigrid() needs a grid that can be halved until few voxels are left; {grid.shape} ends at {shapes[-1]}."
            " Choose a power of two, or a small multiple of one, along each axis."
        )
    return shapes


@functools.lru_cache(maxsize=64)
def grid_cycle(grid: Grid, law: AbstractLaw, boundary: AbstractBoundary, bases: tuple) -> GridCycle:
    """The cycle of a grid; raises ValueError as `coarser_shapes`."""
    grids = [Grid(shape, lengths=grid.lengths) for shape in coarser_shapes(grid, law)]
    return GridCycle(tuple(VoxelSpace(coarser, law, boundary, bases, ()) for coarser in grids))


def _repeat(step: Callable, solution: Unknown, weights: np.ndarray) -> Unknown:
    """A step for each weight; one alone is written out, more are a loop, which compiles sooner."""
    if len(weights) < 2:
        return step(solution, float(weights[0]))[0] if len(weights) else solution
    return lax.scan(step, solution, jnp.asarray(weights, solution.dtype))[0]


def _join(values: Values, shape: tuple[int, ...]) -> Float[Array, "batch c *coarser"]:
    """Means of coefficients over voxels that become one."""
    first = values.ndim - len(shape)
    for axis, num in enumerate(shape, first):
        if values.shape[axis] > num:
            pairs = values.reshape(*values.shape[:axis], num, 2, *values.shape[axis + 1 :])
            values = jnp.mean(pairs, axis=axis + 1)
    return values


def _moduli(space: VoxelSpace, halo: Array) -> Float[Array, "batch 1 k *nodes"]:
    """Sums of moduli of the rows of element stiffnesses, gathered at the nodes."""
    corners, matrices = space.stiffness
    values = [lax.slice_in_dim(halo, c, c + 1, axis=2) for c in range(halo.shape[2])]
    rows = []
    for k in range(matrices.shape[2]):
        total = jnp.zeros((), halo.dtype)
        for a, corner in enumerate(corners):
            weights = matrices[:, a, k].reshape(len(values), -1)
            total = total + shifted(_moduli_of(weights, values), -corner, space.points, 0)
        rows.append(total)
    return jnp.concatenate(rows, axis=2)


def _moduli_of(weights: np.ndarray, values: list[Array]) -> Array:
    """sum_i |sum_c weights_ci values_c|, or the same with moduli inside if there are many c."""
    if len(values) > _MANY_VALUES:
        return weighted(np.abs(weights).sum(axis=1), map(jnp.abs, values))
    signs = np.sign(weights[np.argmax(weights != 0, axis=0), np.arange(weights.shape[1])])
    unique, counts = np.unique((signs * weights).round(12), axis=1, return_counts=True)
    some = unique.any(axis=0)
    return weighted(counts[some], [jnp.abs(weighted(column, values)) for column in unique.T[some]])


def _direct(space: VoxelSpace, halo: Array, *, clamped: bool) -> Preconditioner:
    """Inverse on residuals that do no work on unknowns without energy, by a dense factorisation."""
    num_components, shape = space.num_components, space.points
    size = num_components * math.prod(shape)
    unit = jnp.eye(size, dtype=halo.dtype).reshape(1, size, num_components, *shape)
    matrix = space.apply(halo, jnp.broadcast_to(unit, (len(halo), *unit.shape[1:]))).reshape(-1, size, size)
    scale = 1 / jnp.sqrt(jnp.diagonal(matrix, axis1=1, axis2=2))
    if clamped:
        inner = jnp.broadcast_to(inner_nodes(shape, halo.dtype), (1, 1, num_components, *shape)).reshape(1, size)
        held = ((1 - inner) / scale**2)[:, :, None] * jnp.eye(size, dtype=halo.dtype)[None]  # their rows are diagonal
        matrix = matrix * inner[:, :, None] * inner[:, None, :] + held
    null = jnp.asarray(np.zeros((size, 0)) if clamped else null_fields(space), halo.dtype)[None] / scale[:, :, None]
    null = null / jnp.linalg.norm(null, axis=1, keepdims=True)
    outer = jnp.matmul(null, jnp.swapaxes(null, 1, 2), precision=lax.Precision.HIGHEST)
    root = inverse_root(scale[:, :, None] * matrix * scale[:, None, :] + outer)
    identity = jnp.broadcast_to(jnp.eye(size, dtype=halo.dtype), matrix.shape)
    root = jnp.where(jnp.all(jnp.isfinite(root), axis=(1, 2), keepdims=True), root, identity) * scale[:, None, :]
    root = root * inner[:, None, :] if clamped else root

    def solve(residual: Unknown) -> Unknown:
        flat = residual.reshape(*residual.shape[:2], size)
        for axis in (2, 1):
            flat = lax.dot_general(flat, root, (((2,), (axis,)), ((0,), (0,))), precision=lax.Precision.HIGHEST)
        return flat.reshape(residual.shape)

    return solve


def _restrict(residual: Unknown, halved: list[bool], free: bool) -> Float[Array, "batch loads k *coarser"]:
    """Transpose of `_interpolate`.

    The neighbours come from a copy, so that the compiler does not compute the residual anew for each of them.
    """
    axes = [axis for axis, half in enumerate(halved, 3) if half]
    for axis in axes:
        last = lax.slice_in_dim(residual, residual.shape[axis] - 1, residual.shape[axis], axis=axis)
        ends = [jnp.zeros_like(last)] * 2 if free else [last]
        residual = lax.concatenate([ends[0], residual, *ends[1:]], axis)
    for axis in axes:
        end = residual.shape[axis]
        low, own, high = (lax.slice_in_dim(residual, i, end - 2 + i, 2, axis) for i in range(3))
        residual = own + 0.5 * (low + high)
    return residual


def _interpolate(unknown: Unknown, halved: list[bool], free: bool) -> Float[Array, "batch loads k *finer"]:
    """Multilinear interpolation: every second node is one of the coarser grid."""
    for axis, half in enumerate(halved, 3):
        if half:
            between = 0.5 * (unknown + jnp.roll(unknown, -1, axis))
            pairs = jnp.stack([unknown, between], axis=axis + 1)
            unknown = pairs.reshape(*unknown.shape[:axis], -1, *unknown.shape[axis + 1 :])
            unknown = lax.slice_in_dim(unknown, 0, unknown.shape[axis] - free, axis=axis)
    return unknown
