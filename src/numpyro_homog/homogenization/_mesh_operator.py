"""Matrix-free stiffness of a mesh."""

import functools
import itertools
import operator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..meshes import Mesh
from ._box_reference import korn_factor
from ._law import AbstractLaw
from ._mesh_nodes import checked_elements
from ._mesh_reference import MeshReference, mesh_reference
from ._operator import load_pairs


class MeshOperator(NamedTuple):
    """Stiffness of a law on a mesh, between the unknowns that a boundary condition leaves.

    The unknown has shape (batch, loads, components, num_unknowns). The elements come last in all arrays, so that sums
    over the nodes of an element are long vector operations.

    Attributes:
        unknowns: number of the unknown at each node of each element, shape (nodes, elements); num_unknowns where the
            corrector vanishes.
        incident: positions of each unknown in the flattened `unknowns`, shape (most elements at a node, num_unknowns),
            filled up with their number.
        gradients: of the shape functions, shape (quads, ndim, nodes, elements).
        weights: of the quadrature, shape (quads, elements).
        strains: strain of a unit gradient along each axis, shape (ndim, loads, components).
        bases: constant tensors of the coefficients, shape (c, loads, loads).
        positions: affine unknowns of unit strains relative to the first node, (loads, components, nodes, elements).
        at_points: number of the unknown at each point of the mesh, as in `unknowns`.
        volume: volume of the cell.
        inverse: the reference medium.
    """

    unknowns: np.ndarray
    incident: np.ndarray
    gradients: np.ndarray
    weights: np.ndarray
    strains: np.ndarray
    bases: np.ndarray
    positions: np.ndarray
    at_points: np.ndarray
    volume: float
    inverse: MeshReference

    @property
    def num_loads(self) -> int:
        """Number of unit strains."""
        return self.strains.shape[1]

    def mean(self, values: Float[Array, "batch c elements"]) -> Float[Array, "batch c"]:
        """Volume average of coefficients."""
        shares = self.weights.sum(axis=0) / self.volume
        return jnp.sum(values * jnp.asarray(shares.reshape(1, 1, -1), values.dtype), axis=-1)

    def prepare(self, values: Float[Array, "batch c elements"]) -> Float[Array, "..."]:
        """Element matrices (batch, components, nodes, components, nodes, elements)."""
        ndim, _, num_components = self.strains.shape
        tensors = np.einsum("isk,cst,jtl->cikjl", self.strains, self.bases, self.strains)
        products = np.einsum("qe,qiae,qjbe->ijabe", self.weights, self.gradients, self.gradients, optimize=True)
        products = jnp.asarray(products, values.dtype)
        rows = []
        for k, m in itertools.product(range(num_components), repeat=2):
            total = jnp.zeros((len(values), *products.shape[2:]), values.dtype)
            for i, j in itertools.product(range(ndim), repeat=2):
                weights = tensors[:, i, k, j, m]
                if weights.any():
                    terms = [float(w) * values[:, c] for c, w in enumerate(weights) if w]
                    total = total + _sum(terms)[:, None, None] * products[i, j][None]
            rows.append(total)
        matrix = jnp.stack(rows, axis=1)
        shape = (len(values), num_components, num_components, *matrix.shape[2:])
        return lax.optimization_barrier(jnp.moveaxis(matrix.reshape(shape), 2, 3))

    def apply(
        self, matrices: Float[Array, "..."], unknown: Float[Array, "..."], *, strained: bool = False
    ) -> Float[Array, "..."]:
        """Stiffness times `unknown`, given matrices from `prepare`; `strained` adds the unit strains.

        With `strained` the result is minus the residual of the cell problem at the corrector `unknown`. It acts on
        differences to the first node of each element, as constants lie in the null space.
        """
        values = self._differences(unknown)
        return self._forces(matrices, values + self._affine(values) if strained else values)

    def load(self, matrices: Float[Array, "..."]) -> Float[Array, "..."]:
        """Right-hand sides of the cell problem: minus the stiffness of the affine unknowns."""
        return -self._forces(matrices, self._affine(matrices))

    def strain_energies(self, corrector: Float[Array, "..."]) -> Float[Array, "..."]:
        """Sensitivity u_m' M_c u_n / volume of the effective tensor to the coefficients, u = affine + corrector.

        Returns:
            Shape (batch, c, pairs, elements), for the pairs m <= n of load cases in the order of `load_pairs`.
        """
        ndim, size, num_components = self.strains.shape
        values = self._differences(corrector)
        dtype = values.dtype
        slopes = {}
        for k, i in itertools.product(range(num_components), range(ndim)):
            shapes = [jnp.asarray(self.gradients[:, i, a][None, None], dtype) for a in range(1, values.shape[3])]
            terms = [shape * values[:, :, k, a + 1][:, :, None] for a, shape in enumerate(shapes)]
            slopes[k, i] = lax.optimization_barrier(_sum(terms))
        strains = []
        for s in range(size):
            weights = {(k, i): float(self.strains[i, s, k]) for k, i in slopes if self.strains[i, s, k]}
            own = jnp.asarray(np.eye(size)[s].reshape(1, size, 1, 1), dtype)
            strains.append(own + _sum([weight * slopes[key] for key, weight in weights.items()]))
        shares = jnp.asarray(self.weights[None] / self.volume, dtype)
        energies = []
        for basis in self.bases:
            found = []
            for m, n in load_pairs(size):
                entries = zip(*np.nonzero(basis), strict=True)
                density = [float(basis[s, t]) * strains[s][:, m] * strains[t][:, n] for s, t in entries]
                found.append(jnp.sum(shares * _sum(density), axis=1))
            energies.append(jnp.stack(found, axis=1))
        return jnp.stack(energies, axis=1)

    @property
    def num_node_axes(self) -> int:
        """Number of axes over which `on_nodes` lays the nodes."""
        return 1

    def from_nodes(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """Inverse of `on_nodes`: the values at one point of each unknown."""
        _, points = np.unique(self.at_points, return_index=True)
        return jnp.take(values, points[: self.incident.shape[1]], axis=-1)

    def on_nodes(self, unknown: Float[Array, "..."]) -> Float[Array, "..."]:
        """Values at all points of the mesh, shape (..., num_points)."""
        return jnp.take(unknown, self.at_points, axis=-1, mode="fill", fill_value=0)

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


def mesh_operator(mesh: Mesh, law: AbstractLaw, bases: tuple, numbers: np.ndarray, free: bool) -> MeshOperator:
    """The operator of `law` on `mesh` for coefficients with the constant tensors `bases`.

    Args:
        mesh: the mesh.
        law: the law.
        bases: as in `Coefficients`.
        numbers: number of the unknown at each point, -1 where the corrector vanishes.
        free: the faces are free; the corrector then has zero mean gradient.
    """
    elements = checked_elements(mesh)
    ndim, num_components, num_loads = mesh.ndim, law.num_components(mesh.ndim), law.num_loads(mesh.ndim)
    num_unknowns = int(numbers.max()) + 1
    if num_unknowns < 1:
        raise ValueError("The mesh has no node inside of the box, where Affine() leaves unknowns; refine it.")
    numbers = np.where(numbers < 0, num_unknowns, numbers).astype(np.int32)
    unknowns = numbers[mesh.elements.T]
    relative = mesh.points[mesh.elements] - mesh.points[mesh.elements[:, :1]]
    affine = law.affine(relative.reshape(-1, ndim)).reshape(num_loads, *relative.shape[:2], num_components)
    strains = law.strain_operator(np.eye(ndim)[:, None, :])  # one node, whose gradient is a unit vector
    volume = float(np.prod(mesh.lengths))
    return MeshOperator(
        unknowns=unknowns,
        incident=_incident(unknowns.reshape(-1), num_unknowns),
        gradients=np.ascontiguousarray(np.moveaxis(elements.gradients, (1, 3, 2, 0), (0, 1, 2, 3))),
        weights=np.ascontiguousarray(elements.weights.T),
        strains=strains,
        bases=np.array(bases),
        positions=np.moveaxis(affine, (3, 2, 1), (1, 2, 3)),
        at_points=numbers,
        volume=volume,
        inverse=_reference(mesh, elements, unknowns, num_unknowns, law.symmetric_gradient, free),
    )


def _reference(mesh, elements, unknowns, num_unknowns, symmetric, free):
    """The reference of a mesh, on the space of one component."""
    import scipy.sparse

    stiffness = np.einsum("eq,eqai,eqbi->abe", elements.weights, elements.gradients, elements.gradients, optimize=True)
    rows = np.broadcast_to(unknowns[:, None], stiffness.shape).reshape(-1)
    columns = np.broadcast_to(unknowns[None], stiffness.shape).reshape(-1)
    keep = (rows < num_unknowns) & (columns < num_unknowns)
    entries = (stiffness.reshape(-1)[keep], (rows[keep], columns[keep]))
    laplacian = scipy.sparse.coo_matrix(entries, (num_unknowns, num_unknowns)).tocsr()
    gradients = None
    if free:
        parts = np.einsum("eq,eqai->iae", elements.weights, elements.gradients) / np.prod(mesh.lengths)
        gradients = np.stack([np.bincount(unknowns.reshape(-1), part.reshape(-1), num_unknowns) for part in parts])
    floating = not np.any(unknowns == num_unknowns)
    least = korn_factor(mesh.lengths) if free and symmetric else 1.0
    scale = 2.0 if symmetric else 1.0
    places = np.zeros((num_unknowns + 1, mesh.ndim))
    places[unknowns.T] = (mesh.points[mesh.elements] - np.array(mesh.lower)) / np.array(mesh.lengths)
    return mesh_reference(laplacian, places[:-1], floating=floating, gradients=gradients, scale=scale, least=least)


def _incident(unknowns, num_unknowns):
    """Positions of each number in an array, one column for each, filled up with the length of the array."""
    order = np.argsort(unknowns, kind="stable")[: np.count_nonzero(unknowns < num_unknowns)]
    counts = np.bincount(unknowns[order], minlength=num_unknowns)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((counts.max(), num_unknowns), len(unknowns), np.int32)
    table[rank, unknowns[order]] = order
    return table


def _sum(terms):
    return functools.reduce(operator.add, terms) if terms else None
