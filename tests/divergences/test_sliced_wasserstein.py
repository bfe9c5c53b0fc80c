"""Sliced Wasserstein: identities, POT on the same directions, derivatives, and what standard errors rest on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.divergences import SlicedWasserstein

KEY = jax.random.key(0)
pytestmark = pytest.mark.x32


@eqx.filter_jit
def evaluate(divergence, x, y):
    return divergence(x, y, rng_key=KEY)


def clouds(num_x, num_y, p, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(num_x, p))), jnp.asarray(rng.normal(size=(num_y, p)) * 1.5 + 0.3)


@pytest.mark.parametrize(("num_x", "num_y", "p"), [(40, 40, 3), (40, 17, 3), (1, 5, 4), (25, 60, 1)])
def test_agrees_with_pot_on_the_same_directions(num_x, num_y, p, x64):
    import ot

    x, y = clouds(num_x, num_y, p)
    divergence = SlicedWasserstein(num_projections=20)
    directions = divergence.directions(KEY, p, x.dtype)
    root = ot.sliced_wasserstein_distance(
        np.asarray(x, float), np.asarray(y, float), projections=np.asarray(directions, float).T, p=2
    )
    np.testing.assert_allclose(float(evaluate(divergence, x, y)), root**2, rtol=1e-6 if not x64 else 1e-12)


@pytest.mark.parametrize(("num_x", "num_y"), [(30, 30), (12, 30), (7, 5)])
def test_mean_square_of_the_residuals_is_the_divergence(num_x, num_y, eps):
    x, y = clouds(num_x, num_y, 3)
    divergence = SlicedWasserstein(num_projections=10)
    residuals = divergence.residuals(x, y, rng_key=KEY)
    assert residuals.shape == (10 * (num_x + num_y - np.gcd(num_x, num_y)),)
    np.testing.assert_allclose(jnp.mean(residuals**2), evaluate(divergence, x, y), rtol=50 * eps)


def test_data_and_key_that_are_fixed_are_sorted_once_not_in_the_program(eps):
    x, y = clouds(12, 30, 3)
    divergence = SlicedWasserstein(num_projections=10)
    fixed = jax.make_jaxpr(lambda x: divergence(x, y, rng_key=KEY))(x)
    assert "qr" not in str(fixed)
    assert str(fixed).count("sort[") == 1
    assert str(jax.make_jaxpr(lambda x, y: divergence(x, y, rng_key=KEY))(x, y)).count("sort[") == 2
    value = jax.jit(lambda x: divergence(x, y, rng_key=KEY))(x)
    np.testing.assert_allclose(value, evaluate(divergence, x, y), rtol=50 * eps)


def test_directions_are_unit_orthogonal_in_blocks_and_reproducible(eps):
    divergence = SlicedWasserstein(num_projections=8)
    directions = divergence.directions(KEY, 3, jnp.result_type(float))
    assert directions.shape == (8, 3)
    np.testing.assert_allclose(directions[:3] @ directions[:3].T, np.eye(3), atol=10 * eps)
    np.testing.assert_array_equal(directions, divergence.directions(KEY, 3, jnp.result_type(float)))
    other = divergence.directions(jax.random.key(1), 3, jnp.result_type(float))
    assert np.abs(directions - other).max() > 0.1


def test_directions_are_uniform_on_the_sphere():
    """Second and fourth moments of a uniform direction in 3D: 1/3 and 1/5; blocks make the first exact."""
    directions = SlicedWasserstein(num_projections=3000).directions(KEY, 3, jnp.result_type(float))
    np.testing.assert_allclose(directions.T @ directions / 3000, np.eye(3) / 3, atol=1e-5)
    np.testing.assert_allclose(jnp.mean(directions**4, axis=0), 0.2, atol=0.02)  # five standard errors


def test_identities(eps):
    x, y = clouds(20, 31, 3)
    divergence = SlicedWasserstein(num_projections=9)
    assert evaluate(divergence, x, x[::-1]) == 0
    np.testing.assert_allclose(evaluate(divergence, x, y), evaluate(divergence, y, x), rtol=50 * eps)
    shift = jnp.asarray([1.0, 2.0, 3.0])
    # Whole blocks of orthogonal directions see a translation exactly: |shift|^2 / p.
    np.testing.assert_allclose(evaluate(divergence, x, x + shift[None]), 14 / 3, rtol=100 * eps)


def test_closed_form_in_one_dimension(eps):
    """Levels 0, 1 against level 0: half of the mass moves by one."""
    x, y = jnp.asarray([[0.0], [1.0]]), jnp.zeros((3, 1))
    np.testing.assert_allclose(SlicedWasserstein()(x, y, rng_key=KEY), 0.5, rtol=10 * eps)


@pytest.mark.x64_only
def test_derivatives_agree_with_each_other_and_with_differences():
    num_y = 22
    x, y = clouds(15, num_y, 3)
    divergence = SlicedWasserstein(num_projections=7)
    f = jax.jit(lambda x, y: divergence(x, y, rng_key=KEY))
    dx, dy = clouds(15, num_y, 3, seed=3)
    gradient = jax.jit(jax.grad(f, (0, 1)))(x, y)
    reverse = jnp.vdot(gradient[0], dx) + jnp.vdot(gradient[1], dy)
    forward = jax.jit(lambda: jax.jvp(f, (x, y), (dx, dy))[1])()
    step = 1e-6
    central = (f(x + step * dx, y + step * dy) - f(x - step * dx, y - step * dy)) / (2 * step)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)
    np.testing.assert_allclose(forward, central, rtol=1e-7)  # second-order differences


def test_linearize_has_the_value_and_the_gradient(x64):
    x, y = clouds(50, 33, 3)
    tangents = jax.random.normal(jax.random.key(5), (50, 3, 4))
    divergence = SlicedWasserstein(num_projections=11)
    linear = eqx.filter_jit(divergence.linearize)(x, tangents, y, rng_key=KEY)
    f = lambda theta: divergence(x + tangents @ theta, y, rng_key=KEY)  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(f))(jnp.zeros(4, x.dtype))
    tolerance = 1e-12 if x64 else 1e-5
    np.testing.assert_allclose(linear.value, value, rtol=tolerance)
    np.testing.assert_allclose(2 * linear.gradient, gradient, rtol=tolerance, atol=tolerance)
    assert np.linalg.eigvalsh(linear.curvature).min() > -tolerance


def test_one_huge_tangent_does_not_make_the_curvature():
    """It enters the gradient as it is; in the curvature its square would hide all others."""
    x, y = clouds(400, 300, 3)
    tangents = jax.random.normal(jax.random.key(5), (400, 3, 2))
    linearize = eqx.filter_jit(SlicedWasserstein(num_projections=6).linearize)
    plain = linearize(x, tangents, y, rng_key=KEY)
    spoiled = linearize(x, tangents.at[17, :, 0].multiply(1e5), y, rng_key=KEY)
    assert abs(spoiled.gradient[0]) > 100 * abs(plain.gradient[0])
    assert spoiled.curvature[0, 0] < 3 * plain.curvature[0, 0]


def test_tangents_that_grow_with_their_value_are_no_outliers():
    """A hundred times as large at one end of the cloud as in its middle: smooth in the rank, so all of it counts."""
    x = jnp.linspace(0.0, 1.0, 2000)[:, None]
    tangents = jnp.exp(8 * x)[:, :, None]
    linear = eqx.filter_jit(SlicedWasserstein().linearize)(x, tangents, x, rng_key=KEY)
    np.testing.assert_allclose(linear.curvature[0, 0], jnp.mean(tangents**2), rtol=0.02)


def test_curvature_is_that_of_the_smooth_quantiles():
    """x = theta_1 + exp(theta_2) z + noise of the tangents: curvature diag(1, 1, 0) after the noise is taken off.

    In one dimension with z normal, dQ/dtheta = (1, z, 0), so the curvature is diag(1, E z^2, 0) = diag(1, 1, 0). The
    third tangent is pure scatter, whose raw mean square is one.
    """
    num = 4000
    keys = jax.random.split(jax.random.key(2), 3)
    z, y, scatter = (jax.random.normal(key, (num, 1)) for key in keys)
    tangents = jnp.stack([jnp.ones_like(z), z, scatter], axis=-1)
    linear = eqx.filter_jit(SlicedWasserstein().linearize)(z, tangents, y, rng_key=KEY)
    unbiased = linear.curvature - linear.curvature_noise
    np.testing.assert_allclose(unbiased, np.diag([1.0, 1.0, 0.0]), atol=0.06)
    level = linear.curvature_noise[2, 2] * np.sqrt(2 / linear.num_groups)
    assert abs(unbiased[2, 2]) < 4 * level


def test_influence_is_that_of_mean_and_spread():
    """For a location the influence of an observation is y - mean; for a scale (y^2 - mean) / 2."""
    num = 4000
    keys = jax.random.split(jax.random.key(4), 2)
    x, y = (jax.random.normal(key, (n, 1)) for key, n in zip(keys, (3000, num), strict=True))
    tangents = jnp.stack([jnp.ones_like(x), x], axis=-1)
    influence = eqx.filter_jit(SlicedWasserstein().influence)(x, tangents, y, rng_key=KEY)
    assert influence.shape == (num, 2)
    np.testing.assert_allclose(jnp.mean(influence, axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(influence[:, 0], (y - y.mean())[:, 0], atol=1e-3)
    second = (y**2)[:, 0] / 2
    assert np.std(influence[:, 1] - second) < 0.08 * np.std(second)


def test_nan_stays_nan():
    x, y = clouds(10, 10, 2)
    assert jnp.isnan(SlicedWasserstein()(x.at[3, 0].set(jnp.nan), y, rng_key=KEY))


def test_works_under_jit_and_vmap(eps):
    x, y = clouds(10, 12, 2)
    divergence = SlicedWasserstein(4)
    batch = jnp.stack([x, 2 * x])
    values = jax.jit(jax.vmap(lambda x: divergence(x, y, rng_key=KEY)))(batch)
    np.testing.assert_allclose(values[1], evaluate(divergence, 2 * x, y), rtol=20 * eps)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros(3), np.zeros((3, 1)), "shape"),
        (np.zeros((3, 2)), np.zeros((3, 1)), "components"),
        (np.zeros((0, 2)), np.zeros((3, 2)), "empty"),
    ],
)
def test_wrong_clouds_are_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        SlicedWasserstein()(jnp.asarray(x, float), jnp.asarray(y, float), rng_key=KEY)


@pytest.mark.parametrize("num", [0, -1])
def test_wrong_numbers_of_projections_are_refused(num):
    with pytest.raises(ValueError, match="num_projections"):
        SlicedWasserstein(num)


@pytest.mark.x32
def test_influences_hold_little_of_the_scatter_of_tangents():
    """Points of a shifted law: the influence is the point itself, whatever single tangents are, up to their mean error.

    The mean of ten tangents scatters by 1.3; summed over the gaps of 400 points that makes .010 of the variance of the
    points. Taken from one specimen at each gap it makes .059.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4000, 1)), rng.standard_normal((400, 1))
    tangents = 1 + 4 * rng.standard_normal((4000, 1, 1))
    influence = SlicedWasserstein().influence(*map(jnp.asarray, (x, tangents, y)), rng_key=jax.random.key(0))
    rest = influence[:, 0] - (y[:, 0] - y.mean())
    assert float(jnp.mean(rest**2)) < 0.03
