"""`Mesh`: finite elements that fill a box."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from .._store import digest

# Space dimension and nodes of an element, and the name that meshio has for it.
ELEMENTS = {
    "TRI3": (2, 3, "triangle"),
    "TRI6": (2, 6, "triangle6"),
    "QUAD4": (2, 4, "quad"),
    "QUAD8": (2, 8, "quad8"),
    "TET4": (3, 4, "tetra"),
    "TET10": (3, 10, "tetra10"),
    "HEX8": (3, 8, "hexahedron"),
    "HEX20": (3, 20, "hexahedron20"),
}


@jax.tree_util.register_static
class Mesh:
    """A mesh of elements of one type that fill a box with edges along the axes.

    In a `CellProblem` it takes the place of a `Grid`: a field has one value for each element, shape
    (*batch, num_elements). Elements may be of any size and, of second order, curved, so that interfaces are followed
    exactly.

    A mesh is static: hashable (by its content), and may be closed over or passed through `jax.jit`. Its arrays are
    read-only NumPy arrays.

    Args:
        points: coordinates of the nodes, shape (num_points, d), d = 2 or 3, in the unit of the user.
        elements: numbers of the nodes of each element, shape (num_elements, nodes), in the order of meshio (that of VTK
            and Abaqus): corners first, then mid-side nodes.
        element_type: "TRI3", "TRI6", "QUAD4", "QUAD8", "TET4", "TET10", "HEX8" or "HEX20".
        labels: number of the phase of each element, shape (num_elements,), integers from 0; default: all 0. A field of
            phase properties, one for each of `tags`, is then `kappa[mesh.labels]`.
        tags: a name or a number for each phase, in the order of `labels`; default: 0, 1, ..., the greatest label.

    Attributes:
        lower: least coordinate along each axis.
        lengths: edges of the box along each axis.

    Raises:
        ValueError: at construction, for arrays that are not as described, and nodes that belong to no element. What
            depends on the shape of the elements and on the boundary condition is checked by `CellProblem`.

    Example:
        >>> points = [[0, 0], [1, 0], [1, 1], [0, 1]]
        >>> mesh = Mesh(points, [[0, 1, 2], [0, 2, 3]], "TRI3")
        >>> mesh.shape, mesh.lengths
        ((2,), (1.0, 1.0))
    """

    def __init__(self, points: Any, elements: Any, element_type: str, *, labels: Any = None, tags: Any = None):
        if element_type not in ELEMENTS:
            raise ValueError(f"Mesh knows the element types {', '.join(ELEMENTS)}; got {element_type!r}.")
        ndim, num_nodes, _ = ELEMENTS[element_type]
        coordinates = np.array(points, float)
        if coordinates.ndim != 2 or coordinates.shape[1] != ndim or not np.all(np.isfinite(coordinates)):
            raise ValueError(
                f"points of {element_type} elements must be finite, of shape (num_points, {ndim}); got shape"
                f" {coordinates.shape}."
            )
        table = _integers(elements, "elements")
        if table.ndim != 2 or table.shape[1] != num_nodes or len(table) == 0:
            raise ValueError(
                f"elements of type {element_type} must have the shape (num_elements, {num_nodes}); got {table.shape}."
            )
        if table.min() < 0 or table.max() >= len(coordinates):
            raise ValueError(
                f"elements refer to the nodes {table.min()} to {table.max()}, but there are points 0 to"
                f" {len(coordinates) - 1}; nodes are counted from zero."
            )
        unused = np.flatnonzero(np.bincount(table.reshape(-1), minlength=len(coordinates)) == 0)
        if len(unused):
            raise ValueError(
                f"{len(unused)} of {len(coordinates)} points belong to no element, the first is number {unused[0]} at"
                f" {coordinates[unused[0]].tolist()}; remove them (load_mesh does)."
            )
        phases = np.zeros(len(table), np.int32) if labels is None else _integers(labels, "labels")
        if phases.shape != (len(table),) or phases.min() < 0:
            raise ValueError(
                f"labels must be numbers of phases from 0, shape ({len(table)},) for as many elements; got shape"
                f" {phases.shape} and the least number {phases.min() if phases.size else None}."
            )
        num_phases = int(phases.max()) + 1
        if tags is None and phases.min() > 0:
            raise ValueError(
                f"labels count the phases from 0, but the least is {phases.min()}. Pass labels - {phases.min()}, or"
                " np.unique(labels, return_inverse=True)[1]; or `tags` with one entry for each phase, 0 to the greatest"
                " label, if phases are absent from this mesh."
            )
        if tags is not None and (len(set(tags)) < len(tags) or len(tags) < num_phases):
            raise ValueError(f"tags must be different, at least {num_phases} for as many phases in labels; got {tags}.")
        for array in (coordinates, table, phases):
            array.setflags(write=False)
        self.points, self.elements, self.labels, self.element_type = coordinates, table, phases, element_type
        self.tags = tuple(range(num_phases) if tags is None else tags)
        self.lower = tuple(coordinates.min(axis=0).tolist())
        self.lengths = tuple(np.ptp(coordinates, axis=0).tolist())
        self._digest = digest(element_type, self.tags, coordinates, table, phases)

    @property
    def ndim(self) -> int:
        """Number of space dimensions d."""
        return self.points.shape[1]

    @property
    def shape(self) -> tuple[int]:
        """Shape of a scalar field: (num_elements,)."""
        return (len(self.elements),)

    @property
    def num_elements(self) -> int:
        """Number of elements."""
        return len(self.elements)

    @property
    def num_points(self) -> int:
        """Number of nodes."""
        return len(self.points)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mesh) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return (
            f"Mesh({self.num_elements} {self.element_type}, {self.num_points} points, lengths={self.lengths},"
            f" tags={self.tags})"
        )


def _integers(array: Any, what: str) -> Int[np.ndarray, "*shape"]:
    values = np.array(array)
    if values.size and not np.array_equal(values, np.round(values)):
        raise ValueError(f"{what} must be integers; got {values.dtype}.")
    if values.size and np.abs(values).max() > np.iinfo(np.int32).max:
        raise ValueError(f"{what} must be below 2**31; got {values.min()} to {values.max()}.")
    return values.astype(np.int32)
