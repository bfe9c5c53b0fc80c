"""Boundary conditions: against dense solutions, in order, and with derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dense_cells import dense_effective
from operators import as_matrix, space_of

import numpyro_homog as nh
from numpyro_homog.homogenization import isotropic_stiffness

BOUNDARIES = {"UniformFlux": nh.UniformFlux(), "Periodic": nh.Periodic(), "Affine": nh.Affine()}
GRIDS = {
    1: nh.Grid((5,), lengths=(2.0,)),
    2: nh.Grid((4, 5), lengths=(1.0, 1.5)),
    3: nh.Grid((3, 2, 4), lengths=(1.0, 0.7, 1.3)),
}
each_boundary = pytest.mark.parametrize("boundary", BOUNDARIES)
each_law = pytest.mark.parametrize("law", ["conduction", "elasticity"])
slow = pytest.mark.slow


def random_cell(law, d, boundary, *, seed=0, contrast=10.0, batch=(), **options):
    """A cell, a field of independent voxels, and the voxel tensors (*batch, *grid, m, m)."""
    grid = GRIDS[d]
    rng = np.random.default_rng(seed)
    first, second = (jnp.asarray(contrast ** rng.uniform(0, 1, (*batch, *grid.shape))) for _ in range(2))
    options = {"tolerance": 1e-12} | options
    if law == "conduction":
        tensors = first[..., None, None] * jnp.eye(d).reshape((1,) * first.ndim + (d, d))
        return nh.CellProblem(grid, nh.Conductivity(), BOUNDARIES[boundary], **options), first, tensors
    cell = nh.CellProblem(grid, nh.LinearElasticity(), BOUNDARIES[boundary], **options)
    return cell, (first, second), isotropic_stiffness(first, second, d)


@pytest.mark.x64_only
@each_boundary
@each_law
@pytest.mark.parametrize("d", [1, 2, pytest.param(3, marks=slow)])
def test_the_tensor_is_that_of_dense_matrices(boundary, law, d):
    cell, field, tensors = random_cell(law, d, boundary)
    expected = dense_effective(np.asarray(tensors), cell.grid.lengths, boundary, vector=law == "elasticity")
    np.testing.assert_allclose(nh.effective_tensor(cell, field), expected, atol=1e-9 * np.abs(expected).max(), rtol=0)


@slow
@pytest.mark.x64_only
@pytest.mark.filterwarnings("ignore:The elements lock")
@each_boundary
@each_law
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_the_error_is_certified(boundary, law, d, tolerance):
    exact = nh.effective_tensor(*random_cell(law, d, boundary, contrast=100.0, batch=(4,))[:2])
    cell, field, _ = random_cell(law, d, boundary, contrast=100.0, batch=(4,), tolerance=tolerance)
    solution = nh.solve_cell(cell, field)
    diagonals = (np.diagonal(tensor, axis1=-2, axis2=-1) for tensor in (solution.effective, exact))
    found, true = diagonals
    error = np.asarray(solution.stats["error"])
    assert np.all(found >= true * (1 - 1e-9))
    assert np.all((found - true) / found <= error * (1 + 1e-6) + 1e-9)
    assert np.all(error <= tolerance)


@pytest.mark.slow
@pytest.mark.x64_only
@pytest.mark.filterwarnings("ignore:The elements lock")
@each_law
@pytest.mark.parametrize(("d", "contrast"), [(2, 30.0), *(pytest.param(3, c, marks=slow) for c in (3.0, 1000.0))])
def test_reuss_uniform_flux_periodic_affine_voigt_are_in_order(law, d, contrast):
    options = {"contrast": contrast, "batch": (5,), "tolerance": 1e-9, "seed": d}
    bounds = [nh.effective_tensor(*random_cell(law, d, boundary, **options)[:2]) for boundary in BOUNDARIES]
    tensors = np.asarray(random_cell(law, d, "Periodic", **options)[2])
    tensors = tensors.reshape(5, -1, *tensors.shape[-2:])
    reuss, voigt = np.linalg.inv(np.linalg.inv(tensors).mean(1)), tensors.mean(1)
    for lower, upper in zip([reuss, *bounds], [*bounds, voigt], strict=True):
        assert np.linalg.eigvalsh(np.asarray(upper - lower)).min() > 1e-4 * np.abs(lower).max() / contrast


@pytest.mark.slow
@pytest.mark.x64_only
@pytest.mark.parametrize(
    "boundary", ["UniformFlux", *(pytest.param(name, marks=slow) for name in ("Periodic", "Affine"))]
)
@pytest.mark.parametrize("law", ["conduction", pytest.param("elasticity", marks=slow)])
def test_derivatives_agree_with_differences(boundary, law):
    cell, field, _ = random_cell(law, 2, boundary)
    flat, restore = jax.flatten_util.ravel_pytree(field)
    rng = np.random.default_rng(1)
    direction = jnp.asarray(rng.normal(size=flat.shape)) * flat
    weight = jnp.asarray(rng.normal(size=(2, 2) if law == "conduction" else (3, 3)))
    value = jax.jit(lambda x: jnp.sum(weight * nh.effective_tensor(cell, restore(x))))
    step = 1e-5
    central = (value(flat + step * direction) - value(flat - step * direction)) / (2 * step)
    gradient = jax.grad(value)
    np.testing.assert_allclose(jax.jvp(value, (flat,), (direction,))[1], central, rtol=1e-5)
    np.testing.assert_allclose(gradient(flat) @ direction, central, rtol=1e-5)
    second = (gradient(flat + step * direction) - gradient(flat - step * direction)) / (2 * step)
    product = jax.jvp(gradient, (flat,), (direction,))[1]
    np.testing.assert_allclose(product, second, rtol=0, atol=1e-4 * np.abs(second).max())


@pytest.mark.x32
@each_boundary
@each_law
def test_a_homogeneous_cell_has_its_own_tensor(boundary, law, eps):
    cell, field, _ = random_cell(law, 2, boundary, contrast=1.0, tolerance=1e-4)
    expected = np.eye(2) if law == "conduction" else np.array([[3, 1, 0], [1, 3, 0], [0, 0, 2]])
    np.testing.assert_allclose(nh.effective_tensor(cell, field), expected, atol=100 * eps)


def test_clamped_correctors_vanish_at_the_faces_and_free_ones_have_no_mean_gradient():
    cell, field, _ = random_cell("elasticity", 2, "Affine", tolerance=1e-4)
    corrector = np.asarray(nh.solve_cell(cell, field).corrector)
    assert corrector.shape == (3, 2, 4, 5)
    np.testing.assert_array_equal(corrector[:, :, 0], 0)
    np.testing.assert_array_equal(corrector[:, :, :, 0], 0)
    cell, field, _ = random_cell("elasticity", 2, "UniformFlux", tolerance=1e-4)
    corrector = np.asarray(nh.solve_cell(cell, field).corrector, float)
    assert corrector.shape == (3, 2, 5, 6)
    rise = corrector[:, :, -1] - corrector[:, :, 0]
    trapezoid = rise[:, :, 0] / 2 + rise[:, :, 1:-1].sum(-1) + rise[:, :, -1] / 2
    np.testing.assert_allclose(trapezoid, 0, atol=1e-5 * np.abs(corrector).max())


@pytest.mark.slow
def test_iterations_do_not_grow_with_the_mesh():
    counts = {}
    for n in (8, 32):
        rng = np.random.default_rng(0)
        coarse = 10 ** rng.uniform(0, 1, (2, 8, 8))
        fields = tuple(jnp.asarray(np.kron(part, np.ones((n // 8, n // 8)))) for part in coarse)
        for boundary, condition in BOUNDARIES.items():
            cell = nh.CellProblem(nh.Grid((n, n)), nh.LinearElasticity(), condition, tolerance=1e-4)
            counts[n, boundary] = int(np.max(nh.solve_cell(cell, fields).stats["iterations"]))
    for boundary in BOUNDARIES:
        assert counts[32, boundary] <= 1.3 * counts[8, boundary] + 2


@pytest.mark.slow
@pytest.mark.x64_only
@pytest.mark.parametrize(
    "lengths", [(1.0, 3.0), *(pytest.param(box, marks=slow) for box in ((1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 2.0, 0.5)))]
)
def test_korns_constant_is_no_guess_for_free_faces(lengths):
    """The least eigenvalue of the identity medium relative to half the Laplacian, against what the certificate uses."""
    d = len(lengths)
    grid = nh.Grid((6, 6) if d == 2 else (3, 3, 3), lengths=lengths)
    law = nh.LinearElasticity()
    stiffness = jnp.broadcast_to(jnp.eye(law.num_loads(d)), (*grid.shape, *(law.num_loads(d),) * 2))
    space, coefficients = space_of(nh.CellProblem(grid, law, nh.UniformFlux()), stiffness)
    prepared = space.prepare(coefficients.values)
    stiffness = as_matrix(lambda unknown: space.apply(prepared, unknown), d, space.points)
    inverse = as_matrix(space.reference.preconditioner(jnp.zeros(1)), d, space.points)
    values, vectors = np.linalg.eigh((inverse + inverse.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0))
    spectrum = np.linalg.eigvalsh(root.T @ stiffness @ root)
    num_fixed = d * (d + 1)  # mean gradients and translations
    np.testing.assert_allclose(spectrum[:num_fixed], 0, atol=1e-10)
    assert spectrum[num_fixed] >= space.reference.least
