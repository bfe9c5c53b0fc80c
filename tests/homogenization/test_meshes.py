"""Cells on unstructured meshes: against voxel grids, laminates and a circle in a square; files and bad input."""

import jax
import jax.numpy as jnp
import meshio
import numpy as np
import pytest
from mesh_cells import KINDS, box_mesh, circle_mesh, warp

import numpyro_homog as nh
from numpyro_homog.homogenization import _mesh_reference
from numpyro_homog.homogenization._mesh_nodes import checked_elements

BOUNDARIES = {"UniformFlux": nh.UniformFlux(), "Periodic": nh.Periodic(), "Affine": nh.Affine()}
LAWS = {"conduction": nh.Conductivity(), "elasticity": nh.LinearElasticity()}
SIZES = {2: ((4, 3), (1.0, 1.5)), 3: ((3, 2, 2), (1.0, 0.7, 1.3))}
each_boundary = pytest.mark.parametrize("boundary", BOUNDARIES)
slow = pytest.mark.slow


def random_field(law, shape, *, seed=0, batch=()):
    rng = np.random.default_rng(seed)
    parts = tuple(jnp.asarray(10 ** rng.uniform(0, 1, (*batch, *shape))) for _ in range(2))
    return parts[0] if law == "conduction" else parts


def flatten(field, ndim):
    return jax.tree.map(lambda x: x.reshape(*x.shape[:-ndim], -1), field)


def effective(mesh, law, boundary, field, **options):
    return nh.effective_tensor(nh.CellProblem(mesh, LAWS[law], BOUNDARIES[boundary], **options), field)


@pytest.mark.x64_only
@slow
@each_boundary
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("d", [2, 3])
def test_a_mesh_of_boxes_is_a_voxel_grid(d, law, boundary):
    shape, lengths = SIZES[d]
    field = random_field(law, shape)
    mesh = box_mesh(shape, "QUAD4" if d == 2 else "HEX8", lengths)
    assert np.array_equal(mesh.labels, np.arange(mesh.num_elements))
    expected = effective(nh.Grid(shape, lengths), law, boundary, field, tolerance=1e-13)
    found = effective(mesh, law, boundary, flatten(field, d), tolerance=1e-13)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@slow
@pytest.mark.x64_only
def test_anisotropic_elements_are_anisotropic_voxels():
    shape, lengths = SIZES[2]
    values = np.random.default_rng(0).normal(size=(*shape, 2, 2))
    tensors = jnp.asarray(values @ np.swapaxes(values, -1, -2) + np.eye(2))
    expected = effective(nh.Grid(shape, lengths), "conduction", "Periodic", tensors, tolerance=1e-12)
    mesh = box_mesh(shape, "QUAD4", lengths)
    found = effective(mesh, "conduction", "Periodic", tensors.reshape(-1, 2, 2), tolerance=1e-12)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@slow
@pytest.mark.parametrize("kind", [kind for d in KINDS for kind in KINDS[d]])
@pytest.mark.parametrize("law", LAWS)
def test_a_homogeneous_cell_has_its_own_tensor_whatever_its_elements(law, kind, eps):
    d = 2 if kind in KINDS[2] else 3
    mesh = box_mesh((2,) * d, kind, move=warp(0.1))
    field = random_field(law, ())
    field = jax.tree.map(lambda x: jnp.full(mesh.shape, x), field)
    expected = field[0] * np.eye(d) if law == "conduction" else nh.isotropic_stiffness(field[0][0], field[1][0], d)
    found = effective(mesh, law, "Periodic", field, tolerance=1e-4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=200 * eps * np.abs(expected).max())


