"""Matrix-free stiffness of a voxel grid with periodic correctors."""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..grids import Grid
from ._jax_fem import voxel_element
from ._law import AbstractLaw


class VoxelOperator(NamedTuple):
    """Element matrices of a law on one voxel, and the way nodes of neighbours are found.

    The unknown has shape (batch, loads, components, *grid); node i of the grid is the first corner of voxel i. The
    stiffness of a voxel is sum_c values_c M_c with constant matrices M_c = integral of B' T_c B.

    Attributes:
        corners: integer offsets of the nodes of a voxel, shape (nodes, ndim).
        matrices: M_c, shape (c, nodes, components, nodes, components).
        reference: stiffness of a voxel of the reference medium C = identity, shape as one M_c.
        affine: affine unknowns of unit strains at the nodes, shape (loads, nodes, components).
        volume: volume of the cell.
    """

    corners: np.ndarray
    matrices: np.ndarray
    reference: np.ndarray
    affine: np.ndarray
    volume: float

    def apply(
        self, halo_values: Float[Array, "..."], unknown: Float[Array, "..."], *, strained: bool = False
    ) -> Float[Array, "..."]:
        """Stiffness times `unknown`, given coefficients from `pad_coefficients`; `strained` adds the unit strains.

        With `strained` the result is minus the residual of the cell problem at the corrector `unknown`.

        Constants lie in the null space, so it acts on differences to the node's own value: in 32-bit arithmetic the
        rounding error is then proportional to the differences and not to the values.
        """
        shape = unknown.shape[3:]
        padded = lax.optimization_barrier(add_halo(unknown, len(shape)))
        num_components = unknown.shape[2]
        steps = {tuple((second - first).tolist()) for first in self.corners for second in self.corners}
        differences = {
            (step, j): _shifted(padded, step, shape, j) - _shifted(padded, (0,) * len(shape), shape, j)
            for step, j in itertools.product(sorted(steps), range(num_components))
            if any(step)
        }
        if strained:
            differences = {key: value + self._affine_step(*key, value) for key, value in differences.items()}
        rows = []
        for k in range(num_components):
            row = jnp.zeros((), unknown.dtype)
            for (a, corner), c in itertools.product(enumerate(self.corners), range(len(self.matrices))):
                flux = jnp.zeros((), unknown.dtype)
                for (step, j), difference in differences.items():
                    node = np.flatnonzero(np.all(self.corners - corner == step, axis=1))
                    weight = float(self.matrices[c, a, k, node[0], j]) if len(node) else 0.0
                    flux = flux + weight * difference if weight else flux
                row = row + _shifted(halo_values, -corner, shape, c) * flux
            rows.append(row)
        return rows[0] if num_components == 1 else jnp.concatenate(rows, axis=2)

    def _affine_step(self, step, component, like):
        """Change of the affine unknowns of all loads along a step between nodes of a voxel: (1, loads, 1, ...)."""
        for a, b in itertools.product(range(len(self.corners)), repeat=2):
            if tuple(self.corners[b] - self.corners[a]) == step:
                change = self.affine[:, b, component] - self.affine[:, a, component]
                return jnp.asarray(change.reshape(1, -1, *(1,) * (like.ndim - 2)), like.dtype)
        raise ValueError(f"No two nodes of a voxel are a step {step} apart.")

    def load(self, halo_values: Float[Array, "..."], shape: tuple[int, ...]) -> Float[Array, "..."]:
        """Right-hand sides of the cell problem: minus the stiffness of the affine unknowns."""
        forces = np.einsum("cakbl,mbl->cmak", self.matrices, self.affine)
        loads = []
        for m, k in itertools.product(range(forces.shape[1]), range(forces.shape[3])):
            entry = jnp.zeros((), halo_values.dtype)
            for (a, corner), c in itertools.product(enumerate(self.corners), range(forces.shape[0])):
                if abs(forces[c, m, a, k]) > 1e-14 * np.abs(forces).max():
                    entry = entry - float(forces[c, m, a, k]) * _shifted(halo_values, -corner, shape, c)
            loads.append(entry)
        batch = halo_values.shape[0]
        loads = [jnp.broadcast_to(entry, (batch, 1, 1, *shape)) for entry in loads]
        return jnp.concatenate(loads, axis=1).reshape(batch, forces.shape[1], forces.shape[3], *shape)

    def strain_energies(self, corrector: Float[Array, "..."]) -> Float[Array, "..."]:
        """Sensitivity u_m' M_c u_n / volume of the effective tensor to the coefficients, u = affine + corrector.

        It acts on differences to the first node of each voxel, for the reason given in `apply`.

        Returns:
            Shape (batch, c, pairs, *grid), for the pairs m <= n of load cases in the order of `load_pairs`.
        """
        shape = corrector.shape[3:]
        padded = lax.optimization_barrier(add_halo(corrector, len(shape)))
        num_loads, num_nodes, num_components = self.affine.shape
        nodes = list(itertools.product(range(1, num_nodes), range(num_components)))
        differences = [
            [
                _shifted(padded[:, m], self.corners[a], shape, k)[:, 0]
                - _shifted(padded[:, m], self.corners[0], shape, k)[:, 0]
                + float(self.affine[m, a, k] - self.affine[m, 0, k])
                for a, k in nodes
            ]
            for m in range(num_loads)
        ]
        energies = []
        for matrix in self.matrices[:, 1:, :, 1:].reshape(-1, len(nodes), len(nodes)) / self.volume:
            for m, n in load_pairs(num_loads):
                energy = jnp.zeros((), corrector.dtype)
                for i, j in zip(*np.nonzero(matrix), strict=True):
                    energy = energy + float(matrix[i, j]) * differences[m][i] * differences[n][j]
                energies.append(energy)
        energies = lax.optimization_barrier(jnp.stack(energies, axis=1))
        return energies.reshape(energies.shape[0], len(self.matrices), len(load_pairs(num_loads)), *shape)


