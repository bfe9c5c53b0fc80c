"""Matrix-free stiffness of a mesh."""

import dataclasses
import functools
import itertools
import operator

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..meshes import Mesh
from ._energies import load_pairs
from ._jax_fem import MeshElements
from ._mesh_nodes import checked_elements
from ._mesh_reference import MeshReference, mesh_reference
from ._reference import korn_factor
from ._space import AbstractSpace
from ._tensor_fields import weighted


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
        return _reference(self.geometry, self.boundary, self.law.symmetric_gradient)

    def mean(self, values):
        shares = self.elements.weights.sum(axis=1) / self.volume
        return jnp.sum(values * jnp.asarray(shares[None, None], values.dtype), axis=-1)

    def prepare(self, values):
        """Element matrices (batch, components, nodes, components, nodes, elements)."""
        ndim, _, num_components = self.strains.shape
        tensors = np.einsum("isk,cst,jtl->cikjl", self.strains, np.array(self.bases), self.strains)
        gradients, weights, _ = self.elements
        products = np.einsum("eq,eqai,eqbj->ijabe", weights, gradients, gradients, optimize=True)
        products = jnp.asarray(products, values.dtype)
        rows = []
        for k, m in itertools.product(range(num_components), repeat=2):
            total = jnp.zeros((len(values), *products.shape[2:]), values.dtype)
            for i, j in itertools.product(range(ndim), repeat=2):
                if tensors[:, i, k, j, m].any():
                    factor = weighted(tensors[:, i, k, j, m], jnp.moveaxis(values, 1, 0))
                    total = total + factor[:, None, None] * products[i, j][None]
            rows.append(total)
        matrix = jnp.stack(rows, axis=1)
        shape = (len(values), num_components, num_components, *matrix.shape[2:])
        return lax.optimization_barrier(jnp.moveaxis(matrix.reshape(shape), 2, 3))

    def apply(self, prepared, unknown, *, strained=False):
        values = self._differences(unknown)
        return self._forces(prepared, values + self._affine(values) if strained else values)

    def load(self, prepared):
        return -self._forces(prepared, self._affine(prepared))

    def strain_energies(self, corrector):
        strains = self._strains(corrector, self.elements.gradients)
        shares = jnp.asarray(self.elements.weights.T[None] / self.volume, corrector.dtype)
        energies = []
        for basis in np.array(self.bases):
            found = []
            for m, n in load_pairs(len(self.loads)):
                entries = zip(*np.nonzero(basis), strict=True)
                density = [float(basis[s, t]) * strains[s][:, m] * strains[t][:, n] for s, t in entries]
                found.append(jnp.sum(shares * _sum(density), axis=1))
            energies.append(jnp.stack(found, axis=1))
        return jnp.stack(energies, axis=1)

    def mean_strains(self, corrector):
        gradients, weights, _ = self.elements
        means = np.einsum("eq,eqai->eai", weights / weights.sum(axis=1, keepdims=True), gradients)[:, None]
        return jnp.stack([strain[:, :, 0] for strain in self._strains(corrector, means)], axis=2)

    def on_points(self, unknown):
        return jnp.take(unknown, self.at_points, axis=-1, mode="fill", fill_value=0)

    def from_points(self, values):
        """The values at one point of each unknown."""
        _, points = np.unique(self.at_points, return_index=True)
        return jnp.take(values, points[: self.num_unknowns], axis=-1)

    def _strains(self, corrector, gradients):
        """Components of the strain of affine + corrector, each (batch, loads, quads, elements).

        `gradients` are those of the shape functions, shape (elements, quads, nodes, ndim).
        """
        values = self._differences(corrector)
        slopes = {}
        for k, i in itertools.product(range(values.shape[2]), range(gradients.shape[3])):
            shapes = [jnp.asarray(gradients[:, :, a, i].T[None, None], values.dtype) for a in range(1, values.shape[3])]
            terms = [shape * values[:, :, k, a][:, :, None] for a, shape in enumerate(shapes, 1)]
            slopes[k, i] = lax.optimization_barrier(_sum(terms))
        strains = []
        for s, units in enumerate(self.units.T):
            own = jnp.asarray(units[None, :, None, None], values.dtype)
            strains.append(own + weighted([self.strains[i, s, k] for k, i in slopes], slopes.values()))
        return strains

    def _differences(self, unknown):
        """Values at the nodes of each element minus that at the first, shape (batch, loads, k, nodes, elements)."""
        values = jnp.take(unknown, self.unknowns, axis=-1, mode="fill", fill_value=0)
        return values - values[..., :1, :]

    def _affine(self, like):
        return jnp.asarray(self.positions[None], like.dtype)

    def _forces(self, matrices, values):
        """Forces on the unknowns of displacements (batch, loads, components, nodes, elements) of each element."""
        _, _, num_components, num_nodes, num_elements = values.shape
        terms = [
            matrices[:, None, :, :, k, a] * values[:, :, k, a][:, :, None, None]
            for k, a in itertools.product(range(num_components), range(1, num_nodes))
        ]
        forces = lax.optimization_barrier(_sum(terms))
        flat = forces.reshape(*forces.shape[:3], num_nodes * num_elements)
        return _sum([jnp.take(flat, row, axis=-1, mode="fill", fill_value=0) for row in self.incident])


@functools.lru_cache(maxsize=8)
def _reference(mesh, boundary, symmetric):
    """The reference of a mesh, on the space of one component."""
    import scipy.sparse

    elements, numbers = checked_elements(mesh), boundary.numbers(mesh)
    num, unknowns = int(numbers.max()) + 1, numbers[mesh.elements.T]
    stiffness = np.einsum("eq,eqai,eqbi->abe", elements.weights, elements.gradients, elements.gradients, optimize=True)
    rows = np.broadcast_to(unknowns[:, None], stiffness.shape).reshape(-1)
    columns = np.broadcast_to(unknowns[None], stiffness.shape).reshape(-1)
    keep = (rows >= 0) & (columns >= 0)
    laplacian = scipy.sparse.coo_matrix((stiffness.reshape(-1)[keep], (rows[keep], columns[keep])), (num, num)).tocsr()
    gradients = None
    if boundary.free:
        parts = np.einsum("eq,eqai->iae", elements.weights, elements.gradients) / np.prod(mesh.lengths)
        gradients = np.stack([np.bincount(unknowns.reshape(-1), part.reshape(-1), num) for part in parts])
    places = np.zeros((num + 1, mesh.ndim))
    places[numbers] = (mesh.points - np.array(mesh.lower)) / np.array(mesh.lengths)
    floating, least = bool(np.all(numbers >= 0)), korn_factor(mesh.lengths) if boundary.free and symmetric else 1.0
    scale = 2.0 if symmetric else 1.0
    return mesh_reference(laplacian, places[:-1], floating=floating, gradients=gradients, scale=scale, least=least)


def _sum(terms):
    return functools.reduce(operator.add, terms)
