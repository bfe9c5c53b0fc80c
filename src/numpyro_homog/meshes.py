"""Meshes of finite elements that fill a box, and files of them."""

import hashlib
import os

import jax
import numpy as np

# Space dimension and nodes of an element, and the name that meshio has for it.
_ELEMENTS = {
    "TRI3": (2, 3, "triangle"),
    "TRI6": (2, 6, "triangle6"),
    "QUAD4": (2, 4, "quad"),
    "QUAD8": (2, 8, "quad8"),
    "TET4": (3, 4, "tetra"),
    "TET10": (3, 10, "tetra10"),
    "HEX8": (3, 8, "hexahedron"),
    "HEX20": (3, 20, "hexahedron20"),
}
_TYPES = {file_name: name for name, (_, _, file_name) in _ELEMENTS.items()}
_LINES = ("vertex", "line")
_PLANES = ("triangle", "quad")
# Where files keep the number of the phase of an element, in this order.
_TAGS = ("gmsh:physical", "phase", "label", "labels", "medit:ref", "cell_tags", "gmsh:geometrical")


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
            phase properties is then `kappa[mesh.labels]`.

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

    def __init__(self, points, elements, element_type: str, *, labels=None):
        if element_type not in _ELEMENTS:
            raise ValueError(f"Mesh knows the element types {', '.join(_ELEMENTS)}; got {element_type!r}.")
        ndim, num_nodes, _ = _ELEMENTS[element_type]
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
        self.points, self.elements, self.labels, self.element_type = coordinates, table, phases, element_type
        for array in (self.points, self.elements, self.labels):
            array.setflags(write=False)
        self.lower = tuple(coordinates.min(axis=0).tolist())
        self.lengths = tuple(np.ptp(coordinates, axis=0).tolist())
        digest = hashlib.sha256(element_type.encode())
        for array in (self.points, self.elements, self.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        self._digest = digest.digest()

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
        return f"Mesh({self.num_elements} {self.element_type}, {self.num_points} points, lengths={self.lengths})"


def load_mesh(path: str | os.PathLike) -> Mesh:
    """Mesh of a file that meshio reads: Gmsh, VTK (.vtu), Abaqus, XDMF, MED and others.

    Of the elements of the file those of the highest dimension are kept, and their nodes. The phase of an element is its
    tag (in Gmsh the physical group, else the geometrical entity; or a field named "phase" or "label"); `labels` counts
    the tags that occur from 0, in increasing order.

    Args:
        path: the file.

    Returns:
        `Mesh`.

    Raises:
        ValueError: if the elements are of several types or of one that `Mesh` does not know.

    What it does not do: mesh. In Gmsh, set periodic curves or surfaces (`Periodic Curve {...} = {...} Translate {...}`)
    so that the nodes of opposite faces match, and Mesh.SecondOrderIncomplete = 1 for QUAD8 and HEX20.

    Example:
        >>> mesh = load_mesh("cell.msh")
        >>> cell = CellProblem(mesh, Conductivity(), Periodic())
        >>> effective_tensor(cell, jnp.array([1.0, 10.0])[mesh.labels])
    """
    import meshio

    contents = meshio.read(os.fspath(path))
    dimension = max((_dimension(block.type) for block in contents.cells), default=0)
    chosen = [index for index, block in enumerate(contents.cells) if _dimension(block.type) == dimension]
    types = sorted({contents.cells[index].type for index in chosen})
    if dimension < 2 or len(types) != 1 or types[0] not in _TYPES:
        raise ValueError(
            f"{os.fspath(path)} has elements of the types {types or 'none'}; a Mesh has one of {', '.join(_TYPES)}."
            " Mesh again without recombination (or with it everywhere), and in second order with incomplete elements."
        )
    elements = np.concatenate([contents.cells[index].data for index in chosen])
    used, elements = np.unique(elements, return_inverse=True)
    points = np.asarray(contents.points, float)[used]
    if dimension == 2 and points.shape[1] == 3:
        if np.ptp(points[:, 2]) > 1e-9 * np.ptp(points, axis=0).max():
            raise ValueError(f"{os.fspath(path)} is a surface in space; a plane mesh has one value of z.")
        points = points[:, :2]
    tags = _tags(contents, chosen)
    labels = None if tags is None else np.unique(tags, return_inverse=True)[1].reshape(-1)
    return Mesh(points, elements.reshape(-1, _ELEMENTS[_TYPES[types[0]]][1]), _TYPES[types[0]], labels=labels)


def _tags(contents, chosen):
    """The integer of each element that says of which phase it is, or None."""
    for name in _TAGS:
        if name in contents.cell_data:
            values = np.concatenate([np.asarray(contents.cell_data[name][index]).reshape(-1) for index in chosen])
            if np.array_equal(values, np.round(values)):
                return values.astype(int)
    return None


def _dimension(file_type):
    if file_type.startswith(_LINES):
        return 1 if file_type.startswith("line") else 0
    return 2 if file_type.startswith(_PLANES) else 3


def _integers(array, what):
    values = np.array(array)
    if values.size and not np.array_equal(values, np.round(values)):
        raise ValueError(f"{what} must be integers; got {values.dtype}.")
    return values.astype(np.int32)
