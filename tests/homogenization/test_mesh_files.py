"""Meshes from files, and what is no mesh or no cell."""

import jax.numpy as jnp
import meshio
import numpy as np
import pytest
from mesh_cells import box_mesh

import numpyro_homog as nh

BOUNDARIES = {"UniformFlux": nh.UniformFlux(), "Periodic": nh.Periodic(), "Affine": nh.Affine()}


@pytest.mark.parametrize("suffix", ["msh", "vtu", "inp"])
@pytest.mark.parametrize("kind", ["TRI6", "HEX8"])
def test_a_file_has_the_mesh_and_its_phases(suffix, kind, tmp_path):
    mesh = box_mesh((2, 2) if kind == "TRI6" else (2, 2, 2), kind)
    points = np.concatenate([[[9.0] * mesh.ndim], mesh.points])  # a point that is in no element
    points = np.pad(points, [(0, 0), (0, 3 - mesh.ndim)])
    name = {"TRI6": "triangle6", "HEX8": "hexahedron"}[kind]
    cells = [(name, mesh.elements[:3] + 1), (name, mesh.elements[3:] + 1)]
    tags = np.where(mesh.labels % 2, 7, 3)
    data = {"gmsh:physical": [tags[:3], tags[3:]], "gmsh:geometrical": [tags[:3], tags[3:]]}
    if suffix == "vtu":
        cells, data = [(name, mesh.elements + 1), ("line", np.array([[1, 2]]))], {"phase": [tags, np.zeros(1, int)]}
    path = tmp_path / f"cell.{suffix}"
    sets = {"soft": [np.flatnonzero(part == 3) for part in (tags[:3], tags[3:])]}
    sets["stiff"] = [np.flatnonzero(part == 7) for part in (tags[:3], tags[3:])]
    contents = meshio.Mesh(
        points, cells, cell_data={} if suffix == "inp" else data, cell_sets=sets if suffix == "inp" else {}
    )
    contents.write(path, file_format="gmsh22" if suffix == "msh" else None)
    found = nh.load_mesh(path)
    np.testing.assert_allclose(found.points, mesh.points, atol=1e-12)
    np.testing.assert_array_equal(found.elements, mesh.elements)
    np.testing.assert_array_equal(found.labels, mesh.labels % 2)
    assert found.tags == (("soft", "stiff") if suffix == "inp" else (3, 7))
    assert found.element_type == kind


def test_equal_meshes_are_one_mesh():
    first, second, other = (box_mesh((2, n), "TRI3") for n in (2, 2, 3))
    assert first == second
    assert hash(first) == hash(second)
    assert first != other
    assert not first.points.flags.writeable
    assert len({first, second, other}) == 2
    assert "8 TRI3" in repr(first)


SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SQUARE, HALVES, "TRI5"), "element types TRI3"),
        ((SQUARE, HALVES, "TET4"), r"\(num_points, 3\)"),
        ((SQUARE * np.nan, HALVES, "TRI3"), "finite"),
        ((SQUARE, HALVES, "QUAD4"), r"\(num_elements, 4\)"),
        ((SQUARE, HALVES + 0.5, "TRI3"), "integers"),
        ((SQUARE, HALVES + 1, "TRI3"), "counted from zero"),
        ((SQUARE, HALVES[:1], "TRI3"), "number 3 at"),
        ((SQUARE, HALVES, "TRI3", [0, 1, 1]), "labels"),
        ((SQUARE, HALVES, "TRI3", [0, -1]), "labels"),
        ((SQUARE, HALVES, "TRI3", [1, 2]), r"from 0, but the least is 1. Pass labels - 1, .* or `tags`"),
        ((SQUARE, HALVES, "TRI3", [0, 2**32]), "labels must be below"),
        ((SQUARE, HALVES + 2**32, "TRI3"), "elements must be below"),
    ],
)
def test_what_is_no_mesh_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        nh.Mesh(*arguments[:3], **({"labels": arguments[3]} if arguments[3:] else {}))


