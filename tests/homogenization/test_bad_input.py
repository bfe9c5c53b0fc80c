"""What cannot be solved says so: which member, why, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import as_tensors, iid_field, make_cell, random_spd, smooth_field

import numpyro_homog as nh
from numpyro_homog import RESULTS

SHAPE = (6, 5)
CELL = make_cell(SHAPE)
ONE_ITERATION = make_cell(SHAPE, max_iterations=1)
BAD_VALUES = {"zero": 0.0, "negative": -1e-3, "nan": np.nan, "inf": np.inf, "minus inf": -np.inf}


def spoiled(value, member=2):
    """Four cells of which one has one bad voxel."""
    return smooth_field(0, (4, *SHAPE)).at[member, 3, 1].set(value)


@pytest.mark.x32
@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_bad_voxel_names_its_member_and_the_remedy(name):
    with pytest.raises(RuntimeError) as error:
        nh.effective_tensor(CELL, spoiled(BAD_VALUES[name]))
    message = str(error.value)
    assert "not finite, not positive" in message
    assert "positive constraint" in message  # advice
    assert "1 of 4" in message
    assert "(2,)" in message


@pytest.mark.parametrize("solve", [nh.effective_tensor, nh.solve_cell])
def test_the_first_of_several_bad_members_is_named_by_all_its_axes(solve):
    field = smooth_field(0, (2, 3, *SHAPE)).at[1, 0, 0, 0].set(-1.0).at[1, 2, 0, 0].set(jnp.nan)
    with pytest.raises(RuntimeError, match=r"2 of 6, the first at index \(1, 0\)"):
        solve(CELL, field)


@pytest.mark.parametrize("name", BAD_VALUES)
def test_without_throw_the_member_is_nan_and_flagged(name):
    solution = nh.solve_cell(CELL, spoiled(BAD_VALUES[name]), throw=False)
    failed = np.array([False, False, True, False])
    np.testing.assert_array_equal(solution.result == RESULTS.bad_coefficient, failed)
    np.testing.assert_array_equal(solution.result == RESULTS.successful, ~failed)
    np.testing.assert_array_equal(np.isnan(solution.effective).all((1, 2)), failed)
    np.testing.assert_array_equal(np.isnan(solution.corrector).all((1, 2, 3)), failed)
    tensors = nh.effective_tensor(CELL, spoiled(BAD_VALUES[name]), throw=False)
    np.testing.assert_array_equal(np.isnan(tensors).any((1, 2)), failed)


# Every way in which a voxel tensor fails to be symmetric positive definite.
BAD_TENSORS = {
    "indefinite": [[1.0, 2.0], [2.0, 1.0]],
    "singular": [[1.0, 1.0], [1.0, 1.0]],
    "negative definite": [[-1.0, 0.0], [0.0, -2.0]],
    "not symmetric": [[2.0, 0.5], [-0.5, 2.0]],
    "nan off the diagonal": [[2.0, np.nan], [np.nan, 2.0]],
    "nan below the diagonal": [[2.0, 0.0], [np.nan, 2.0]],
    "infinite": [[np.inf, 0.0], [0.0, 1.0]],
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_a_bad_voxel_tensor_is_refused(name):
    field = random_spd(0, (2, *SHAPE)).at[1, 2, 2].set(jnp.asarray(BAD_TENSORS[name]))
    with pytest.raises(RuntimeError, match=r"symmetric positive definite.* 1 of 2, the first at index \(1,\)"):
        nh.effective_tensor(CELL, field)
    tensors = nh.effective_tensor(CELL, field, throw=False)
    np.testing.assert_array_equal(np.isnan(tensors).any((1, 2)), [False, True])


def test_rounding_asymmetry_of_a_tensor_field_is_tolerated(eps):
    field = random_spd(0, (2, *SHAPE))
    wobbled = field.at[..., 0, 1].multiply(1 + 10 * eps)
    np.testing.assert_allclose(
        nh.effective_tensor(CELL, wobbled), nh.effective_tensor(CELL, field), rtol=1e-5, atol=1e-6
    )


def test_a_failure_under_jit_is_an_error_with_the_advice():
    solve = jax.jit(lambda field: nh.effective_tensor(CELL, field))
    jax.block_until_ready(solve(smooth_field(0, (4, *SHAPE))))
    with pytest.raises(Exception, match="positive constraint"):
        jax.block_until_ready(solve(spoiled(-1.0)))


def test_a_failure_under_grad_and_vmap_is_an_error_with_the_advice():
    with pytest.raises(Exception, match="positive constraint"):
        jax.block_until_ready(jax.grad(lambda field: jnp.sum(nh.effective_tensor(CELL, field)))(spoiled(-1.0)))
    with pytest.raises(Exception, match="positive constraint"):
        jax.block_until_ready(jax.vmap(lambda field: nh.effective_tensor(CELL, field))(spoiled(-1.0)))


def test_a_failed_member_does_not_spoil_the_gradient_of_the_others():
    def total(field):
        tensors = nh.effective_tensor(CELL, field, throw=False)
        return jnp.sum(jnp.where(jnp.isnan(tensors), 0.0, tensors))

    good, mixed = jax.grad(total)(smooth_field(0, (4, *SHAPE))), jax.grad(total)(spoiled(-1.0))
    keep = jnp.asarray([0, 1, 3])
    assert np.all(np.isfinite(mixed))
    np.testing.assert_allclose(mixed[keep], good[keep], rtol=1e-6)


def test_a_solve_that_does_not_converge_is_flagged():
    fields = jnp.stack([jnp.full(SHAPE, 2.0), iid_field(0, SHAPE, (1.0, 100.0))])
    with pytest.raises(RuntimeError, match=r"used up its iterations.*raise its `max_iterations`.*1 of 2.*\(1,\)"):
        nh.effective_tensor(ONE_ITERATION, fields)
    solution = nh.solve_cell(ONE_ITERATION, fields, throw=False)
    np.testing.assert_array_equal(solution.result == RESULTS.not_converged, [False, True])
    np.testing.assert_array_equal(np.isnan(solution.effective).any((1, 2)), [False, True])
    assert np.all(np.asarray(solution.stats["iterations"]) <= 1)
    assert np.all(np.asarray(solution.stats["error"][1]) > ONE_ITERATION.tolerance)
    with pytest.raises(Exception, match="used up its iterations"):
        jax.block_until_ready(jax.jit(lambda field: nh.effective_tensor(ONE_ITERATION, field))(fields))


def test_one_bad_and_one_unfinished_member_have_their_own_reasons():
    fields = jnp.stack([iid_field(0, SHAPE, (1.0, 100.0)), jnp.zeros(SHAPE), jnp.ones(SHAPE)])
    result = nh.solve_cell(ONE_ITERATION, fields, throw=False).result
    for member, reason in enumerate((RESULTS.not_converged, RESULTS.bad_coefficient, RESULTS.successful)):
        assert np.asarray(result == reason)[member]


@pytest.mark.parametrize("kind", ["scalars", "tensors"])
def test_contrast_of_a_hundred_million_converges_or_says_so(kind, x64):
    field = iid_field(0, SHAPE, (1.0, 1e8))
    solution = nh.solve_cell(CELL, field if kind == "scalars" else as_tensors(field), throw=False)
    if np.all(np.isfinite(solution.effective)):
        assert np.all(solution.result == RESULTS.successful)
        assert np.all(np.asarray(solution.stats["error"]) <= CELL.tolerance + (0 if x64 else 1e-5))  # rounding
        if x64:
            exact = np.asarray(nh.effective_tensor(make_cell(SHAPE, tolerance=1e-12), field))
            np.testing.assert_allclose(np.diagonal(solution.effective), np.diagonal(exact), rtol=2e-6)
    else:
        assert np.all(solution.result == RESULTS.not_converged)


WRONG_SHAPES = [(), (6,), (5, 6), (6, 5, 2), (6, 5, 3, 3), (3, 6, 4), (6, 5, 1, 1), (6, 5, 7)]


@pytest.mark.parametrize("shape", WRONG_SHAPES)
@pytest.mark.parametrize("solve", [nh.effective_tensor, nh.solve_cell])
def test_a_field_on_another_grid_is_refused(solve, shape):
    with pytest.raises(ValueError) as error:  # noqa: PT011  (the message is looked at below)
        solve(CELL, jnp.ones(shape))
    message = str(error.value)
    assert f"field has shape {shape}" in message
    assert "(6, 5)" in message
    assert "pass a field on cell.grid" in message


@pytest.mark.parametrize(
    ("law", "properties"),
    [
        (nh.Conductivity(), jnp.array([1.0, 5.0])),
        pytest.param(nh.LinearElasticity(), nh.Lame(jnp.ones(2), jnp.array([1.0, 5.0])), marks=pytest.mark.slow),
    ],
)
def test_fractions_in_space_that_were_mixed_as_if_plane_are_told_so(law, properties):
    grid = nh.Grid((4, 4, 4))
    cell = nh.CellProblem(grid, law, nh.Periodic())
    phases = jnp.full((2, *grid.shape, 2), 0.5)
    right = nh.mix(phases, properties, grid=grid)
    assert jax.eval_shape(lambda: nh.effective_tensor(cell, right)).shape[0] == 2
    with pytest.raises(ValueError, match="`mix` needs its `grid=`"):
        nh.effective_tensor(cell, nh.mix(phases, properties))


def test_the_shape_is_checked_when_a_program_is_traced():
    with pytest.raises(ValueError, match="field has shape"):
        jax.eval_shape(lambda field: nh.effective_tensor(CELL, field), jax.ShapeDtypeStruct((5, 6), jnp.float32))


def test_shapes_that_can_be_read_in_two_ways_are_refused():
    with pytest.raises(ValueError, match="can be read as scalars or as tensors"):
        nh.effective_tensor(make_cell((2, 2)), jnp.ones((2, 2, 2, 2)))
    assert nh.effective_tensor(make_cell((2, 2)), jnp.ones((3, 2, 2))).shape == (3, 2, 2)
    with pytest.raises(ValueError, match="can be read as scalars or as tensors"):
        nh.effective_tensor(make_cell((1,)), jnp.ones((1, 1, 1)))


@pytest.mark.parametrize(
    "field",
    [[[1.0] * 5] * 6, (jnp.ones(SHAPE),), {"k": jnp.ones(SHAPE)}, None, np.ones(SHAPE, complex), np.ones(SHAPE, bool)],
    ids=["list", "tuple", "dict", "None", "complex", "bool"],
)
@pytest.mark.parametrize("solve", [nh.effective_tensor, nh.solve_cell])
def test_what_is_not_a_real_array_is_refused(solve, field):
    with pytest.raises(TypeError, match="field must be"):
        solve(CELL, field)


def test_integer_fields_are_promoted():
    k = np.random.default_rng(0).integers(1, 5, SHAPE)
    tensor = nh.effective_tensor(CELL, k)
    assert tensor.dtype == jnp.result_type(float)
    np.testing.assert_array_equal(tensor, nh.effective_tensor(CELL, jnp.asarray(k, float)))


@pytest.mark.x32
def test_the_dtype_of_the_field_is_kept():
    field = smooth_field(0, SHAPE)
    assert nh.effective_tensor(CELL, field).dtype == field.dtype
    single = nh.solve_cell(CELL, field.astype(jnp.float32))
    assert single.effective.dtype == single.corrector.dtype == single.stats["error"].dtype == jnp.float32


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, 1.0, 2.0, np.nan, np.inf])
def test_a_tolerance_outside_of_its_range_is_refused(tolerance):
    with pytest.raises(ValueError, match=r"tolerance is relative and must lie in \(0, 1\)"):
        make_cell(SHAPE, tolerance=tolerance)


def test_a_cell_problem_refuses_the_wrong_parts():
    grid, law, boundary = nh.Grid(SHAPE), nh.Conductivity(), nh.Periodic()
    for arguments, message in (
        ((SHAPE, law, boundary), "expects a Grid or a Mesh; got tuple"),
        ((grid, nh.Conductivity, boundary), r"expects a law such as Conductivity\(\)"),
        ((grid, boundary, law), r"expects a law such as Conductivity\(\); got Periodic"),
        ((grid, law, None), r"expects a boundary condition such as Periodic\(\); got NoneType"),
    ):
        with pytest.raises(TypeError, match=message):
            nh.CellProblem(*arguments)
    with pytest.raises(ValueError, match="max_iterations must be a positive integer; got 0"):
        make_cell(SHAPE, max_iterations=0)


def test_a_progress_bar_needs_values():
    with pytest.raises(ValueError, match="progress=True needs concrete arrays"):
        jax.jit(lambda field: nh.effective_tensor(CELL, field, progress=True))(smooth_field(0, SHAPE))
