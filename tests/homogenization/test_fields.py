"""The gradient and the flux in the voxels: their means, their jumps, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.grids import Grid
from numpyro_homog.homogenization import (
    CellProblem,
    Conductivity,
    LinearElasticity,
    Periodic,
    UniformFlux,
    local_fields,
    solve_cell,
)

GRIDS = [Grid(7, lengths=2.0), Grid((6, 5), lengths=(1.5, 0.7)), Grid((5, 4, 3), lengths=(1.0, 2.0, 0.5))]


def random_field(grid, *batch, tensors):
    rng = np.random.default_rng(11)
    scalar = np.exp(rng.normal(size=(*batch, *grid.shape)))
    if not tensors:
        return jnp.asarray(scalar, float)
    factor = rng.normal(size=(*batch, *grid.shape, grid.ndim, grid.ndim))
    return jnp.asarray(factor @ np.swapaxes(factor, -1, -2) + scalar[..., None, None] * np.eye(grid.ndim), float)


def mean(fields, ndim):
    """Volume average, (*batch, m, components)."""
    return jnp.mean(fields, axis=tuple(range(-ndim - 1, -1)))


@pytest.mark.x32
@pytest.mark.parametrize(
    ("grid", "tensors"),
    [(grid, False) for grid in GRIDS] + [(GRIDS[1], True), pytest.param(GRIDS[2], True, marks=pytest.mark.slow)],
)
def test_means_are_the_unit_gradient_and_the_effective_flux(grid, tensors, x64):
    cell = CellProblem(grid, Conductivity(), Periodic(), tolerance=1e-13 if x64 else 1e-5)
    field = random_field(grid, 2, tensors=tensors)
    solution = solve_cell(cell, field)
    gradient, flux = local_fields(cell, field, solution)
    assert gradient.shape == flux.shape == (2, grid.ndim, *grid.shape, grid.ndim)
    assert gradient.dtype == flux.dtype == field.dtype
    identity = np.broadcast_to(np.eye(grid.ndim), (2, grid.ndim, grid.ndim))
    np.testing.assert_allclose(mean(gradient, grid.ndim), identity, atol=1e-13 if x64 else 1e-5)
    # The corrector is as accurate as the square root of the tolerance of the tensor.
    scale = float(jnp.max(solution.effective))
    np.testing.assert_allclose(mean(flux, grid.ndim), solution.effective, atol=(1e-6 if x64 else 1e-2) * scale)


@pytest.mark.x64_only
@pytest.mark.parametrize("grid", [GRIDS[1], pytest.param(GRIDS[2], marks=pytest.mark.slow)])
def test_means_of_strain_and_stress(grid):
    cell = CellProblem(grid, LinearElasticity(), Periodic(), tolerance=1e-13)
    lame = (random_field(grid, tensors=False), jnp.flip(random_field(grid, tensors=False)))
    solution = solve_cell(cell, lame)
    strain, stress = local_fields(cell, lame, solution)
    size = grid.ndim * (grid.ndim + 1) // 2
    assert strain.shape == stress.shape == (size, *grid.shape, size)
    np.testing.assert_allclose(mean(strain, grid.ndim), np.eye(size), atol=1e-13)
    np.testing.assert_allclose(mean(stress, grid.ndim), solution.effective, atol=1e-6 * jnp.max(solution.effective))


@pytest.mark.x64_only
def test_hill_mandel_for_the_means_bounds_the_energy_from_below():
    """In a voxel the energy of the mean gradient is at most the mean energy; a laminate has no difference."""
    grid = Grid((6, 4))
    cell = CellProblem(grid, Conductivity(), Periodic(), tolerance=1e-13)
    for field, equal in ((random_field(grid, tensors=False), False), (laminate(grid), True)):
        solution = solve_cell(cell, field)
        gradient, flux = local_fields(cell, field, solution)
        energy = jnp.einsum("mxyi,nxyi->mn", gradient, flux) / grid.num_voxels
        gaps = np.linalg.eigvalsh(solution.effective - energy)
        assert (np.abs(gaps) < 1e-9).all() if equal else (gaps[-1] > 1e-3 and gaps[0] > -1e-9)


def laminate(grid):
    layers = jnp.where(jnp.arange(grid.shape[0]) < 2, 1.0, 10.0)
    return jnp.broadcast_to(layers[:, None], grid.shape)


@pytest.mark.x32
def test_a_laminate_has_one_flux_across_and_one_gradient_along(x64):
    grid = Grid((6, 4), lengths=(3.0, 1.0))
    cell = CellProblem(grid, Conductivity(), Periodic(), tolerance=1e-12 if x64 else 1e-6)
    gradient, flux = local_fields(cell, laminate(grid), solve_cell(cell, laminate(grid)))
    tolerance = 1e-6 if x64 else 1e-3
    harmonic = 1 / (1 / 3 / 1.0 + 2 / 3 / 10.0)
    np.testing.assert_allclose(flux[0, ..., 0], np.full(grid.shape, harmonic), rtol=tolerance)
    np.testing.assert_allclose(flux[0, ..., 1], np.zeros(grid.shape), atol=tolerance)
    np.testing.assert_allclose(gradient[1], np.broadcast_to([0.0, 1.0], (*grid.shape, 2)), atol=tolerance)


@pytest.mark.x64_only
def test_a_shift_of_the_corrector_changes_nothing():
    grid = GRIDS[1]
    cell = CellProblem(grid, Conductivity(), Periodic(), tolerance=1e-13)
    field = random_field(grid, 2, tensors=False)
    solution = solve_cell(cell, field)
    lifted = type(solution)(solution.effective, solution.corrector + 5.0, solution.result, solution.stats, cell)
    for ours, theirs in zip(local_fields(cell, field, lifted), local_fields(cell, field, solution), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_a_node_more_on_each_axis_is_a_far_edge_of_its_own():
    """As of boundary conditions under which opposite faces share no nodes."""
    grid = GRIDS[1]
    cell = CellProblem(grid, Conductivity(), Periodic())
    field = random_field(grid, tensors=False)
    solution = solve_cell(cell, field)
    repeated = jnp.pad(solution.corrector, ((0, 0), (0, 1), (0, 1)), mode="wrap")
    free = CellProblem(grid, Conductivity(), UniformFlux())
    padded = type(solution)(solution.effective, repeated, solution.result, solution.stats, free)
    for ours, theirs in zip(local_fields(free, field, padded), local_fields(cell, field, solution), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_it_composes_with_jit_and_derivatives():
    grid = GRIDS[1]
    cell = CellProblem(grid, Conductivity(), Periodic(), tolerance=1e-12)
    field = random_field(grid, tensors=False)

    @jax.jit
    def mean_flux(scale):
        return mean(local_fields(cell, scale * field, solve_cell(cell, scale * field)).flux, 2)

    np.testing.assert_allclose(jax.jacfwd(mean_flux)(2.0), mean_flux(1.0), atol=1e-5)


def test_a_solution_of_another_field_is_refused():
    grid = GRIDS[1]
    cell = CellProblem(grid, Conductivity(), Periodic())
    solution = solve_cell(cell, random_field(grid, tensors=False))
    with pytest.raises(ValueError, match=r"has shape \(2, 6, 5\), but .* shape \(3, 2, 6, 5\); pass the solution of"):
        local_fields(cell, random_field(grid, 3, tensors=False), solution)
    with pytest.raises(ValueError, match="expected"):
        local_fields(cell, jnp.ones((5, 6)), solution)
