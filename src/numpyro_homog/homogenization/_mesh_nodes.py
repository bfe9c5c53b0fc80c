"""Which nodes of a mesh share an unknown, and whether the mesh is one: all that can be wrong with a file."""

import functools

import numpy as np

from ..meshes import Mesh
from ._jax_fem import MeshElements, mesh_elements

# Coordinates that differ by less than this part of the edge of the box are the same.
_TOLERANCE = 1e-6


@functools.lru_cache(maxsize=8)
def checked_elements(mesh: Mesh) -> MeshElements:
    """The elements with positive weights; raises ValueError for a mesh that is none.

    That is an element that is folded or has no volume, elements that do not fill the box, and two elements that touch
    without sharing their nodes.
    """
    elements = mesh_elements(mesh)
    weights = elements.weights * np.sign(elements.weights.sum(axis=1, keepdims=True))
    scale = np.abs(elements.weights).mean(axis=1, keepdims=True)
    bad = np.flatnonzero(np.any(weights <= 1e-9 * scale, axis=1))
    if len(bad):
        center = mesh.points[mesh.elements[bad[0]]].mean(axis=0)
        raise ValueError(
            f"{len(bad)} of {mesh.num_elements} elements are folded or have no volume, the first is number {bad[0]} at"
            f" {center.tolist()}; check the order of its nodes (that of meshio) and its mid-side nodes."
        )
    _check_facets(mesh, elements.facets)
    volume, box = weights.sum(), np.prod(mesh.lengths)
    if abs(volume - box) > _TOLERANCE * box:
        raise ValueError(
            f"The elements have the volume {volume:.6g}, but the box around them {box:.6g}; a mesh must fill its box,"
            " without overlaps. Mesh voids too, and give them a small stiffness."
        )
    return elements._replace(weights=weights)


def faces(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Whether each node lies on the lower and on the upper face across each axis, each of shape (num_points, ndim)."""
    lengths = np.array(mesh.lengths)
    offset = mesh.points - np.array(mesh.lower)
    return offset <= _TOLERANCE * lengths, offset >= (1 - _TOLERANCE) * lengths


@functools.lru_cache(maxsize=8)
def periodic_numbers(mesh: Mesh) -> np.ndarray:
    """Number of the unknown at each node, one for all its periodic images; raises ValueError if faces do not match."""
    import scipy.spatial

    lengths = np.array(mesh.lengths)
    lower, upper = faces(mesh)
    scaled = (mesh.points - np.array(mesh.lower)) / lengths
    scaled = np.where(lower, 0.0, np.where(upper, 1.0, scaled))
    tree = scipy.spatial.cKDTree(scaled)
    for axis in range(mesh.ndim):
        for side, shift in ((lower, 1.0), (upper, -1.0)):
            here = np.flatnonzero(side[:, axis])
            distance, _ = tree.query(scaled[here] + shift * np.eye(mesh.ndim)[axis])
            alone = here[distance > _TOLERANCE]
            if len(alone):
                raise ValueError(
                    f"Periodic() needs matching nodes on opposite faces, but {len(alone)} nodes have no partner across"
                    f" axis {axis}, the first is number {alone[0]} at {mesh.points[alone[0]].tolist()}; make these"
                    " faces periodic in the mesh generator."
                )
    masters = np.flatnonzero(~upper.any(axis=1))
    _, nearest = scipy.spatial.cKDTree(scaled[masters]).query(np.where(upper, 0.0, scaled))
    facets, counts = _counted(mesh.elements[:, checked_elements(mesh).facets])
    folded, counts = _counted(nearest[facets[counts == 1]])
    if np.any(counts % 2):
        node = masters[folded[counts % 2 == 1][0]].tolist()
        raise ValueError(
            f"Periodic() needs the same elements on opposite faces; their nodes match, but the facet of the nodes"
            f" {node} has no partner. Make these faces periodic in the mesh generator."
        )
    return nearest


def _check_facets(mesh: Mesh, facets: np.ndarray) -> None:
    """Raise unless each facet lies on a face of the box or belongs to two elements."""
    single, counts = _counted(mesh.elements[:, facets])
    lower, upper = faces(mesh)
    alone = single[counts == 1]
    outside = np.any(lower[alone].all(axis=1) | upper[alone].all(axis=1), axis=1)
    if np.any(counts > 2) or not np.all(outside):
        first = single[counts > 2] if np.any(counts > 2) else alone[~outside]
        center = mesh.points[first[0]].mean(axis=0)
        raise ValueError(
            f"{len(first)} facets inside of the box belong to one element alone, or to more than two; the first has the"
            f" nodes {first[0].tolist()} around {center.tolist()}. Merge nodes that coincide, and mesh voids too, with"
            " a small stiffness."
        )


def _counted(facets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of the different facets, in order, (number, nodes of a facet), and how often they occur."""
    return np.unique(np.sort(facets, axis=-1).reshape(-1, facets.shape[-1]), axis=0, return_counts=True)
