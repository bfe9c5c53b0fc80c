"""Matrix-free stiffness of multilinear elements on a grid."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..grids import Grid
from ._energies import load_pairs
from ._modes import Modes, add_halo, combine, mode_matrix, nodal_forces, subsets, to_modes, voxel_stiffness, window
from ._reference import AbstractReference
from ._space import AbstractSpace
from ._tensor_fields import Energies, Unknown, Values, weighted


@dataclasses.dataclass(frozen=True, eq=False)
class VoxelSpace(AbstractSpace):
    """Multilinear elements on a grid; node i is the first corner of voxel i.

    The stiffness of a voxel is sum_c values_c M_c with constant matrices M_c = integral of B' T_c B. Opposite faces
    share their nodes; where they are free there is one more node than voxels along each axis, and a layer without
    stiffness between the last and the first.
    """

    geometry: Grid

    @property
    def work(self) -> int:
        return self.geometry.num_voxels

    @property
    def reference(self) -> AbstractReference:
        return self.boundary.reference(self.geometry, self.law)

    @property
    def points(self) -> tuple[int, ...]:
        return tuple(n + self.boundary.free for n in self.geometry.shape)

    @functools.cached_property
    def stiffness(self) -> tuple[np.ndarray, np.ndarray]:
        """The corners of a voxel, shape (nodes, d), and M_c, shape (c, nodes, components, nodes, components)."""
        return voxel_stiffness(self.geometry.spacing, self.law, np.array(self.bases))

    @functools.cached_property
    def modal(self) -> np.ndarray:
        """M_c between the modes of `_modes`, shape (c, modes, components, modes, components)."""
        corners, matrices = self.stiffness
        transform = mode_matrix(corners)
        modal = np.einsum("sa,cakbl,tb->csktl", transform, matrices, transform) / len(corners) ** 2
        modal[np.abs(modal) < 1e-13 * np.abs(modal).max()] = 0.0
        return modal

    @functools.cached_property
    def affine(self) -> np.ndarray:
        """Modes of the affine unknowns of the unit strains, shape (loads, modes, components)."""
        corners, matrices = self.stiffness
        points = corners * np.array(self.geometry.spacing)
        values = self.law.affine(points - points.mean(axis=0)).reshape(-1, *matrices.shape[1:3])
        return np.einsum("sa,mak->msk", mode_matrix(corners), values[list(self.loads)])

    def mean(self, values: Values) -> Float[Array, "batch c"]:
        return jnp.mean(values, axis=tuple(range(2, values.ndim)))

    def prepare(self, values: Values) -> Float[Array, "batch 1 c *padded"]:
        """With a layer of periodic halo and an axis for the load cases: (batch, 1, c, *(nodes + 2))."""
        ndim = self.geometry.ndim
        if self.boundary.free:
            values = jnp.pad(values, [(0, 0)] * (values.ndim - ndim) + [(0, 1)] * ndim)
        return add_halo(jnp.expand_dims(values, 1), ndim)

    def apply(self, prepared: Array, unknown: Unknown, *, strained: bool = False) -> Unknown:
        if self.num_components == 1 and not strained:
            return self._apply_to_scalars(prepared, unknown)
        modes = to_modes(lax.optimization_barrier(add_halo(unknown, self.geometry.ndim)))
        return nodal_forces(prepared, self.modal, self._strained(modes) if strained else modes)

    def load(self, prepared: Array) -> Unknown:
        return -nodal_forces(prepared, self.modal, self._affine(prepared.dtype))

    def strain_energies(self, corrector: Unknown) -> Energies:
        closed = lax.optimization_barrier(add_halo(corrector, self.geometry.ndim, 0))
        modes, pairs = lax.optimization_barrier(self._strained(to_modes(closed))), load_pairs(len(self.loads))
        energies = []
        for matrix in self.modal / self.volume:
            totals = [jnp.zeros((), corrector.dtype) for _ in pairs]
            for (subset, k), force in combine(matrix, modes).items():
                products = [modes[subset][:, m, k] * force[:, n, 0] for m, n in pairs]
                totals = [total + product for total, product in zip(totals, products, strict=True)]
            energies.append(jnp.stack(totals, axis=1))
        return self._voxels(lax.optimization_barrier(jnp.stack(energies, axis=1)))

    def mean_strains(self, corrector: Unknown) -> Float[Array, "batch loads m *elements"]:
        """Values at the centres of the voxels, from differences along one axis and sums along the others."""
        ndim = self.geometry.ndim
        modes, axes = self._strained(to_modes(add_halo(corrector, ndim, 0))), np.eye(ndim, dtype=int).tolist()
        slopes = {(i, k): modes[tuple(a)][:, :, k] for i, a in enumerate(axes) for k in range(self.num_components)}
        weights = self.strains / (np.array(self.geometry.spacing) * 2 ** (ndim - 1))[:, None, None]
        strains = [weighted([part[i, k] for i, k in slopes], slopes.values()) for part in np.moveaxis(weights, 1, 0)]
        return self._voxels(jnp.stack(strains, axis=2))

    def on_points(self, unknown: Unknown) -> Array:
        return unknown

    def from_points(self, values: Array) -> Unknown:
        return values

    def _voxels(self, array: Array) -> Array:
        """Of what belongs to the nodes before it the part that belongs to voxels of the grid."""
        return array[(..., *(slice(n) for n in self.geometry.shape))]

    def _strained(self, modes: Modes) -> Modes:
        """Modes of the whole unknown, affine + corrector."""
        affine = self._affine(next(iter(modes.values())).dtype)
        return {s: values + affine[s] for s, values in modes.items()}

    def _affine(self, dtype: np.dtype) -> Modes:
        """Modes of the affine unknowns, each (1, loads, components, 1, ...)."""
        numbered, axes = enumerate(subsets(self.geometry.ndim)), tuple(range(3, 3 + self.geometry.ndim))
        return {s: jnp.asarray(np.expand_dims(self.affine[None, :, i], axes), dtype) for i, s in numbered if any(s)}

    def _apply_to_scalars(self, prepared: Array, unknown: Unknown) -> Unknown:
        """`apply` for one component, node by node: faster than by modes, but its size grows as components squared."""
        (corners, matrices), shape = self.stiffness, unknown.shape[3:]
        padded = lax.optimization_barrier(add_halo(unknown, len(shape)))
        steps = {tuple((second - first).tolist()) for first in corners for second in corners}
        own = shifted(padded, (0,) * len(shape), shape, 0)
        differences = {step: shifted(padded, step, shape, 0) - own for step in sorted(steps) if any(step)}
        result = jnp.zeros((), unknown.dtype)
        for (a, corner), c in itertools.product(enumerate(corners), range(len(matrices))):
            flux = jnp.zeros((), unknown.dtype)
            for step, difference in differences.items():
                node = np.flatnonzero(np.all(corners - corner == step, axis=1))
                weight = float(matrices[c, a, 0, node[0], 0]) if len(node) else 0.0
                flux = flux + weight * difference if weight else flux
            result = result + shifted(prepared, -corner, shape, c) * flux
        return result


def shifted(padded: Array, offset: Sequence | np.ndarray, shape: tuple[int, ...], index: int) -> Array:
    """Values at i + offset of entry `index` of the axis before the grid, which is kept with length one."""
    return window(padded, (index, *(1 + int(o) for o in offset)), (1, *shape))