def load_pairs(num_loads: int) -> list[tuple[int, int]]:
    """Pairs (m, n) of load cases with m <= n: the entries of a symmetric tensor, row by row."""
    return list(itertools.combinations_with_replacement(range(num_loads), 2))


def voxel_operator(grid: Grid, law: AbstractLaw, bases: tuple) -> VoxelOperator:
    """The operator of `law` on `grid` for coefficients with the constant tensors `bases`."""
    element = voxel_element(grid.spacing)
    num_nodes, num_components = len(element.corners), law.num_components(grid.ndim)
    strains = law.strain_operator(element.gradients)
    tensors = np.concatenate([np.array(bases), np.eye(strains.shape[1])[None]])
    matrices = np.einsum("q,qmi,cmn,qnj->cij", element.weights, strains, tensors, strains)
    matrices = (matrices + np.swapaxes(matrices, 1, 2)) / 2
    matrices[np.abs(matrices) < 1e-14 * np.abs(matrices).max()] = 0.0
    shape = (num_nodes, num_components)
    points = element.corners * np.array(grid.spacing)
    return VoxelOperator(
        corners=element.corners,
        matrices=matrices[:-1].reshape(-1, *shape, *shape),
        reference=matrices[-1].reshape(*shape, *shape),
        affine=law.affine(points - points.mean(axis=0)).reshape(-1, *shape),
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


def _shifted(padded, offset, shape, index):
    """Values at i + offset of entry `index` of the axis before the grid, which is kept with length one."""
    lead = padded.ndim - len(shape) - 1
    starts = (*(0 for _ in range(lead)), index, *(1 + int(o) for o in offset))
    stops = (*padded.shape[:lead], index + 1, *(1 + int(o) + n for o, n in zip(offset, shape, strict=True)))
    return lax.slice(padded, starts, stops)
