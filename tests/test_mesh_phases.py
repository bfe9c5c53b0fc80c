"""The phases of a mesh from a file: what it says is kept, under its own names; what it does not say is asked for."""

from pathlib import Path

import jax.numpy as jnp
import meshio
import numpy as np
import pytest
from mesh_cells import box_mesh, circle_mesh

import numpyro_homog as nh
from numpyro_homog.meshes import _files
from numpyro_homog.meshes._phases import phases_of

CIRCLE = circle_mesh(0.3, 4, "QUAD4")
SPACE = np.pad(CIRCLE.points, [(0, 0), (0, 1)])
DISK, MATRIX = np.flatnonzero(CIRCLE.labels == 1), np.flatnonzero(CIRCLE.labels == 0)


def rows(numbers):
    """Lines of an Abaqus set: at most sixteen numbers each."""
    return "".join(", ".join(map(str, numbers[i : i + 16] + 1)) + "\n" for i in range(0, len(numbers), 16))


def nodes_of(mesh):
    return "*NODE\n" + "".join(f"{i + 1}, {', '.join(map(repr, p))}\n" for i, p in enumerate(mesh.points.tolist()))


def elements_of(mesh, chosen, kind, more=""):
    lines = "".join(f"{i + 1}, {', '.join(map(str, mesh.elements[i] + 1))}\n" for i in chosen)
    return f"*Element, type={kind}{more}\n{lines}"


EVERY = elements_of(CIRCLE, range(len(CIRCLE.elements)), "CPE4", ", ELSET=EALL")
APART = elements_of(CIRCLE, DISK, "CPS4R", ", ELSET=Surface2") + elements_of(
    CIRCLE, MATRIX, "CPS4R", ", ELSET=Surface3"
)
SETS = f"*ELSET, ELSET=matrix\n{rows(MATRIX)}*elset, elset=Disk\n{rows(DISK)}"


@pytest.fixture
def read(tmp_path):
    def read(content, suffix="inp", **options):
        path = tmp_path / f"cell.{suffix}"
        if isinstance(content, str):
            path.write_text(content)
        else:
            meshio.Mesh(SPACE, [("quad", CIRCLE.elements)], cell_data=content).write(path)
        return nh.load_mesh(path, **options)

    return read


def check(mesh, *tags):
    """The tags, in order of the labels, and where they are: the first one in the matrix, unless it is called so."""
    assert mesh.tags == tags
    disk = next(tag for tag in tags if str(tag).lower() in ("disk", "surface2", "2", "steel"))
    center = mesh.points[mesh.elements].mean(axis=1) - 0.5
    np.testing.assert_array_equal(mesh.labels == tags.index(disk), np.hypot(*center.T) < np.sqrt(0.3 / np.pi))


# --- what a file tells ---


def test_a_disk_has_its_conductivity_by_its_tag(read):
    """Rayleigh: 1.652. Phases exchanged 6.09, one phase 1.000. 6e-3: the polygon of 16 edges."""
    mesh = read({"medit:ref": [np.where(CIRCLE.labels == 1, 2, 3)]}, "mesh")
    check(mesh, 2, 3)
    assert "tags=(2, 3)" in repr(mesh)
    kappa = {2: 10.0, 3: 1.0}
    cell = nh.CellProblem(mesh, nh.Conductivity(), nh.Periodic())
    tensor = nh.effective_tensor(cell, jnp.asarray([kappa[tag] for tag in mesh.tags], float)[mesh.labels])
    np.testing.assert_allclose(np.diag(tensor), 1.652, rtol=6e-3)


@pytest.mark.x32
def test_sets_of_abaqus_are_the_phases(read):
    check(read(nodes_of(CIRCLE) + EVERY + SETS), "matrix", "Disk")
    check(read(nodes_of(CIRCLE) + APART), "Surface2", "Surface3")
    # Groups of surfaces, as Gmsh writes them, and a set that says nothing of phases.
    check(read(nodes_of(CIRCLE) + APART + SETS), "matrix", "Disk")
    check(read(nodes_of(CIRCLE) + APART + "*ELSET, ELSET=corner\n1, 2\n"), "Surface2", "Surface3")


def test_sections_of_abaqus_are_the_phases(read):
    """By material; names in any case, ranges, sets of sets, comments, continued lines."""
    disk = f"*Elset, elset=inner, generate\n** a range\n{DISK.min() + 1}, {DISK.max() + 1}, 1\n"
    assert np.ptp(DISK) == len(DISK) - 1
    sections = "*Elset, elset=all of it\nINNER\n*Solid Section, elset=ALL OF IT,\nmaterial=Steel\n,\n"
    sections += "*Solid section, elset=Surface3, material=resin\n1.,\n"
    check(read(nodes_of(CIRCLE) + APART + disk + sections), "Steel", "resin")


def test_an_included_file_and_an_assembly_are_read(read, tmp_path):
    (tmp_path / "mesh.inc").write_text(nodes_of(CIRCLE) + APART)
    assembly = "*Assembly, name=a\n*Instance, name=i, part=p\n*End Instance\n*Node\n1, 9., 9.\n*End Assembly\n"
    check(read(f"*Heading\n*Part, name=p\n*Include, input=mesh.inc\n*End Part\n{assembly}"), "Surface2", "Surface3")