@pytest.mark.x64_only
@pytest.mark.parametrize("kind", ["TRI3", *(pytest.param(kind, marks=slow) for kind in ("TRI6", "QUAD8", "TET4"))])
def test_laminates_are_exact(kind):
    d = 3 if kind == "TET4" else 2
    mesh = box_mesh((5, 2, 2)[:d], kind, (2.0, 1.0, 0.5)[:d])
    layers = 10 ** np.random.default_rng(0).uniform(0, 1, 5)
    field = jnp.asarray(np.repeat(layers, 2 ** (d - 1))[mesh.labels])
    expected = np.diag([1 / np.mean(1 / layers), *[layers.mean()] * (d - 1)])
    found = effective(mesh, "conduction", "Periodic", field, tolerance=1e-13)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


# Rayleigh's multipoles, contrast 10, six digits.
CIRCLES = {0.3: 1.652036, 0.5: 2.415467}


@slow
@pytest.mark.x64_only
@pytest.mark.parametrize("fraction", CIRCLES)
@pytest.mark.parametrize(("kind", "num"), [("QUAD8", 12), ("TRI6", 24)])
def test_a_circle_in_a_square_conducts_as_rayleigh_says(fraction, kind, num):
    mesh = circle_mesh(fraction, num, kind)
    tensor = effective(mesh, "conduction", "Periodic", jnp.array([1.0, 10.0])[mesh.labels], tolerance=1e-8)
    np.testing.assert_allclose(tensor, CIRCLES[fraction] * np.eye(2), rtol=0, atol=5e-6)


# Matrix E = 1, nu = .45 and inclusion E = 50, nu = .3, plane strain: C1111, C1122, C1212 of body-fitted biquadratic
# elements (set-up of Yvonnet 2019, section 4.7), five digits.
ELASTIC_CIRCLES = {0.3: (5.6428, 4.1546, 0.53719), 0.5: (8.3638, 5.0775, 0.75047)}


@slow
@pytest.mark.x64_only
@pytest.mark.parametrize("fraction", ELASTIC_CIRCLES)
def test_a_stiff_circle_in_a_nearly_incompressible_square(fraction):
    mesh = circle_mesh(fraction, 18, "QUAD8")
    field = nh.lame_from_young(jnp.array([1.0, 50.0])[mesh.labels], jnp.array([0.45, 0.3])[mesh.labels])
    tensor = effective(mesh, "elasticity", "Periodic", field, tolerance=1e-8)
    found = [tensor[0, 0], tensor[0, 1], tensor[2, 2] / 2]
    np.testing.assert_allclose(found, ELASTIC_CIRCLES[fraction], rtol=2e-5)


@slow
@pytest.mark.x64_only
def test_curved_elements_of_second_order_converge_faster():
    errors = {}
    for kind in ("TRI3", "TRI6"):
        for num in (4, 8):
            mesh = circle_mesh(0.3, num, kind)
            tensor = effective(mesh, "conduction", "Periodic", jnp.array([1.0, 10.0])[mesh.labels], tolerance=1e-8)
            errors[kind, num] = abs(float(tensor[0, 0]) - CIRCLES[0.3])
    assert errors["TRI3", 4] < 6 * errors["TRI3", 8]  # order 2
    assert errors["TRI6", 4] > 9 * errors["TRI6", 8]  # order 3.2 at least, to become 4
    assert errors["TRI6", 8] < 0.05 * errors["TRI3", 8]


@slow
@pytest.mark.x64_only
@each_boundary
@pytest.mark.parametrize("law", LAWS)
def test_derivatives_agree_with_differences(law, boundary):
    mesh = box_mesh((3, 2), "TRI6", move=warp(0.1))
    field = random_field(law, mesh.shape)
    flat, restore = jax.flatten_util.ravel_pytree(field)
    rng = np.random.default_rng(1)
    direction = jnp.asarray(rng.normal(size=flat.shape)) * flat
    cell = nh.CellProblem(mesh, LAWS[law], BOUNDARIES[boundary], tolerance=1e-12)
    size = LAWS[law].num_loads(2)
    weight = jnp.asarray(rng.normal(size=(size, size)))
    value = jax.jit(lambda x: jnp.sum(weight * nh.effective_tensor(cell, restore(x))))
    step = 1e-5
    central = (value(flat + step * direction) - value(flat - step * direction)) / (2 * step)
    gradient = jax.jit(jax.grad(value))
    np.testing.assert_allclose(gradient(flat) @ direction, central, rtol=1e-6)
    np.testing.assert_allclose(gradient(flat) @ flat, value(flat), rtol=1e-9)  # Euler's identity
    second = (gradient(flat + step * direction) - gradient(flat - step * direction)) / (2 * step)
    product = jax.jvp(gradient, (flat,), (direction,))[1]
    np.testing.assert_allclose(product, second, rtol=0, atol=1e-4 * np.abs(second).max())


