"""The mean of both bounds as a discretisation: derivatives, transformations, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import FIELDS, LENGTHS, SHAPE, close, make_cell, smooth_field

import numpyro_homog as nh
from numpyro_homog import RESULTS
from numpyro_homog.homogenization import LinearElasticity

each_kind = pytest.mark.parametrize("kind", FIELDS)


def dual_cell(shape, lengths=None, **options):
    return make_cell(shape, lengths, discretization=nh.PrimalDual(), **options)


# --- derivatives and transformations ---


@pytest.mark.slow
@pytest.mark.x64_only
@each_kind
def test_jvp_vjp_and_differences_agree(kind):
    cell, field = make_cell((5, 4), LENGTHS, tolerance=1e-20), FIELDS[kind](0, (5, 4))
    direction = np.random.default_rng(9).normal(size=field.shape)
    direction = jnp.asarray(direction + np.swapaxes(direction, -1, -2) if kind == "tensors" else direction)
    weights = jnp.asarray([[1.0, 2.0], [-0.5, 3.0]])

    @jax.jit
    def scalars(t):
        """One number from each bound and the mean."""
        bounds = nh.effective_bounds(cell, field + t * direction)
        return jnp.stack([jnp.sum(weights[None] * bound) for bound in bounds])

    step = np.finfo(float).eps ** (1 / 3)
    forward = jax.jit(jax.jacfwd(scalars))(0.0)
    np.testing.assert_allclose(jax.jit(jax.jacrev(scalars))(0.0), forward, rtol=1e-12)
    # Truncation and rounding of the differences are both near step^2 = 4e-11.
    np.testing.assert_allclose((scalars(step) - scalars(-step)) / (2 * step), forward, rtol=2e-8)


@pytest.mark.slow
@pytest.mark.x64_only
@each_kind
def test_second_derivatives_of_the_mean(kind):
    cell, field = dual_cell((3, 4), tolerance=1e-22), FIELDS[kind](0, (3, 4))
    gradient = jax.grad(lambda t: jnp.sum(nh.effective_tensor(cell, field + t * field**2 / 10) ** 2))
    slope, second, step = jax.jit(gradient), jax.jit(jax.grad(gradient))(0.0), 1e-5
    np.testing.assert_allclose((slope(step) - slope(-step)) / (2 * step), second, rtol=1e-6)


def count_loops(fn, *args):
    """Loops in the program: each solve has the same number of them."""
    return jax.jit(fn).lower(*args).as_text().count("stablehlo.while")


@each_kind
def test_the_derivative_costs_no_solve(kind):
    field, loops = FIELDS[kind](0), []
    for cell in (make_cell(SHAPE), dual_cell(SHAPE)):
        fn = lambda field, cell=cell: jnp.sum(nh.effective_tensor(cell, field, throw=False))  # noqa: E731
        loops += [count_loops(fn, field), count_loops(jax.value_and_grad(fn), field)]
    # And both problems are one batch: one program to compile.
    assert loops[0] > 0
    assert loops == loops[:1] * 4


@pytest.mark.x32
def test_jit_vmap_and_batches_agree(cell, tolerance, rtol):
    fields = smooth_field(6, SHAPE, (1, 3))
    bounds = nh.effective_bounds(cell, fields[0])
    batch = jax.jit(jax.vmap(lambda field: nh.effective_bounds(cell, field)))(fields[0])
    assert isinstance(batch, nh.EffectiveBounds)
    for one, other in zip(bounds, batch, strict=True):
        close(other, one, rtol)
    tensors = nh.effective_tensor(dual_cell(SHAPE, LENGTHS, tolerance=tolerance), np.asarray(fields))
    assert tensors.shape == (1, 3, 2, 2)
    close(tensors[0], bounds.mean, rtol)


@pytest.mark.slow
@pytest.mark.x64_only
def test_long_batches_are_cut_into_slices():
    cell, fields = dual_cell((4, 4)), smooth_field(7, (4, 4), (5000,))
    tensors = nh.effective_tensor(cell, fields)
    close(tensors[::1000], nh.effective_tensor(cell, fields[::1000]), 1e-6)


def test_a_cell_with_it_is_static_and_differs_from_one_without():
    cell = dual_cell(SHAPE)
    assert jax.tree.leaves(cell) == []
    assert cell == dual_cell(SHAPE)
    assert hash(cell) == hash(dual_cell(SHAPE))
    assert cell != make_cell(SHAPE)
    assert make_cell(SHAPE) == make_cell(SHAPE, discretization=nh.Primal())


# --- refusals ---


@pytest.mark.x32
@each_kind
def test_a_member_that_fails_is_nan_and_alone(kind, cell):
    fields = FIELDS[kind](0).at[1, 2, 3].set(-1.0)
    with pytest.raises(RuntimeError, match="1 of 3"):
        nh.effective_bounds(cell, fields)
    for bound in nh.effective_bounds(cell, fields, throw=False):
        np.testing.assert_array_equal(np.isnan(bound).all((1, 2)), [False, True, False])
        assert np.isfinite(bound[::2]).all()


@each_kind
def test_a_member_that_fails_does_not_spoil_the_gradient_of_others(kind, tolerance):
    cell, fields = dual_cell(SHAPE, LENGTHS, tolerance=tolerance), FIELDS[kind](0).at[1, 0, 0].set(0.0)

    def total(scale):
        tensors = nh.effective_tensor(cell, scale * fields, throw=False)
        return jnp.sum(jnp.where(jnp.isnan(tensors), 0, tensors))

    value, slope = jax.jit(jax.value_and_grad(total))(1.0)
    np.testing.assert_allclose(slope, value, rtol=1e-5)  # homogeneous of degree one


def test_the_dual_problem_must_converge_too(tolerance):
    cell = make_cell(SHAPE, LENGTHS, tolerance=tolerance, max_iterations=1)
    with pytest.raises(RuntimeError, match="max_iterations"):
        nh.effective_bounds(cell, FIELDS["isotropic"](0))


@pytest.mark.parametrize("shape", [(8,), (4, 4, 4)])
def test_other_dimensions_are_refused_with_what_there_is(shape):
    with pytest.raises(ValueError, match=r"two-dimensional cell.*hashin_shtrikman_bounds"):
        dual_cell(shape)
    with pytest.raises(ValueError, match=rf"effective_bounds need .* got {len(shape)} dimensions"):
        nh.effective_bounds(make_cell(shape), jnp.ones(shape))


def test_other_laws_and_boundaries_are_refused():
    grid = nh.Grid(SHAPE)
    with pytest.raises(ValueError, match="Affine"):
        nh.CellProblem(grid, nh.Conductivity(), nh.Affine(), discretization=nh.PrimalDual())
    with pytest.raises(ValueError, match="LinearElasticity"):
        nh.CellProblem(grid, LinearElasticity(), nh.Periodic(), discretization=nh.PrimalDual())
    with pytest.raises(ValueError, match="LinearElasticity"):
        nh.effective_bounds(nh.CellProblem(grid, LinearElasticity(), nh.Periodic()), jnp.ones(SHAPE))


def test_what_is_no_discretization_or_no_cell_is_refused():
    with pytest.raises(TypeError, match=r"PrimalDual\(\)"):
        make_cell(SHAPE, discretization="dual")
    # The shape check of the test configuration comes first.
    with pytest.raises(TypeError, match="CellProblem"):
        nh.effective_bounds(nh.CheckerboardCell(), jnp.ones(4))
    with pytest.raises(ValueError, match=r"cell\.grid is \(6, 8\)"):
        nh.effective_bounds(make_cell(SHAPE), jnp.ones((4, 4)))


def test_correctors_belong_to_one_problem():
    with pytest.raises(ValueError, match=r"discretization=Primal\(\)"):
        nh.solve_cell(dual_cell(SHAPE), smooth_field(0, SHAPE))
    assert nh.solve_cell(make_cell(SHAPE), smooth_field(0, SHAPE)).result == RESULTS.successful