@pytest.mark.parametrize("name", ["Phase", "material", "MaterialID", "mat_id", "PhaseIds", "Region"])
@pytest.mark.parametrize("suffix", ["vtu", "vtk"])
def test_arrays_that_number_the_phases_are_read_in_any_spelling(read, name, suffix):
    tags = np.where(CIRCLE.labels == 1, 2, 7)
    check(read({"temperature": [tags * 0.3], "id": [np.arange(len(tags))], name: [tags.astype(float)]}, suffix), 2, 7)


def test_the_material_of_avs_and_the_references_of_nastran_and_tetgen_are_phases(read):
    check(read({"avsucd:material": [np.where(CIRCLE.labels == 1, 2, 7)]}, "avs"), 2, 7)
    tags = np.where(CIRCLE.labels == 1, 2, 7)
    for name in ("nastran:ref", "tetgen:ref"):  # as their readers call it
        check(read({name: [tags]}, "vtu"), 2, 7)


def test_blocks_are_phases_in_formats_that_have_one_for_each_material():
    """meshio knows the blocks of Exodus and others by their order alone."""
    mesh = meshio.Mesh(SPACE, [("quad", CIRCLE.elements[MATRIX]), ("line", [[0, 1]]), ("quad", CIRCLE.elements[DISK])])
    contents = _files._from_meshio(mesh, "exodus")
    rows = np.delete(np.arange(len(CIRCLE.elements) + 1), len(MATRIX))
    labels, tags = phases_of(Path("cell.exo"), contents, rows, None)
    assert tags == [0, 2]
    np.testing.assert_array_equal(labels, [0] * len(MATRIX) + [1] * len(DISK))


def test_pieces_of_the_geometry_are_phases_where_nothing_else_is(read):
    """Gmsh writes this array into .vtk."""
    check(read({"CellEntityIds": [np.where(CIRCLE.labels == 1, 2, 1)]}, "vtk"), 1, 2)


GMSH = """$MeshFormat
4.1 0 8
$EndMeshFormat
$PhysicalNames
{names}
$EndPhysicalNames
$Entities
0 0 2 0
1 0 0 0 1 1 0 {first} 0
2 0 0 0 1 1 0 {second} 0
$EndEntities
$Nodes
1 4 1 4
2 1 0 4
1
2
3
4
0 0 0
1 0 0
1 1 0
0 1 0
$EndNodes
$Elements
2 2 1 2
2 1 2 1
1 1 2 3
2 2 2 1
2 1 3 4
$EndElements
"""


def test_groups_of_gmsh_are_known_by_their_names(read):
    mesh = read(GMSH.format(names='2\n2 1 "fibre"\n2 4 "resin"', first="1 4", second="1 1"), "msh")
    assert mesh.tags == ("fibre", "resin")
    assert mesh.labels.tolist() == [1, 0]
    # A group of all elements comes first, and says nothing.
    names = '3\n2 1 "all"\n2 2 "fibre"\n2 4 "resin"'
    mesh = read(GMSH.format(names=names, first="2 1 4", second="2 1 2"), "msh")
    assert mesh.tags == ("fibre", "resin")
    assert mesh.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("kind", "element", "found"),
    [
        ("TRI3", "CPE3", "TRI3"),
        ("TRI3", "DC2D3", "TRI3"),
        ("TRI6", "CPS6", "TRI6"),
        ("TRI6", "STRI65", "TRI6"),
        ("QUAD4", "CPE4RT", "QUAD4"),
        ("QUAD8", "CPS8R", "QUAD8"),
        ("QUAD8", "CPE8", "QUAD8"),
        ("TET4", "C3D4", "TET4"),
        ("TET10", "C3D10M", "TET10"),
        ("HEX8", "DC3D8", "HEX8"),
        ("HEX20", "C3D20R", "HEX20"),
    ],
)
def test_elements_of_abaqus_are_mapped(read, kind, element, found):
    """meshio ends the program at most of these."""
    mesh = box_mesh((2,) * (3 if kind[0] in "TH" and kind[1] == "E" else 2), kind)
    bars = "*ELEMENT, TYPE=T3D2\n901, 1, 2\n"
    loaded = read(nodes_of(mesh) + bars + elements_of(mesh, range(len(mesh.elements)), element.lower()))
    assert loaded.element_type == found
    np.testing.assert_allclose(loaded.points, mesh.points)
    np.testing.assert_array_equal(loaded.elements, mesh.elements)


# --- what it does not tell ---


