"""Cells on unstructured meshes: against voxel grids, laminates and a circle in a square."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_cells import KINDS, box_mesh, circle_mesh, warp
from operators import as_matrix, space_of

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
    expected = effective(nh.Grid(shape, lengths=lengths), law, boundary, field, tolerance=1e-13)
    found = effective(mesh, law, boundary, flatten(field, d), tolerance=1e-13)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@slow
@pytest.mark.x64_only
def test_anisotropic_elements_are_anisotropic_voxels():
    shape, lengths = SIZES[2]
    values = np.random.default_rng(0).normal(size=(*shape, 2, 2))
    tensors = jnp.asarray(values @ np.swapaxes(values, -1, -2) + np.eye(2))
    expected = effective(nh.Grid(shape, lengths=lengths), "conduction", "Periodic", tensors, tolerance=1e-12)
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
    cell = nh.CellProblem(mesh, LAWS[law], BOUNDARIES[boundary], tolerance=1e-14)
    size = LAWS[law].num_loads(2)
    weight = jnp.asarray(rng.normal(size=(size, size)))
    value = jax.jit(lambda x: jnp.sum(weight * nh.effective_tensor(cell, restore(x))))
    step = 1e-5
    central = (value(flat + step * direction) - value(flat - step * direction)) / (2 * step)
    gradient = jax.jit(jax.grad(value))
    np.testing.assert_allclose(gradient(flat) @ direction, central, rtol=1e-6)
    np.testing.assert_allclose(gradient(flat) @ flat, value(flat), rtol=1e-9)  # Euler's identity
    step = 1e-3  # gradients are right to the root of the tolerance, 1e-7
    second = (gradient(flat + step * direction) - gradient(flat - step * direction)) / (2 * step)
    product = jax.jvp(gradient, (flat,), (direction,))[1]
    np.testing.assert_allclose(product, second, rtol=0, atol=2e-4 * np.abs(second).max())


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
@each_boundary
def test_the_reference_is_an_exact_inverse_in_one_block_and_in_many(boundary, monkeypatch):
    mesh, units = box_mesh((3, 9), "QUAD4", (1.0, 2.0)), jnp.ones(27)
    fields = {"conduction": units, "elasticity": (units, units)}
    cells = {law: nh.CellProblem(mesh, LAWS[law], BOUNDARIES[boundary]) for law in LAWS}
    spaces = {law: space_of(cells[law], fields[law])[0] for law in LAWS}
    laplacian = spaces["conduction"]
    prepared = laplacian.prepare(jnp.ones((1, 1, 27)))
    expected = np.linalg.pinv(
        as_matrix(lambda unknown: laplacian.apply(prepared, unknown), 1, (laplacian.num_unknowns,))
    )
    if boundary == "UniformFlux":  # among the fields of zero mean gradient, which does the work of a uniform flux
        functionals = np.asarray(laplacian.load(prepared))[0, :, 0]
        lifted = expected @ functionals.T
        expected = expected - lifted @ np.linalg.solve(functionals @ lifted, lifted.T)
    for largest, law in itertools.product((1000, 10), LAWS):
        monkeypatch.setattr(_mesh_reference, "_DENSE", largest)
        _mesh_reference.mesh_reference.cache_clear()
        reference, num = spaces[law].reference, spaces[law].num_components
        assert (len(reference.inverses) > 1) == (largest == 10)
        residual = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, num, laplacian.num_unknowns)))
        found = reference.preconditioner(jnp.ones(2))(residual)
        np.testing.assert_allclose(found, num * (residual @ expected), atol=1e-10)  # half the Laplacian in elasticity


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
