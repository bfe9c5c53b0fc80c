"""Derivatives of the effective tensor and of the corrector, in every mode and nesting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import make_cell, random_spd, smooth_field

import numpyro_homog as nh

pytestmark = pytest.mark.x64_only  # differences need the digits; test_float32.py has the rest

SHAPE = (5, 4)
# The error of a corrector is the square root of the tolerance: differences of correctors need it this small.
TIGHT = make_cell(SHAPE, (1.0, 1.5), tolerance=1e-24)
each_kind = pytest.mark.parametrize("kind", ["isotropic", "tensors"])
STEP = np.finfo(float).eps ** (1 / 3)
# Central differences at STEP: truncation and rounding are both near STEP^2 = 4e-11, times derivatives of order one.
DIFFERENCE = 2e-8
WEIGHTS = jnp.asarray(np.array([[1.0, 2.0], [-0.5, 3.0]]))


def a_field(kind, seed=0):
    return smooth_field(seed, SHAPE) if kind == "isotropic" else random_spd(seed, SHAPE)


def a_direction(field, seed=9):
    """A smooth direction; for tensors a symmetric one."""
    direction = np.random.default_rng(seed).normal(size=field.shape)
    if field.ndim == 4:
        direction = (direction + np.swapaxes(direction, -1, -2)) / 2
    return jnp.asarray(direction)


@jax.jit
def energy(field):
    """A scalar with all entries of the tensor in it, not linear in them."""
    tensor = nh.effective_tensor(TIGHT, field)
    return jnp.sum(WEIGHTS * tensor) + jnp.sum(tensor**2) / 10


gradient = jax.jit(jax.grad(energy))


def difference(fn, field, direction):
    return (fn(field + STEP * direction) - fn(field - STEP * direction)) / (2 * STEP)


@pytest.mark.slow
@each_kind
def test_jvp_vjp_and_differences_agree(kind):
    field = a_field(kind)
    for seed in (1, 2):
        direction = a_direction(field, seed)
        value, forward = jax.jvp(energy, (field,), (direction,))
        reverse = jnp.vdot(gradient(field), direction)
        np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(forward, difference(energy, field, direction), rtol=DIFFERENCE)
    assert value == pytest.approx(float(energy(field)), rel=1e-13)


def test_every_voxel_has_its_own_derivative():
    field = a_field("isotropic")
    by_voxel = np.array([difference(energy, field, e.reshape(SHAPE)) for e in jnp.eye(20)]).reshape(SHAPE)
    np.testing.assert_allclose(gradient(field), by_voxel, rtol=0, atol=DIFFERENCE * np.abs(by_voxel).max())


def test_the_derivative_with_respect_to_a_tensor_is_symmetric():
    # An asymmetric direction counts through its symmetric part, in both modes.
    field = a_field("tensors")
    np.testing.assert_array_equal(gradient(field), jnp.swapaxes(gradient(field), -1, -2))
    skew = jnp.asarray([[0.0, 1.0], [-1.0, 0.0]])
    _, tangent = jax.jvp(energy, (field,), (jnp.broadcast_to(skew, field.shape),))
    assert tangent == 0


@pytest.mark.slow
def test_jacfwd_and_jacrev_of_parameters_agree():
    masks = jnp.asarray(np.random.default_rng(3).random((3, *SHAPE)))
    tensor = lambda kappa: nh.effective_tensor(TIGHT, jnp.tensordot(kappa, masks, 1))  # noqa: E731
    kappa = jnp.asarray([1.0, 5.0, 10.0])
    forward, reverse = jax.jacfwd(tensor)(kappa), jax.jacrev(tensor)(kappa)
    assert forward.shape == (2, 2, 3)
    np.testing.assert_allclose(forward, reverse, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(forward @ kappa, tensor(kappa), rtol=1e-12)  # Euler, through the user's own line


def test_vmap_of_grad_and_grad_of_vmap_agree():
    fields = smooth_field(4, SHAPE, (3,))
    one_by_one = jnp.stack([gradient(field) for field in fields])
    np.testing.assert_allclose(jax.vmap(jax.grad(energy))(fields), one_by_one, rtol=1e-11, atol=1e-13)
    of_sum = jax.grad(lambda fields: jnp.sum(jax.vmap(energy)(fields)))(fields)
    np.testing.assert_allclose(of_sum, one_by_one, rtol=1e-11, atol=1e-13)


def test_grad_of_a_batch_is_the_batch_of_grads():
    fields = smooth_field(4, SHAPE, (3,))
    total = lambda fields: jnp.sum(WEIGHTS[None] * nh.effective_tensor(TIGHT, fields))  # noqa: E731
    single = jax.grad(lambda field: jnp.sum(WEIGHTS * nh.effective_tensor(TIGHT, field)))(fields[1])
    np.testing.assert_allclose(jax.jit(jax.grad(total))(fields)[1], single, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
def test_differentiated_and_plain_values_are_the_same():
    # A line search or a leapfrog step compares both. A loose tolerance, so that a second solve would show.
    loose = make_cell((16, 16), tolerance=1e-3)
    fields = 10 ** (2 * smooth_field(5, (16, 16), (3,)) / 10)
    trace = lambda fields: jnp.sum(jnp.trace(nh.effective_tensor(loose, fields), axis1=-2, axis2=-1))  # noqa: E731
    plain, (value, _) = trace(fields), jax.jit(jax.value_and_grad(trace))(fields)
    forward, _ = jax.jvp(trace, (fields,), (fields,))
    np.testing.assert_allclose([value, forward], [plain, plain], rtol=1e-13)
    exact = jnp.sum(nh.effective_tensor(make_cell((16, 16), tolerance=1e-12), fields)[:, [0, 1], [0, 1]])
    assert abs(plain / exact - 1) > 1e-6  # the comparison above was not between two exact values


def count_loops(fn, *args):
    """Conjugate-gradient loops in the program of `fn`, as it is handed to the compiler."""
    return jax.jit(fn).lower(*args).as_text().count("stablehlo.while")


def test_the_first_derivative_costs_no_solve():
    fields = smooth_field(4, SHAPE, (2,))
    tensor = lambda f: jnp.sum(nh.effective_tensor(TIGHT, f, throw=False))  # noqa: E731
    plain = count_loops(tensor, fields)
    assert count_loops(jax.value_and_grad(tensor), fields) == plain
    assert count_loops(lambda f: jax.jvp(tensor, (f,), (f,)), fields) == plain
    assert count_loops(lambda f: jax.jacfwd(lambda s: tensor(f * s))(1.0), fields) == plain
    # A second derivative pays for solves: the counter can tell.
    assert count_loops(lambda f: jax.jvp(jax.grad(tensor), (f,), (f,)), fields) > plain


@pytest.mark.slow
@each_kind
def test_second_derivatives_agree_with_differences_of_gradients(kind):
    field = a_field(kind)
    direction = a_direction(field)
    forward_over_reverse = jax.jvp(gradient, (field,), (direction,))[1]
    scale = jnp.max(jnp.abs(forward_over_reverse))
    expected = difference(gradient, field, direction)
    # The right-hand sides of second derivatives are solved to the square root of this accuracy.
    np.testing.assert_allclose(forward_over_reverse, expected, rtol=0, atol=1e-7 * scale)
    along = lambda field: jax.jvp(energy, (field,), (direction,))[1]  # noqa: E731
    np.testing.assert_allclose(jax.grad(along)(field), expected, rtol=0, atol=1e-7 * scale)


@pytest.mark.slow
def test_hessians_are_symmetric_and_agree_in_all_orders():
    masks = jnp.asarray(np.random.default_rng(3).random((3, *SHAPE)))
    fn = lambda log_kappa: energy(jnp.tensordot(jnp.exp(log_kappa), masks, 1))  # noqa: E731
    at = jnp.asarray([0.0, 1.0, 2.0])
    hessian = jax.hessian(fn)(at)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-8)
    np.testing.assert_allclose(jax.jacrev(jax.jacfwd(fn))(at), hessian, rtol=1e-8)
    np.testing.assert_allclose(jax.jacfwd(jax.jacfwd(fn))(at), hessian, rtol=1e-8)
    np.testing.assert_allclose(jax.jacrev(jax.jacrev(fn))(at), hessian, rtol=1e-8)
    expected = np.array([difference(jax.grad(fn), at, e) for e in jnp.eye(3)])
    np.testing.assert_allclose(hessian, expected, rtol=1e-7)


@pytest.mark.slow
def test_second_derivatives_of_a_batch_under_vmap():
    fields = smooth_field(4, SHAPE, (2,))
    product = lambda field: jax.jvp(jax.grad(energy), (field,), (field,))[1]  # noqa: E731
    batched = jax.jit(jax.vmap(product))(fields)
    np.testing.assert_allclose(batched[1], product(fields[1]), rtol=1e-7, atol=1e-9)


def test_a_hessian_of_the_pure_tensor_is_negative():
    # K is concave in k (a minimum of linear functions); the curvature along k itself is zero (degree one).
    field, direction = a_field("isotropic"), a_direction(a_field("isotropic"))
    trace = lambda f: jnp.trace(nh.effective_tensor(TIGHT, f))  # noqa: E731

    @jax.jit
    def curvature(direction):
        slope = lambda t: jax.jvp(trace, (field + t * direction,), (direction,))[1]  # noqa: E731
        return jax.jvp(slope, (0.0,), (1.0,))[1]

    assert curvature(direction) < -1e-3
    assert abs(curvature(field)) < 1e-8


@pytest.mark.parametrize("kind", ["isotropic", pytest.param("tensors", marks=pytest.mark.slow)])
def test_the_derivative_of_the_corrector(kind):
    field = a_field(kind)
    direction = a_direction(field)
    corrector = jax.jit(lambda field: nh.solve_cell(TIGHT, field).corrector)
    _, tangent = jax.jvp(corrector, (field,), (direction,))
    expected = difference(corrector, field, direction)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tangent, expected, rtol=0, atol=1e-7 * scale)
    weights = a_direction(tangent, 7)
    _, pullback = jax.vjp(corrector, field)
    np.testing.assert_allclose(jnp.vdot(pullback(weights)[0], direction), jnp.vdot(tangent, weights), rtol=1e-7)


def test_the_derivative_of_the_tensor_of_solve_cell():
    field = a_field("isotropic")
    effective = lambda field: nh.solve_cell(TIGHT, field).effective  # noqa: E731
    expected = jax.jvp(lambda field: nh.effective_tensor(TIGHT, field), (field,), (a_direction(field),))[1]
    actual = jax.jvp(effective, (field,), (a_direction(field),))[1]
    np.testing.assert_allclose(actual, expected, rtol=1e-8, atol=1e-8)


@each_kind
def test_homogeneous_cells_have_finite_derivatives(kind):
    # No corrector, double eigenvalues, a zero load: where naive rules divide by zero.
    field = jnp.full(SHAPE, 3.0) if kind == "isotropic" else jnp.broadcast_to(3 * jnp.eye(2), (*SHAPE, 2, 2))
    linear = jax.grad(lambda f: nh.effective_tensor(TIGHT, f)[0, 0])(field)
    expected = np.full(SHAPE, 0.05) if kind == "isotropic" else np.full(SHAPE, 0.05)[..., None, None] * np.diag([1, 0])
    np.testing.assert_allclose(linear, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_homogeneous_cells_have_finite_second_derivatives():
    field = jnp.broadcast_to(3 * jnp.eye(2), (*SHAPE, 2, 2))
    assert np.all(np.isfinite(jax.jvp(gradient, (field,), (a_direction(field),))[1]))
