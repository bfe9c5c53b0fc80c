"""`load_mesh`: one door for all formats."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._abaqus import read_abaqus
from ._contents import Contents
from ._mesh import ELEMENTS, Mesh
from ._phases import phases_of

_TYPES = {file_name: name for name, (_, _, file_name) in ELEMENTS.items()}
# Formats that keep the elements of each material in a block of its own.
_BLOCKS = ("exodus", "ansys", "cgns", "h5m", "tecplot")


def load_mesh(path: str | os.PathLike[str], *, phases: str | Sequence[str] | None = None) -> Mesh:
    """Mesh of a file of Gmsh, Abaqus, VTK, Medit, MED, XDMF and others.

    Files .inp (Abaqus, CalculiX) are read here, all others through meshio.

    Of the elements of the file those of the highest dimension are kept, and their nodes. The phase of an element is
    taken from what the file says of it:

    - an array of whole numbers that is named as such: the physical group of Gmsh, "phase", "material", "MaterialID",
      "region", "label" and the like, in any spelling;
    - else sets that share out all elements: in .inp the sections (by material), else *ELSET, else the ELSET of
      *ELEMENT;
    - else the numbers of the pieces of the geometry.

    `mesh.labels` numbers the phases from 0: numbered ones in increasing order, sets in the order of the file.
    `mesh.tags` is what the file calls them, the name of a group or set, else its number. Files often number otherwise
    than one thinks (Gmsh writes the numbers of surfaces, not those of physical groups, into .mesh), so look up
    properties by tag, as the example does.

    Args:
        path: the file.
        phases: the name of an array that numbers the phases; or the names of sets that share out the elements, in the
            order of `labels`; or [] if there is a single phase. Default: as above.

    Returns:
        `Mesh`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read, the elements are of several types or of one that `Mesh` does not know;
            if the file has arrays or sets, but none that tells the phases for certain, or `phases` does not.

    What it does not do: mesh. In Gmsh, set periodic curves or surfaces (`Periodic Curve {...} = {...} Translate {...}`)
    so that the nodes of opposite faces match, and Mesh.SecondOrderIncomplete = 1 for QUAD8 and HEX20.

    Example:
        >>> mesh = load_mesh("cell.msh")
        >>> mesh.tags
        ('matrix', 'disk')
        >>> kappa = {"matrix": 1.0, "disk": 10.0}
        >>> field = jnp.array([kappa[tag] for tag in mesh.tags])[mesh.labels]
        >>> effective_tensor(CellProblem(mesh, Conductivity(), Periodic()), field)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r} (working folder: {Path.cwd()}).")
    contents = read_abaqus(path) if path.suffix.lower() == ".inp" else _read_by_meshio(path)
    dimension = max((_dimension(name) for name, _ in contents.blocks), default=0)
    chosen = [_dimension(name) == dimension for name, _ in contents.blocks]
    blocks = [block for block, keep in zip(contents.blocks, chosen, strict=True) if keep]
    types = sorted({name for name, _ in blocks})
    if dimension < 2 or len(types) != 1 or types[0] not in _TYPES:
        raise ValueError(
            f"{path} has elements of the types {types or 'none'}; a Mesh has one of {', '.join(_TYPES.values())}"
            f" ({', '.join(_TYPES)}). Mesh again without recombination (or with it everywhere), and in second order"
            " with incomplete elements."
        )
    elements = np.concatenate([block for _, block in blocks])
    rows = np.flatnonzero(np.repeat(chosen, [len(block) for _, block in contents.blocks]))
    used, elements = np.unique(elements, return_inverse=True)
    if len(used) and not 0 <= used[0] <= used[-1] < len(contents.points):
        raise ValueError(f"{path}: an element refers to a node that the file does not have.")
    points = np.asarray(contents.points, float)[used]
    if dimension == 2 and points.shape[1] == 3:
        if np.ptp(points[:, 2]) > 1e-9 * np.ptp(points, axis=0).max():
            raise ValueError(f"{path} is a surface in space; a plane mesh has one value of z.")
        points = points[:, :2]
    labels, tags = phases_of(path, contents, rows, phases)
    element_type = _TYPES[types[0]]
    return Mesh(points, elements.reshape(-1, ELEMENTS[element_type][1]), element_type, labels=labels, tags=tags)


def _read_by_meshio(path: Path) -> Contents:
    import meshio

    suffixes = {path.suffix.lower(), "".join(path.suffixes[-2:]).lower()}
    formats = [name for suffix in suffixes for name in meshio.extension_to_filetypes.get(suffix, [])]
    if not formats:
        raise ValueError(
            f"load_mesh does not know the suffix of {path.name!r}; it reads {', '.join(meshio.extension_to_filetypes)}."
        )
    reasons = []
    # Gmsh shares its suffix with another program and comes last. Not meshio.read, which exits on what it cannot read.
    for name in reversed(formats):
        try:
            return _from_meshio(getattr(meshio, name.removesuffix("-xml")).read(str(path)), name)
        except Exception as error:
            reasons.append(f"{name}: {type(error).__name__} {error}".strip())
    raise ValueError(
        f"{path} cannot be read ({'; '.join(reasons)}). It may be damaged or cut short, or hold elements that are not"
        f" read from such files; a Mesh has {', '.join(_TYPES)}. Gmsh's elements of second order go into .msh, .vtk or"
        " .inp, not .mesh, and its .msh must not be saved with Mesh.SaveAll."
    )


def _from_meshio(mesh: Any, file_format: str) -> Contents:
    blocks = [(block.type, np.asarray(block.data)) for block in mesh.cells]
    starts = np.cumsum([0] + [len(block) for _, block in blocks])
    arrays = {}
    for name, parts in mesh.cell_data.items():
        if all(np.size(part) == len(part) and np.issubdtype(np.asarray(part).dtype, np.number) for part in parts):
            arrays[name] = np.concatenate([np.reshape(part, -1) for part in parts])
    if file_format in _BLOCKS:
        arrays.setdefault("block", np.repeat(np.arange(len(blocks)), np.diff(starts)))
    sets = {}
    for name, members in mesh.cell_sets.items():
        if name != "gmsh:bounding_entities":
            parts = [start + np.asarray(p, int) for start, p in zip(starts, members, strict=False) if p is not None]
            sets[name] = np.concatenate([np.array([], int), *parts])
    dimension = max((_dimension(name) for name, _ in blocks), default=0)
    groups = {int(tag): name for name, (tag, of) in mesh.field_data.items() if of == dimension}
    families = {int(tag): ", ".join(names) for tag, names in (getattr(mesh, "cell_tags", None) or {}).items()}
    if len(np.unique(np.concatenate([[], *sets.values()]))) < sum(map(len, sets.values())):
        arrays.pop("gmsh:physical", None)  # it has the first group only of elements that are in several
    return Contents(np.asarray(mesh.points), blocks, arrays, [sets], {"gmsh:physical": groups, "cell_tags": families})


def _dimension(file_type: str) -> int:
    kinds: tuple = ("vertex", "line", ("triangle", "quad", "polygon"))
    return next((dimension for dimension, kind in enumerate(kinds) if file_type.startswith(kind)), 3)