@pytest.mark.parametrize(
    ("sets", "listed"),
    [
        (f"*ELSET, ELSET=disk\n{rows(DISK)}", "'disk', 'EALL'"),
        (SETS + "*ELSET, ELSET=corner\n1, 2\n", "'matrix', 'Disk', 'corner', 'EALL'"),
    ],
)
def test_sets_that_leave_the_phases_open_are_listed(read, sets, listed):
    content = nodes_of(CIRCLE) + EVERY + sets
    with pytest.raises(ValueError, match=rf"does not tell the phases .* the sets {listed}; say which: load_mesh\("):
        read(content)
    if "corner" in sets:
        check(read(content, phases=["Disk", "matrix"]), "Disk", "matrix")
    with pytest.raises(ValueError, match=r"one of the sets 'Disk', 'corner'|no set 'Disk'"):
        read(content, phases=["Disk", "corner"])
    assert read(content, phases=[]).tags == (0,)


def test_sets_that_cut_across_each_other_are_listed(read):
    halves = (
        f"*ELSET, ELSET=left\n{rows(np.arange(50))}*ELSET, ELSET=right\n{rows(np.arange(50, len(CIRCLE.elements)))}"
    )
    with pytest.raises(ValueError, match="sets 'left', 'right', 'Surface2', 'Surface3'; say which"):
        read(nodes_of(CIRCLE) + APART + halves)


def test_arrays_that_leave_the_phases_open_are_listed(read):
    tags = np.where(CIRCLE.labels == 1, 2, 7)
    with pytest.raises(ValueError, match=r"does not tell the phases .* the arrays 'grain', 'T' and the sets \(none\)"):
        read({"grain": [tags], "T": [tags / 3]}, "vtu")
    check(read({"grain": [tags], "T": [tags / 3]}, "vtu", phases="grain"), 2, 7)
    with pytest.raises(ValueError, match=r"no array 'T' of whole numbers. It has the arrays 'grain', 'T'"):
        read({"grain": [tags], "T": [tags / 3]}, "vtu", phases="T")
    with pytest.raises(ValueError, match="has the arrays 'phase', 'material', which disagree"):
        read({"phase": [tags], "material": [np.arange(len(tags)) % 2]}, "vtu")
    with pytest.raises(ValueError, match="has the arrays 'Phase', which disagree or hold no whole numbers"):
        read({"Phase": [tags / 3]}, "vtu")
    assert read({"T": [tags / 3], "rank": [np.zeros(len(tags))]}, "vtu").tags == (0,)


def test_labels_may_leave_out_phases_that_have_tags():
    square = ([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]], "TRI3")
    mesh = nh.Mesh(*square, labels=[1, 2], tags=["pore", "resin", "glass"])
    assert mesh.tags == ("pore", "resin", "glass")
    assert nh.Mesh(*square, labels=[0, 2]).tags == (0, 1, 2)
    for tags in (["a"], ["a", "a", "b"]):
        with pytest.raises(ValueError, match=r"tags must be different, at least 3"):
            nh.Mesh(*square, labels=[1, 2], tags=tags)


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            elements_of(CIRCLE, [0], "XYZ4"),
            r"cell.inp, line 5: \*ELEMENT .* type XYZ4 is not known; supported are .* CPE3",
        ),
        ("*ELEMENT, TYPE=C3D6\n1, 1, 2, 3, 1, 2, 3\n", r"elements of the types \['wedge'\]; a Mesh has one of TRI3"),
        (elements_of(CIRCLE, [0], "CPE8"), r"line 5: \*ELEMENT cannot be read: cannot reshape"),
        ("*ELEMENT\n1, 1, 2, 3\n", r"\*ELEMENT cannot be read: 'TYPE' is missing"),
        ("*ELEMENT, TYPE=CPE3\n1, 1, 2, 9\n", "refers to the node 9, which the file does not have"),
        ("*ELEMENT, TYPE=CPE3\n1, 1, 2, 3\n1, 1, 2, 3\n", "several elements of one number"),
        ("*ELSET, ELSET=a\nb\n", r"\*ELSET cannot be read: 'b' is missing"),
        ("", r"elements of the types none; a Mesh has one of TRI3"),
    ],
)
def test_a_file_of_abaqus_that_cannot_be_read_names_the_line(read, content, message):
    with pytest.raises(ValueError, match=message):
        read("*NODE, NSET=all\n" * bool(content) + "1, 0., 0.\n2, 1., 0.\n3, 1., 1.\n" * bool(content) + content)


@pytest.mark.parametrize("suffix", ["msh", "mesh", "vtu", "vtk", "xdmf", "med", "bdf", "su2", "exo", "inp"])
def test_a_damaged_file_does_not_end_the_program(read, tmp_path, suffix, capsys):
    for content in ("", "MeshVersionFormatted 2\nDimension\n3\nTrianglesP2\n1\n", "<VTKFile", "$MeshFormat\n4.1 0 8\n"):
        with pytest.raises(ValueError, match=rf"cell\.{suffix} (cannot be read|has elements of the types none)"):
            read(content, suffix)
    assert capsys.readouterr().out == ""


def test_a_missing_mesh_a_folder_and_an_unknown_suffix(tmp_path):
    for path in (tmp_path / "nøne.msh", tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no file"):
            nh.load_mesh(path)
    (tmp_path / "cell.step").write_text("")
    with pytest.raises(ValueError, match=r"does not know the suffix of 'cell.step'; it reads \.msh"):
        nh.load_mesh(tmp_path / "cell.step")
