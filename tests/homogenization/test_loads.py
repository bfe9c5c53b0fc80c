"""A choice of load cases: these rows and columns of the tensor, at the cost of as many solves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_cells import box_mesh
from random_cells import smooth_field

import numpyro_homog as nh

SHAPE = (6, 5)
GRID, MESH = nh.Grid(SHAPE), box_mesh((3, 3), "TRI3")


def problem(law, geometry, boundary, tolerance=1e-6):
    """A cell and a field of two members."""
    k = smooth_field(0, geometry.shape, (2,))
    cell = nh.CellProblem(geometry, law, boundary, tolerance=tolerance)
    return cell, k if isinstance(law, nh.Conductivity) else nh.Lame(k, 0.5 * k)


@pytest.mark.parametrize(
    ("law", "geometry", "boundary", "loads"),
    [
        (nh.Conductivity(), GRID, nh.Periodic(), [1]),  # one load has no other to share its transform with
        (nh.LinearElasticity(), GRID, nh.Periodic(), (2, 0)),
        (nh.Conductivity(), MESH, nh.Periodic(), [0]),
        *(
            pytest.param(nh.LinearElasticity(), *case, marks=pytest.mark.slow)
            for case in ((GRID, nh.Affine(), [1]), (GRID, nh.UniformFlux(), [1, 2]), (MESH, nh.UniformFlux(), [2]))
        ),
    ],
)
def test_they_are_those_of_the_full_solve(law, geometry, boundary, loads, x64):
    cell, field = problem(law, geometry, boundary, 1e-9 if x64 else 1e-5)
    full, some = nh.solve_cell(cell, field), nh.solve_cell(cell, field, loads=loads)
    keep = list(loads)
    scale = np.abs(full.effective).max()
    np.testing.assert_allclose(some.effective, full.effective[:, keep][:, :, keep], atol=1e-8 * scale if x64 else 1e-4)
    np.testing.assert_allclose(some.corrector, full.corrector[:, keep], atol=1e-4 if x64 else 1e-2)
    # One count for each solve, and no more of them.
    assert some.stats["iterations"].shape == (2, len(keep))
    np.testing.assert_array_equal(some.stats["iterations"], full.stats["iterations"][:, keep])
    assert some.loads == tuple(keep)
    for ours, theirs in zip(nh.local_fields(cell, field, some), nh.local_fields(cell, field, full), strict=True):
        np.testing.assert_allclose(ours, theirs[:, keep], atol=1e-3 * np.abs(theirs).max())


def test_one_of_six_loads_in_space_costs_a_sixth():
    cell = nh.CellProblem(nh.Grid((4, 4, 4)), nh.LinearElasticity(), nh.Periodic())
    field = nh.Lame(*(jax.ShapeDtypeStruct((4, 4, 4), jnp.result_type(float)) for _ in range(2)))

    def cost(loads):
        solve = jax.jit(lambda field: nh.solve_cell(cell, field, loads=loads, throw=False).corrector)
        lowered = solve.lower(field)
        return lowered.cost_analysis()["flops"], lowered.out_info.shape

    (one, shape), (all_, whole) = cost([0]), cost(None)
    assert shape == (1, *whole[1:])
    assert one < 0.25 * all_


def test_the_whole_columns_are_means_of_the_flux():
    cell, field = problem(nh.LinearElasticity(), GRID, nh.Periodic())
    full, some = nh.solve_cell(cell, field), nh.solve_cell(cell, field, loads=[0])
    column = jnp.mean(nh.local_fields(cell, field, some).flux, axis=(2, 3))[:, 0]
    np.testing.assert_allclose(column, full.effective[:, :, 0], rtol=0, atol=2e-3 * np.max(full.effective))


def test_the_derivative_is_that_of_the_full_solve():
    cell, field = problem(nh.Conductivity(), GRID, nh.Periodic())
    found, expected = (
        jax.grad(lambda k, loads=loads: jnp.sum(nh.solve_cell(cell, k, loads=loads).effective[:, 0, 0]))(field)
        for loads in ([0], None)
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_a_solution_starts_the_same_loads_only():
    cell, field = problem(nh.Conductivity(), GRID, nh.Periodic())
    start = nh.solve_cell(cell, field, loads=[1])
    again = nh.solve_cell(cell, field, loads=[1], start=start)
    assert np.all(again.stats["iterations"] <= 1)
    with pytest.raises(ValueError, match="another choice of loads"):
        nh.solve_cell(cell, field, start=start)


@pytest.mark.parametrize("loads", [[], [0, 0], [2], [-1]])
def test_loads_that_there_are_not_are_refused(loads):
    with pytest.raises(ValueError, match="loads must be different numbers from 0 to 1"):
        nh.solve_cell(*problem(nh.Conductivity(), GRID, nh.Periodic()), loads=loads)
