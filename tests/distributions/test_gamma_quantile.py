"""The log of the gamma quantile against SciPy (64 bits throughout), and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special as special

from numpyro_homog.distributions._gamma_quantile import log_gamma_quantile

pytestmark = pytest.mark.x32
SHAPES = np.geomspace(0.05, 100, 12)


def reference(shape, score):
    """log g; the first term of the series where g underflows even in 64 bits."""
    lower = special.gammaincinv(shape, special.ndtr(score))
    g = np.where(score < 0, lower, special.gammainccinv(shape, special.ndtr(-score)))
    series = (special.log_ndtr(score) + special.gammaln(shape + 1)) / shape
    return np.where(g > 1e-290, np.log(np.maximum(g, 1e-290)), series)


def inputs(x64):
    """All shapes with scores up to c = 1e-12, or 3e-7 in 32 bits, from zero and one."""
    bound = 7.0 if x64 else 5.0
    shape, score = jnp.asarray(SHAPES)[:, None], jnp.linspace(-bound, bound, 41)
    return jnp.broadcast_arrays(shape.astype(float), score)


def test_it_is_the_quantile_in_both_tails(x64):
    shape, score = inputs(x64)
    expected = reference(np.asarray(shape, np.float64), np.asarray(score, np.float64))
    result = log_gamma_quantile(shape, score)
    # One of P and Q is one minus the other; for small shapes that costs three digits.
    np.testing.assert_array_less(np.abs(result - expected) / (1 + np.abs(expected)), 1e-12 if x64 else 2e-5)


def test_no_small_quantile_underflows(x64):
    score = jnp.array([-8.0, -3.0])
    result = log_gamma_quantile(jnp.full(2, 0.05), score)
    assert result[0] < -650  # g = exp(-650) is zero in 32 bits
    np.testing.assert_allclose(result, reference(0.05, np.asarray(score, float)), rtol=1e-12 if x64 else 1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_derivatives_are_the_differences_of_scipy(which, x64):
    shape, score = (np.asarray(v) for v in inputs(x64))
    # One by one: in a batch, members that converge late would hide one that stops early.
    alone = jax.vmap(jax.vmap(jax.grad(log_gamma_quantile, argnums=which)))
    derivative = alone(jnp.asarray(shape), jnp.asarray(score))
    scale = shape.astype(np.float64) if which == 0 else 1.0

    def at(step):
        moved = [shape.astype(np.float64), score.astype(np.float64)]
        moved[which] = moved[which] + step * scale
        return reference(*moved)

    h = 1e-3
    difference = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h * scale)
    # Differences of fourth order: 1e-10. In 32 bits the cancellation in a log g - g at a = 100 costs three digits.
    np.testing.assert_allclose(derivative, difference, rtol=1e-9 if x64 else 1e-4, atol=1e-9 if x64 else 1e-6)


@pytest.mark.slow
def test_reverse_mode_and_batches():
    shape, score = jnp.array([0.1, 2.0, 30.0]), jnp.array([-1.0, 0.5, 3.0])
    by_both = jax.vmap(jax.grad(log_gamma_quantile, argnums=(0, 1)))(shape, score)
    ones = jnp.ones(3)
    for which in (0, 1):
        tangents = (ones, 0 * ones) if which == 0 else (0 * ones, ones)
        forward = jax.jvp(log_gamma_quantile, (shape, score), tangents)[1]
        np.testing.assert_allclose(by_both[which], forward, rtol=1e-5)
    assert log_gamma_quantile(shape[:, None], score).shape == (3, 3)