@slow
@pytest.mark.x64_only
def test_a_batch_is_its_members_under_jit_and_vmap():
    mesh = box_mesh((3, 3), "TRI3")
    cell = nh.CellProblem(mesh, nh.Conductivity(), nh.Periodic(), tolerance=1e-12)
    fields = random_field("conduction", mesh.shape, batch=(2, 3))
    tensors = nh.effective_tensor(cell, fields)
    assert tensors.shape == (2, 3, 2, 2)
    one = jax.jit(
        lambda mesh, k: nh.effective_tensor(nh.CellProblem(mesh, cell.law, cell.boundary, tolerance=1e-12), k)
    )
    np.testing.assert_allclose(one(mesh, fields[1, 2]), tensors[1, 2], rtol=1e-10)
    mapped = jax.vmap(jax.vmap(lambda k: nh.effective_tensor(cell, k)))(fields)
    np.testing.assert_allclose(mapped, tensors, rtol=1e-10, atol=1e-10)


@slow
@pytest.mark.x64_only
@each_boundary
@pytest.mark.parametrize("law", LAWS)
def test_iterations_do_not_grow_with_the_mesh(law, boundary):
    coarse = random_field(law, (4, 4))
    counts, tensors = [], []
    for n in (8, 36):  # the second is factorised in blocks
        mesh = box_mesh((n, n), "TRI3")
        cell = nh.CellProblem(mesh, LAWS[law], BOUNDARIES[boundary], tolerance=1e-4)
        field = jax.tree.map(lambda x, mesh=mesh, n=n: _refined(x, n)[mesh.labels], coarse)
        solution = nh.solve_cell(cell, field)
        counts.append(int(np.max(solution.stats["iterations"])))
        tensors.append(np.asarray(solution.effective))
    assert counts[1] <= 1.3 * counts[0] + 2
    if boundary != "UniformFlux":  # whose constraint does not nest, to say nothing of its bound
        assert np.linalg.eigvalsh(tensors[0] - tensors[1]).min() > -1e-3