def refused(points, elements, kind, message, boundary="Affine"):
    with pytest.raises(ValueError, match=message):
        nh.CellProblem(nh.Mesh(points, elements, kind), nh.Conductivity(), BOUNDARIES[boundary])


def test_elements_that_make_no_cell_are_refused():
    refused(SQUARE, [[0, 2, 1, 3]], "QUAD4", "folded")
    refused(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), [[0, 1, 2], [0, 1, 3]], "TRI3", "no volume")
    mesh = box_mesh((3, 3), "QUAD4")
    hole = mesh.elements[mesh.labels != 4]
    refused(mesh.points, hole, "QUAD4", "mesh voids too")
    # A crack: nodes that coincide, not merged.
    twice = np.concatenate([mesh.points, mesh.points])
    elements = np.where((mesh.labels == 4)[:, None], mesh.elements + len(mesh.points), mesh.elements)
    used, elements = np.unique(elements, return_inverse=True)
    refused(twice[used], elements.reshape(-1, 4), "QUAD4", "Merge nodes that coincide")
    # A cell that is no box.
    refused(SQUARE[:3], HALVES[:1], "TRI3", "belong to one element alone")


def test_faces_that_do_not_match_are_refused_where_they_must_match():
    mesh = box_mesh((3, 3), "TRI3")
    points = np.array(mesh.points)
    moved = np.flatnonzero((points[:, 0] > 0.99) & (np.abs(points[:, 1] - 1 / 3) < 1e-9))[0]
    points[moved, 1] += 0.1
    refused(points, mesh.elements, "TRI3", "across axis 0, the first is number", "Periodic")
    nh.CellProblem(nh.Mesh(points, mesh.elements, "TRI3"), nh.Conductivity(), nh.UniformFlux())
    # Nodes that match and faces that do not: cubes cut into five tetrahedra alternate, and three is odd.
    cube = box_mesh((3, 3, 3), "HEX8")
    five = np.array([[0, 3, 5, 6], [1, 0, 3, 5], [2, 0, 3, 6], [4, 0, 5, 6], [7, 3, 5, 6]])
    number = np.arange(64).reshape(4, 4, 4)
    elements = []
    for cell in np.ndindex(3, 3, 3):
        corners = number[tuple(slice(i, i + 2) for i in cell)].reshape(-1)
        elements.append(corners[five ^ (4 * (sum(cell) % 2))])
    refused(cube.points, np.concatenate(elements), "TET4", "same elements on opposite faces", "Periodic")
    nh.CellProblem(nh.Mesh(cube.points, np.concatenate(elements), "TET4"), nh.Conductivity(), nh.Affine())


def test_a_field_must_fit_the_mesh_and_an_affine_cell_needs_a_node_inside():
    mesh = nh.Mesh(SQUARE, HALVES, "TRI3")
    with pytest.raises(ValueError, match=r"\(2,\)"):
        nh.effective_tensor(nh.CellProblem(mesh, nh.Conductivity(), nh.Periodic()), jnp.ones(3))
    with pytest.raises(ValueError, match="no node inside"):
        nh.effective_tensor(nh.CellProblem(mesh, nh.Conductivity(), nh.Affine()), jnp.ones(2))


def test_files_of_other_elements_are_refused(tmp_path):
    mesh = box_mesh((2, 2), "QUAD8")
    path = tmp_path / "mixed.vtu"
    mixed = [("quad8", mesh.elements[:2]), ("triangle", mesh.elements[2:, :3])]
    meshio.Mesh(np.pad(mesh.points, [(0, 0), (0, 1)]), mixed).write(path)
    with pytest.raises(ValueError, match=r"\['quad8', 'triangle'\]"):
        nh.load_mesh(path)
    path = tmp_path / "bowl.vtu"
    points = np.column_stack([mesh.points, mesh.points[:, 0] ** 2])
    meshio.Mesh(points, [("quad8", mesh.elements)]).write(path)
    with pytest.raises(ValueError, match="surface in space"):
        nh.load_mesh(path)
