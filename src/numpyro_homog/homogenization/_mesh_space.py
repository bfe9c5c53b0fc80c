"""Matrix-free stiffness of a mesh."""

import dataclasses
import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..meshes import Mesh
from ._energies import load_pairs
from ._jax_fem import MeshElements
from ._mesh_nodes import checked_elements
from ._mesh_reference import MeshReference, mesh_reference
from ._space import AbstractSpace
from ._tensor_fields import Energies, Unknown, Values, total, weighted


@dataclasses.dataclass(frozen=True, eq=False)
class MeshSpace(AbstractSpace):
    """Finite elements on a mesh, between the unknowns that a boundary condition leaves.

    The unknown has shape (batch, loads, components, num_unknowns). The elements come last in all arrays, so that sums
    over the nodes of an element are long vector operations.
    """

    geometry: Mesh

    @property
    def work(self) -> int:
        size = self.geometry.elements.shape[1] * self.num_components
        return self.geometry.num_elements * max(1, size**2 // 16)

    @property
    def points(self) -> tuple[int, ...]:
        return (self.geometry.num_points,)

    @functools.cached_property
    def num_unknowns(self) -> int:
        """Unknowns of one component."""
        num = int(self.boundary.numbers(self.geometry).max()) + 1
        if num < 1:
            raise ValueError("The mesh has no node inside of the box, where Affine() leaves unknowns; refine it.")
        return num

    @functools.cached_property
    def at_points(self) -> np.ndarray:
        """Number of the unknown at each point of the mesh; the number of unknowns where the corrector vanishes."""
        numbers = self.boundary.numbers(self.geometry)
        return np.where(numbers < 0, self.num_unknowns, numbers).astype(np.int32)

    @functools.cached_property
    def unknowns(self) -> np.ndarray:
        """`at_points` at the nodes of each element, shape (nodes, elements)."""
        return self.at_points[self.geometry.elements.T]

    @functools.cached_property
    def incident(self) -> np.ndarray:
        """Positions of each unknown in the flattened `unknowns`, (most elements at a node, num_unknowns), filled up."""
        unknowns, num = self.unknowns.reshape(-1), self.num_unknowns
        order = np.argsort(unknowns, kind="stable")[: np.count_nonzero(unknowns < num)]
        counts = np.bincount(unknowns[order], minlength=num)
        rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        table = np.full((counts.max(), num), len(unknowns), np.int32)
        table[rank, unknowns[order]] = order
        return table

    @property
    def elements(self) -> MeshElements:
        """Gradients of shape functions, shape (elements, quads, nodes, ndim), and weights of the quadrature."""
        return checked_elements(self.geometry)

    @functools.cached_property
    def positions(self) -> np.ndarray:
        """Affine unknowns of unit strains relative to the first node, (loads, components, nodes, elements)."""
        mesh = self.geometry
        relative = mesh.points[mesh.elements] - mesh.points[mesh.elements[:, :1]]
        affine = self.law.affine(relative.reshape(-1, mesh.ndim))
        affine = affine.reshape(len(affine), *relative.shape[:2], self.strains.shape[2])
        return np.moveaxis(affine[list(self.loads)], (3, 2, 1), (1, 2, 3))

    @property
    def reference(self) -> MeshReference:
        return mesh_reference(self.geometry, self.boundary, symmetric=self.law.symmetric_gradient)

    def mean(self, values: Values) -> Float[Array, "batch c"]:
        shares = self.elements.weights.sum(axis=1) / self.volume
        return jnp.sum(values * jnp.asarray(shares[None, None], values.dtype), axis=-1)

    def prepare(self, values: Values) -> Array:
        """Element matrices (batch, components, nodes, components, nodes, elements)."""
        ndim, _, num_components = self.strains.shape
        tensors = np.einsum("isk,cst,jtl->cikjl", self.strains, np.array(self.bases), self.strains)
        gradients, weights, _ = self.elements
        products = np.einsum("eq,eqai,eqbj->ijabe", weights, gradients, gradients, optimize=True)
        products = jnp.asarray(products, values.dtype)
        rows = []
        for k, m in itertools.product(range(num_components), repeat=2):
            entry = jnp.zeros((len(values), *products.shape[2:]), values.dtype)
            for i, j in itertools.product(range(ndim), repeat=2):
                if tensors[:, i, k, j, m].any():
                    factor = weighted(tensors[:, i, k, j, m], jnp.moveaxis(values, 1, 0))
                    entry = entry + factor[:, None, None] * products[i, j][None]
            rows.append(entry)
        matrix = jnp.stack(rows, axis=1)
        shape = (len(values), num_components, num_components, *matrix.shape[2:])
        return lax.optimization_barrier(jnp.moveaxis(matrix.reshape(shape), 2, 3))

    def apply(self, prepared: Array, unknown: Unknown, *, strained: bool = False) -> Unknown:
        values = self._differences(unknown)
        values = values + jnp.asarray(self.positions[None], values.dtype) if strained else values
        return self._forces(prepared, values)

    def load(self, prepared: Array) -> Unknown:
        return -self._forces(prepared, jnp.asarray(self.positions[None], prepared.dtype))

    def strain_energies(self, corrector: Unknown) -> Energies:
        strains = self._strains(corrector, self.elements.gradients)
        shares = jnp.asarray(self.elements.weights.T[None] / self.volume, corrector.dtype)
        energies = []
        for basis in np.array(self.bases):
            found = []
            for m, n in load_pairs(len(self.loads)):
                entries = zip(*np.nonzero(basis), strict=True)
                density = [float(basis[s, t]) * strains[s][:, m] * strains[t][:, n] for s, t in entries]
                found.append(jnp.sum(shares * total(density), axis=1))
            energies.append(jnp.stack(found, axis=1))
        return jnp.stack(energies, axis=1)

    def mean_strains(self, corrector: Unknown) -> Float[Array, "batch loads m elements"]:
        gradients, weights, _ = self.elements
        means = np.einsum("eq,eqai->eai", weights / weights.sum(axis=1, keepdims=True), gradients)[:, None]
        return jnp.stack([strain[:, :, 0] for strain in self._strains(corrector, means)], axis=2)

    def on_points(self, unknown: Unknown) -> Array:
        return jnp.take(unknown, self.at_points, axis=-1, mode="fill", fill_value=0)

    def from_points(self, values: Array) -> Unknown:
        """The values at one point of each unknown."""
        _, points = np.unique(self.at_points, return_index=True)
        return jnp.take(values, points[: self.num_unknowns], axis=-1)

    def _strains(self, corrector: Unknown, gradients: np.ndarray) -> list[Float[Array, "batch loads quads elements"]]:
        """Components of the strain of affine + corrector, by gradients of shape functions as in `elements`."""
        values = self._differences(corrector)
        slopes = {}
        for k, i in itertools.product(range(values.shape[2]), range(gradients.shape[3])):
            shapes = [jnp.asarray(gradients[:, :, a, i].T[None, None], values.dtype) for a in range(1, values.shape[3])]
            terms = [shape * values[:, :, k, a][:, :, None] for a, shape in enumerate(shapes, 1)]
            slopes[k, i] = lax.optimization_barrier(total(terms))
        strains = []
        for s, units in enumerate(self.units.T):
            own = jnp.asarray(units[None, :, None, None], values.dtype)
            strains.append(own + weighted([self.strains[i, s, k] for k, i in slopes], slopes.values()))
        return strains

    def _differences(self, unknown: Unknown) -> Float[Array, "batch loads k corners elements"]:
        """Values at the nodes of each element minus that at the first."""
        values = jnp.take(unknown, self.unknowns, axis=-1, mode="fill", fill_value=0)
        return values - values[..., :1, :]

    def _forces(self, matrices: Array, values: Float[Array, "#batch loads k corners elements"]) -> Unknown:
        """Forces on the unknowns of displacements of the nodes of each element."""
        num_components, num_nodes = values.shape[2:4]
        terms = [
            matrices[:, None, :, :, k, a] * values[:, :, k, a][:, :, None, None]
            for k, a in itertools.product(range(num_components), range(1, num_nodes))
        ]
        forces = lax.optimization_barrier(total(terms))
        flat = forces.reshape(*forces.shape[:3], -1)
        return total(jnp.take(flat, row, axis=-1, mode="fill", fill_value=0) for row in self.incident)
