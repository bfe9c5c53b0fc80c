"""Matrix-free stiffness of a voxel grid with periodic correctors."""

import functools
import itertools
import operator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..grids import Grid
from ._jax_fem import voxel_element
from ._law import AbstractLaw
from ._modes import combine, from_modes, gather, mode_matrix, to_modes


class VoxelOperator(NamedTuple):
    """Element matrices of a law on one voxel, and the way nodes of neighbours are found.

    The unknown has shape (batch, loads, components, *grid); node i of the grid is the first corner of voxel i. The
    stiffness of a voxel is sum_c values_c M_c with constant matrices M_c = integral of B' T_c B.

    Attributes:
        corners: integer offsets of the nodes of a voxel, shape (nodes, ndim).
        matrices: M_c, shape (c, nodes, components, nodes, components).
        modal: M_c between the modes of `_modes`, shape (c, modes, components, modes, components).
        reference: stiffness of a voxel of C = identity and of C = reference mode, shape as two M_c.
        affine: modes of the affine unknowns of unit strains, shape (loads, modes, components).
        volume: volume of the cell.
    """

    corners: np.ndarray
    matrices: np.ndarray
    modal: np.ndarray
    reference: np.ndarray
    affine: np.ndarray
    volume: float

    def apply(
        self, halo_values: Float[Array, "..."], unknown: Float[Array, "..."], *, strained: bool = False
    ) -> Float[Array, "..."]:
        """Stiffness times `unknown`, given coefficients from `pad_coefficients`; `strained` adds the unit strains.

        With `strained` the result is minus the residual of the cell problem at the corrector `unknown`.

        Constants lie in the null space, so it acts on differences of nodal values: in 32-bit arithmetic the rounding
        error is then proportional to the differences and not to the values.
        """
        if self.matrices.shape[2] == 1 and not strained:
            return self._apply_to_scalars(halo_values, unknown)
        ndim = unknown.ndim - 3
        modes = to_modes(lax.optimization_barrier(add_halo(unknown, ndim)), ndim)
        if strained:
            modes = {
                s: values + constant for (s, values), constant in zip(modes.items(), self._affine(unknown), strict=True)
            }
        return self._forces(halo_values, modes, ndim)

    def load(self, halo_values: Float[Array, "..."], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Right-hand sides of the cell problem: minus the stiffness of the affine unknowns."""
        ndim = len(shape)
        like = jnp.zeros((), halo_values.dtype)
        subsets = [s for s in itertools.product((0, 1), repeat=ndim) if any(s)]
        modes = dict(zip(subsets, self._affine(jnp.expand_dims(like, tuple(range(3 + ndim)))), strict=True))
        return -self._forces(halo_values, modes, ndim)

    def strain_energies(self, corrector: Float[Array, "..."]) -> Float[Array, "..."]:
        """Sensitivity u_m' M_c u_n / volume of the effective tensor to the coefficients, u = affine + corrector.

        Returns:
            Shape (batch, c, pairs, *grid), for the pairs m <= n of load cases in the order of `load_pairs`.
        """
        ndim, num_loads = corrector.ndim - 3, len(self.affine)
        padded = lax.optimization_barrier(_append_halo(corrector, ndim))
        modes = to_modes(padded, ndim)
        strained = {s: v + constant for (s, v), constant in zip(modes.items(), self._affine(corrector), strict=True)}
        strained = lax.optimization_barrier(strained)
        subsets = [s for s in itertools.product((0, 1), repeat=ndim)]
        pairs = load_pairs(num_loads)
        energies = []
        for matrix in self.modal / self.volume:
            forces = combine(matrix, strained)
            totals = [jnp.zeros((), corrector.dtype) for _ in pairs]
            for (i, row), k in itertools.product(enumerate(forces), range(matrix.shape[1])):
                if (force := row[k]) is not None:
                    values = strained[subsets[i]][:, :, k]
                    products = [values[:, m] * force[:, n, 0] for m, n in pairs]
                    totals = [total + product for total, product in zip(totals, products, strict=True)]
            energies.append(jnp.stack(totals, axis=1))
        return lax.optimization_barrier(jnp.stack(energies, axis=1))

    def _forces(self, halo_values, modes, ndim):
        """Nodal forces of modes on the voxels -1 .. n - 1 along each axis."""
        parts = []
        for c, matrix in enumerate(self.modal):
            begin = (0, 0, c, *(0,) * ndim)
            end = (halo_values.shape[0], 1, c + 1, *(n - 1 for n in halo_values.shape[3:]))
            coefficient = lax.slice(halo_values, begin, end)
            forces = combine(matrix, modes)
            parts.append([[None if f is None else coefficient * f for f in row] for row in forces])
        total = [[_sum([part[i][k] for part in parts]) for k in range(len(row))] for i, row in enumerate(parts[0])]
        return from_modes(gather(total, axis=2), ndim)

    def _affine(self, like):
        """Modes of the affine unknowns, without the first, each (1, loads, components, 1, ...)."""
        num_loads, _, num_components = self.affine.shape
        shape = (1, num_loads, num_components, *(1,) * (like.ndim - 3))
        return [jnp.asarray(mode.reshape(shape), like.dtype) for mode in np.moveaxis(self.affine, 1, 0)[1:]]

    def _apply_to_scalars(self, halo_values, unknown):
        """`apply` for one component, node by node: faster than by modes, but its size grows as components squared."""
        shape = unknown.shape[3:]
        padded = lax.optimization_barrier(add_halo(unknown, len(shape)))
        steps = {tuple((second - first).tolist()) for first in self.corners for second in self.corners}
        own = shifted(padded, (0,) * len(shape), shape, 0)
        differences = {step: shifted(padded, step, shape, 0) - own for step in sorted(steps) if any(step)}
        result = jnp.zeros((), unknown.dtype)
        for (a, corner), c in itertools.product(enumerate(self.corners), range(len(self.matrices))):
            flux = jnp.zeros((), unknown.dtype)
            for step, difference in differences.items():
                node = np.flatnonzero(np.all(self.corners - corner == step, axis=1))
                weight = float(self.matrices[c, a, 0, node[0], 0]) if len(node) else 0.0
                flux = flux + weight * difference if weight else flux
            result = result + shifted(halo_values, -corner, shape, c) * flux
        return result


def load_pairs(num_loads: int) -> list[tuple[int, int]]:
    """Pairs (m, n) of load cases with m <= n: the entries of a symmetric tensor, row by row."""
    return list(itertools.combinations_with_replacement(range(num_loads), 2))


def voxel_operator(grid: Grid, law: AbstractLaw, bases: tuple) -> VoxelOperator:
    """The operator of `law` on `grid` for coefficients with the constant tensors `bases`."""
    element = voxel_element(grid.spacing)
    num_nodes, num_components = len(element.corners), law.num_components(grid.ndim)
    strains = law.strain_operator(element.gradients)
    mode = law.reference_mode(grid.ndim)
    tensors = np.concatenate([np.array(bases), np.eye(len(mode))[None], mode[None]])
    matrices = np.einsum("q,qmi,cmn,qnj->cij", element.weights, strains, tensors, strains)
    matrices = (matrices + np.swapaxes(matrices, 1, 2)) / 2
    matrices[np.abs(matrices) < 1e-14 * np.abs(matrices).max()] = 0.0
    shape = (num_nodes, num_components)
    points = element.corners * np.array(grid.spacing)
    transform = mode_matrix(element.corners)
    nodal = matrices[:-2].reshape(-1, *shape, *shape)
    modal = np.einsum("sa,cakbl,tb->csktl", transform, nodal, transform) / num_nodes**2
    modal[np.abs(modal) < 1e-13 * np.abs(modal).max()] = 0.0
    affine = law.affine(points - points.mean(axis=0)).reshape(-1, *shape)
    return VoxelOperator(
        corners=element.corners,
        matrices=nodal,
        modal=modal,
        reference=matrices[-2:].reshape(-1, *shape, *shape),
        affine=np.einsum("sa,mak->msk", transform, affine),
        volume=float(np.prod(grid.lengths)),
    )


def pad_coefficients(values: Float[Array, "batch c *grid"]) -> Float[Array, "..."]:
    """Coefficients with one layer of periodic halo and an axis for the load cases: (batch, 1, c, *(grid + 2))."""
    return add_halo(jnp.expand_dims(values, 1), values.ndim - 2)


def add_halo(array: Float[Array, "..."], ndim: int) -> Float[Array, "..."]:
    """Periodic copies of one layer on both sides of the last `ndim` axes."""
    for axis in range(array.ndim - ndim, array.ndim):
        first = lax.slice_in_dim(array, 0, 1, axis=axis)
        last = lax.slice_in_dim(array, array.shape[axis] - 1, array.shape[axis], axis=axis)
        array = lax.concatenate([last, array, first], axis)
    return array


def _append_halo(array, ndim):
    """Periodic copies of the first layer behind the last of the last `ndim` axes."""
    for axis in range(array.ndim - ndim, array.ndim):
        array = lax.concatenate([array, lax.slice_in_dim(array, 0, 1, axis=axis)], axis)
    return array


def _sum(terms):
    terms = [term for term in terms if term is not None]
    return functools.reduce(operator.add, terms) if terms else None


def shifted(padded, offset, shape, index):
    """Values at i + offset of entry `index` of the axis before the grid, which is kept with length one."""
    lead = padded.ndim - len(shape) - 1
    starts = (*(0 for _ in range(lead)), index, *(1 + int(o) for o in offset))
    stops = (*padded.shape[:lead], index + 1, *(1 + int(o) + n for o, n in zip(offset, shape, strict=True)))
    return lax.slice(padded, starts, stops)