def _refined(values, n):
    return jnp.asarray(np.kron(values, np.ones((n // 4, n // 4))).reshape(-1))


@pytest.mark.x64_only
@pytest.mark.parametrize("floating", [False, True])
def test_the_reference_is_an_exact_inverse_in_one_block_and_in_many(floating, monkeypatch):
    import scipy.sparse

    # The Laplacian of a strip of 4 x 20 nodes, held at one end or free.
    chains = [scipy.sparse.diags([[-1.0] * (n - 1), [2.0] * n, [-1.0] * (n - 1)], [-1, 0, 1]).tolil() for n in (4, 20)]
    for chain in chains:
        chain[0, 0] = chain[-1, -1] = 1.0
    if not floating:
        chains[1][0, 0] = 2.0
    laplacian = scipy.sparse.kron(chains[0], scipy.sparse.eye(20)) + scipy.sparse.kron(scipy.sparse.eye(4), chains[1])
    expected = 2 * np.linalg.pinv(laplacian.toarray())
    functional = np.tile(np.linspace(-1, 1, 20), 4)[None]
    places = np.stack([*np.meshgrid(np.linspace(0, 1, 4), np.linspace(0, 1, 20), indexing="ij")], -1).reshape(-1, 2)
    residual = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 1, 80)))
    for dense, num_blocks in ((100, 1), (10, 13)):
        monkeypatch.setattr(_mesh_reference, "_DENSE", dense)
        make = lambda gradients: _mesh_reference.mesh_reference(  # noqa: E731
            laplacian, places, floating=floating, gradients=gradients, scale=2.0, least=1.0
        )
        reference = make(None)
        assert len(reference.inverses) >= num_blocks
        np.testing.assert_allclose(reference.preconditioner(jnp.ones(2))(residual), residual @ expected, atol=1e-10)
        lifted = expected @ functional.T
        within = expected - lifted @ lifted.T / (functional @ lifted)
        found = make(functional).preconditioner(jnp.ones(2))(residual)
        np.testing.assert_allclose(found, residual @ within, atol=1e-10)


def test_correctors_sit_at_the_points_of_the_mesh():
    mesh = box_mesh((4, 4), "TRI3")
    field = random_field("conduction", mesh.shape)
    solution = nh.solve_cell(nh.CellProblem(mesh, nh.Conductivity(), nh.Affine(), tolerance=1e-4), field)
    assert solution.corrector.shape == (2, mesh.num_points)
    at_faces = np.any((mesh.points < 1e-9) | (mesh.points > 1 - 1e-9), axis=1)
    np.testing.assert_array_equal(np.asarray(solution.corrector)[:, at_faces], 0)
    assert np.all(np.abs(np.asarray(solution.corrector)[:, ~at_faces]) > 1e-6)


@slow
@pytest.mark.x64_only
@each_boundary
@pytest.mark.parametrize("law", LAWS)
def test_local_fields_have_the_means_that_the_tensor_promises(law, boundary):
    mesh = box_mesh((3, 3), "QUAD8", move=warp(0.1))
    cell = nh.CellProblem(mesh, LAWS[law], BOUNDARIES[boundary], tolerance=1e-12)
    field = random_field(law, mesh.shape)
    solution = nh.solve_cell(cell, field)
    gradient, flux = nh.local_fields(cell, field, solution)
    volumes = checked_elements(mesh).weights.sum(axis=1)
    size = LAWS[law].num_loads(2)
    np.testing.assert_allclose(np.einsum("e,mei->mi", volumes, gradient), np.eye(size), atol=1e-9)
    # For any boundary the mean flux is the tensor: C times the mean gradient, element by element.
    np.testing.assert_allclose(np.einsum("e,mei->im", volumes, flux), solution.effective, atol=1e-5)
    if law == "elasticity":
        stiffness = nh.isotropic_stiffness(*field, 2)
        np.testing.assert_allclose(flux, np.einsum("eij,mej->mei", stiffness, gradient), atol=1e-10)


@slow
@pytest.mark.x64_only
def test_bounds_from_both_sides_exist_on_meshes_too():
    mesh = box_mesh((8, 8), "TRI6")
    rows, columns = np.divmod(mesh.labels, 8)
    colours = (rows // 4 + columns // 4) % 2
    cell = nh.CellProblem(mesh, nh.Conductivity(), nh.Periodic())
    lower, upper, mean = nh.effective_bounds(cell, jnp.array([1.0, 4.0])[colours])
    assert lower[0, 0] < 2 - 1e-3
    assert upper[0, 0] > 2 + 1e-3
    np.testing.assert_allclose(mean, 2 * np.eye(2), atol=1e-5)


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
    contents = meshio.Mesh(points, cells, cell_data={} if suffix == "inp" else data)
    contents.write(path, file_format="gmsh22" if suffix == "msh" else None)
    found = nh.load_mesh(path)
    np.testing.assert_allclose(found.points, mesh.points, atol=1e-12)
    np.testing.assert_array_equal(found.elements, mesh.elements)
    np.testing.assert_array_equal(found.labels, 0 if suffix == "inp" else mesh.labels % 2)
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
