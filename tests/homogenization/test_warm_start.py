"""Starting from the solution of a similar cell: the same certified tensors, fewer iterations, no derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mesh_cells import box_mesh
from random_cells import make_cell, smooth_field, voronoi_field

import numpyro_homog as nh

SHAPE = (8, 6)
BOUNDARIES = {"periodic": nh.Periodic(), "affine": nh.Affine(), "uniform flux": nh.UniformFlux()}
LAWS = {"conduction": nh.Conductivity(), "elasticity": nh.LinearElasticity()}


def total(solution):
    return np.asarray(solution.stats["iterations"]).sum()


def case(kind, law, tolerance):
    """A cell, and a field of three members at three times."""
    shape = SHAPE
    if kind == "mesh":
        grid = box_mesh((4, 3), "TRI3")
        shape = (grid.num_elements,)
    else:
        grid = nh.Grid(SHAPE)
    cell = nh.CellProblem(grid, LAWS[law], BOUNDARIES.get(kind, nh.Periodic()), tolerance=tolerance)
    base = smooth_field(0, shape, (3,))

    def at(time):
        k = base ** (1 + time)
        return k if law == "conduction" else (k, 0.5 * k)

    return cell, at


@pytest.mark.parametrize("law", ["conduction", pytest.param("elasticity", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [*BOUNDARIES, "mesh"])
def test_the_tensors_are_the_same_and_certified_and_cost_fewer_iterations(kind, law, x64):
    tolerance = 1e-9 if x64 else 1e-5
    cell, at = case(kind, law, tolerance)
    before = nh.solve_cell(cell, at(0.0))
    cold, warm = nh.solve_cell(cell, at(0.01)), nh.solve_cell(cell, at(0.01), start=before)
    np.testing.assert_allclose(warm.effective, cold.effective, rtol=0, atol=3 * tolerance * np.max(cold.effective))
    assert np.all(warm.stats["error"] <= tolerance)
    assert total(warm) < 0.9 * total(cold)
    again = nh.solve_cell(cell, at(0.01), start=warm)
    assert total(again) <= 0.2 * total(cold)
    np.testing.assert_allclose(again.effective, warm.effective, rtol=0, atol=3 * tolerance * np.max(cold.effective))


@pytest.mark.slow
@pytest.mark.x64_only
def test_the_error_is_certified_for_any_start():
    """The exact tensor is below that of the solver by no more than the certified error, from near and from far."""
    field = voronoi_field(1, SHAPE, (1.0, 30.0, 5.0), (4,))
    exact = np.asarray(nh.effective_tensor(make_cell(SHAPE, tolerance=1e-13), field))
    cell = make_cell(SHAPE, tolerance=1e-3)
    for start in (field**0.97, field**0.5, field[::-1], 1 / field):
        found = nh.solve_cell(cell, field, start=nh.solve_cell(cell, start))
        excess = np.diagonal(found.effective - exact, axis1=1, axis2=2) / np.diagonal(exact, axis1=1, axis2=2)
        assert np.all(excess > -1e-12)
        assert np.all(excess <= 1.001 * found.stats["error"])
        assert np.all(found.stats["error"] <= 1e-3)


@pytest.mark.slow
def test_a_start_that_is_no_help_is_not_used():
    cell, field = make_cell(SHAPE), smooth_field(0, SHAPE, (2,))
    cold = nh.solve_cell(cell, field)
    far = nh.CellSolution(cold.effective, -5 * cold.corrector, cold.result, cold.stats, cell)
    lost = nh.CellSolution(cold.effective, cold.corrector.at[0].set(jnp.nan), cold.result, cold.stats, cell)
    found = nh.solve_cell(cell, field, start=far)
    np.testing.assert_array_equal(found.stats["iterations"], cold.stats["iterations"])
    np.testing.assert_allclose(found.effective, cold.effective, rtol=1e-6, atol=1e-6)
    counts = nh.solve_cell(cell, field, start=lost).stats["iterations"]
    np.testing.assert_array_equal(counts[0], cold.stats["iterations"][0])
    assert np.all(counts[1] <= 1)


@pytest.mark.x32
def test_one_member_starts_all():
    cell, field = make_cell(SHAPE), smooth_field(0, SHAPE)
    near = field[None] ** jnp.asarray([1.001, 0.999])[:, None, None]
    warm = nh.solve_cell(cell, near, start=nh.solve_cell(cell, field))
    assert np.all(warm.stats["iterations"] < nh.solve_cell(cell, near).stats["iterations"])


@pytest.mark.slow
@pytest.mark.x64_only
def test_derivatives_do_not_see_the_start():
    cell, field = make_cell(SHAPE, tolerance=1e-13), smooth_field(0, SHAPE)
    start = nh.solve_cell(cell, smooth_field(1, SHAPE))
    weights = jnp.asarray([[1.0, 0.3], [0.2, 2.0]])

    def scalar(field, start):
        solution = nh.solve_cell(cell, field, start=start)
        return jnp.sum(weights * solution.effective), solution

    (_, solution), gradient = jax.value_and_grad(scalar, has_aux=True)(field, start)
    plain = jax.grad(lambda field: jnp.sum(weights * nh.effective_tensor(cell, field)))
    np.testing.assert_allclose(gradient, plain(field), rtol=1e-6, atol=1e-9)
    assert isinstance(solution, nh.CellSolution)
    by_start = jax.grad(lambda start: scalar(field, start)[0], allow_int=True)(start)
    np.testing.assert_array_equal(by_start.corrector, 0)
    direction = smooth_field(2, SHAPE)
    second = jax.jvp(jax.grad(lambda f: scalar(f, start)[0]), (field,), (direction,))[1]
    np.testing.assert_allclose(second, jax.jvp(plain, (field,), (direction,))[1], rtol=1e-5, atol=1e-8)


def test_the_gradient_of_the_tensor_needs_no_further_solve():
    cell, field = make_cell(SHAPE), smooth_field(0, SHAPE)
    value = lambda field: nh.solve_cell(cell, field, throw=False).effective[0, 0]  # noqa: E731
    loops = [jax.jit(fn).lower(field).compile().as_text().count(" while(") for fn in (value, jax.grad(value))]
    assert loops[1] == loops[0] > 0


def test_a_loop_carries_the_solution():
    cell, field = make_cell(SHAPE), smooth_field(0, SHAPE)

    def step(solution, exponent):
        solution = nh.solve_cell(cell, field**exponent, start=solution, throw=False)
        return solution, solution.stats["iterations"]

    first = nh.solve_cell(cell, field)
    _, counts = jax.lax.scan(step, first, jnp.linspace(1.001, 1.005, 5))
    assert np.all(np.asarray(counts) < np.asarray(first.stats["iterations"]))


def test_a_start_that_does_not_fit_is_refused():
    cell, field = make_cell(SHAPE), smooth_field(0, SHAPE, (2,))
    solution = nh.solve_cell(cell, field)
    with pytest.raises(TypeError):
        nh.solve_cell(cell, field, start=solution.corrector)
    with pytest.raises(ValueError, match="another grid"):
        nh.solve_cell(make_cell((6, 8)), field.swapaxes(1, 2), start=solution)
    with pytest.raises(ValueError, match="another boundary"):
        nh.solve_cell(nh.CellProblem(nh.Grid(SHAPE), nh.Conductivity(), nh.Affine()), field, start=solution)
    elastic = nh.CellProblem(nh.Grid(SHAPE), nh.LinearElasticity(), nh.Periodic())
    with pytest.raises(ValueError, match="number of components"):
        nh.solve_cell(elastic, (field, field), start=solution)
    with pytest.raises(ValueError, match="batch axes"):
        nh.solve_cell(cell, smooth_field(0, SHAPE, (3,)), start=solution)
