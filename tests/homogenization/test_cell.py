"""Cell problems as objects: static, hashable, extensible; what a solution holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import make_cell, smooth_field

import numpyro_homog as nh
from numpyro_homog import RESULTS
from numpyro_homog.homogenization import AbstractBoundary, AbstractCell, AbstractGradientLaw, AbstractLaw

SHAPE = (6, 5)


@pytest.mark.x32
def test_a_cell_problem_is_static():
    cell = make_cell(SHAPE)
    assert jax.tree.leaves(cell) == []
    assert cell == make_cell(SHAPE, (1, 1))
    assert hash(cell) == hash(make_cell(SHAPE, (1, 1)))
    assert cell != make_cell(SHAPE, tolerance=1e-4)
    assert cell != make_cell(SHAPE, max_iterations=7)
    assert cell != make_cell(SHAPE, (1.0, 2.0))
    through = jax.jit(lambda cell, field: nh.effective_tensor(cell, field))
    field = smooth_field(0, SHAPE)
    np.testing.assert_allclose(through(cell, field), nh.effective_tensor(cell, field), rtol=1e-5, atol=1e-6)


def test_defaults_of_a_cell_problem():
    cell = make_cell(SHAPE)
    assert (cell.tolerance, cell.max_iterations) == (1e-6, 2000)
    assert isinstance(cell, AbstractCell)
    assert isinstance(cell.law, AbstractLaw)
    assert isinstance(cell.boundary, AbstractBoundary)
    assert cell.boundary == nh.Periodic()


def test_options_are_given_by_name():
    with pytest.raises(TypeError):
        nh.CellProblem(nh.Grid(SHAPE), nh.Conductivity(), nh.Periodic(), 1e-4)
    with pytest.raises(TypeError):
        nh.effective_tensor(make_cell(SHAPE), jnp.ones(SHAPE), False)


def test_cells_cannot_be_changed():
    with pytest.raises(AttributeError):
        make_cell(SHAPE).tolerance = 1e-3


@pytest.mark.slow
def test_a_solution_is_a_pytree_with_the_tensor_of_effective_tensor(x64):
    cell, field = make_cell(SHAPE), smooth_field(0, (3, *SHAPE))
    solution = jax.jit(lambda field: nh.solve_cell(cell, field))(field)
    assert isinstance(solution, nh.CellSolution)
    assert np.all(solution.result == RESULTS.successful)
    rtol = 1e-12 if x64 else 1e-5
    np.testing.assert_allclose(solution.effective, nh.effective_tensor(cell, field), rtol=rtol, atol=rtol)
    second = jax.tree.map(lambda leaf: leaf[1], solution)
    assert second.corrector.shape == (2, *SHAPE)
    np.testing.assert_array_equal(second.effective, solution.effective[1])


def test_stats_and_result_carry_no_derivative():
    cell, field = make_cell(SHAPE), smooth_field(0, SHAPE)
    _, tangent = jax.jvp(lambda field: nh.solve_cell(cell, field).stats["error"], (field,), (field,))
    np.testing.assert_array_equal(tangent, 0)


def test_another_cell_needs_one_method():
    class Mean(AbstractCell):
        def compute_effective(self, field, *, throw=True, progress=False):
            return jnp.mean(field, axis=-1)[..., None, None]

    assert nh.effective_tensor(Mean(), jnp.asarray([1.0, 3.0])) == 2.0
    with pytest.raises(TypeError, match="abstract"):
        AbstractCell()


def test_a_wrong_result_of_another_cell_is_caught_by_the_annotation():
    class Scalar(AbstractCell):
        def compute_effective(self, field, *, throw=True, progress=False):
            return jnp.mean(field)

    with pytest.raises(TypeError):  # the shape checks of the test configuration
        nh.effective_tensor(Scalar(), jnp.ones(3))


class Doubled(AbstractGradientLaw):
    """Conduction with twice the conductivity, by the basis of its strains."""

    basis = nh.Conductivity.basis

    def coefficients(self, field, grid):
        return nh.Conductivity().coefficients(2 * field, grid)


class DoubledByHand(AbstractLaw):
    """The same by every method of a law."""

    coefficients = Doubled.coefficients

    def num_components(self, ndim):
        return 1

    def num_loads(self, ndim):
        return ndim

    def strain_operator(self, gradients):
        return np.swapaxes(gradients, -1, -2)

    def affine(self, points):
        return points.T


@pytest.mark.parametrize("law", [Doubled(), DoubledByHand()])
def test_a_law_is_all_that_another_physics_of_scalars_needs(law):
    cell = nh.CellProblem(nh.Grid(SHAPE), law, nh.Periodic())
    field = smooth_field(0, SHAPE)
    np.testing.assert_allclose(
        nh.effective_tensor(cell, field), 2 * nh.effective_tensor(make_cell(SHAPE), field), rtol=1e-6, atol=1e-9
    )
