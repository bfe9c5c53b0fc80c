"""SlicedWasserstein under reweighting of its first cloud: scores beside tangents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.divergences import SlicedWasserstein

KEY = jax.random.key(3)
DIVERGENCE = SlicedWasserstein(6)


def weighted_square(x, weights, y):
    """int (Q_x - Q_y)^2 du for weighted x and plain y, on the union of the steps; one dimension, float64."""
    order = np.argsort(x)
    x, y = x[order], np.sort(y)
    ends_x = np.cumsum(weights[order]) / weights.sum()
    ends_y = np.arange(1, len(y) + 1) / len(y)
    ends = np.sort(np.concatenate([ends_x, ends_y]))
    middle = (ends + np.concatenate([[0.0], ends[:-1]])) / 2
    q_x = x[np.minimum(np.searchsorted(ends_x, middle), len(x) - 1)]
    q_y = y[np.minimum(np.searchsorted(ends_y, middle), len(y) - 1)]
    return np.diff(ends, prepend=0.0) @ (q_x - q_y) ** 2


def no_tangents(x, num):
    return jnp.zeros((*x.shape, num), x.dtype)


@pytest.mark.x64_only
@pytest.mark.parametrize("num_y", [23, 40, 20])
def test_the_gradient_is_that_of_the_reweighted_divergence(num_y):
    """With as many y, or a divisor, the steps coincide: there the mean of both sides counts, as central differences."""
    x = np.asarray(jax.random.normal(KEY, (40, 3)))
    y = np.asarray(0.5 + jax.random.normal(jax.random.key(1), (num_y, 3)))
    scores = np.asarray(jax.random.normal(jax.random.key(2), (40, 2)))
    found = DIVERGENCE.linearize(
        jnp.asarray(x), no_tangents(x, 2), jnp.asarray(y), rng_key=KEY, scores=jnp.asarray(scores)
    )
    directions = np.asarray(DIVERGENCE.directions(KEY, 3, jnp.zeros(()).dtype))

    def divergence(shift):
        weights = np.exp(scores @ shift)
        return np.mean([weighted_square(x @ d, weights, y @ d) for d in directions])

    np.testing.assert_allclose(found.value, divergence(np.zeros(2)), rtol=1e-12)
    for i, unit in enumerate(1e-6 * np.eye(2)):
        slope = (divergence(unit) - divergence(-unit)) / 2e-6
        np.testing.assert_allclose(2 * found.gradient[i], slope, rtol=1e-6)


@pytest.mark.x64_only
def test_weights_have_the_value_and_the_gradient_of_the_reweighted_divergence():
    """By path and by score at weights that differ by factors of ten."""
    x = np.asarray(jax.random.normal(KEY, (40, 3)))
    y = np.asarray(0.5 + jax.random.normal(jax.random.key(1), (23, 3)))
    scores = np.asarray(jax.random.normal(jax.random.key(2), (40, 2)))
    tangents = np.asarray(jax.random.normal(jax.random.key(4), (40, 3, 2)))
    at = np.array([0.7, -0.4])
    found = DIVERGENCE.linearize(
        *map(jnp.asarray, (x, tangents, y)),
        rng_key=KEY,
        scores=jnp.asarray(scores),
        log_weights=jnp.asarray(scores @ at),
    )
    directions = np.asarray(DIVERGENCE.directions(KEY, 3, jnp.zeros(()).dtype))

    def divergence(shift):
        weights = np.exp(scores @ (at + shift))
        return np.mean([weighted_square((x + tangents @ shift) @ d, weights, y @ d) for d in directions])

    np.testing.assert_allclose(found.value, divergence(np.zeros(2)), rtol=1e-12)
    for i, unit in enumerate(1e-6 * np.eye(2)):
        slope = (divergence(unit) - divergence(-unit)) / 2e-6
        np.testing.assert_allclose(2 * found.gradient[i], slope, rtol=1e-6)


@pytest.mark.parametrize("num_y", [23, 40, 20])
def test_equal_weights_are_none(num_y, eps):
    """Their noise is none: with weights the points are held, and what the weights do to them is no accident."""
    x, y = jax.random.normal(KEY, (40, 3)), jax.random.normal(jax.random.key(1), (num_y, 3))
    tangents, scores = jax.random.normal(jax.random.key(4), (40, 3, 2)), jax.random.normal(jax.random.key(2), (40, 2))
    plain = DIVERGENCE.linearize(x, tangents, y, rng_key=KEY, scores=scores)
    found = DIVERGENCE.linearize(x, tangents, y, rng_key=KEY, scores=scores, log_weights=jnp.full(40, 3.0))
    for part, expected in zip(found[:3], plain[:3], strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e4 * eps, atol=1e4 * eps)


@pytest.mark.slow
def test_importance_weights_give_the_law_they_stand_for():
    """Draws of N(0, 1) with the weights of N(.4, .9^2): value and curvature are those of draws of that law.

    The weights have an effective size of 2/3: at M = 20,000 curvatures scatter by .05, values by 10 %.
    """
    found = []
    for key in jax.random.split(KEY, 8):
        z = jax.random.normal(key, (20_000, 1))
        y = 0.2 + 1.3 * jax.random.normal(jax.random.key(1), (4000, 1))
        w = -((z[:, 0] - 0.4) ** 2) / (2 * 0.9**2) + z[:, 0] ** 2 / 2
        u = (z - 0.4) / 0.9
        scores = jnp.concatenate([u / 0.9, (u**2 - 1) / 0.9], axis=1)
        weighted = DIVERGENCE.linearize(z, no_tangents(z, 2), y, rng_key=key, scores=scores, log_weights=w)
        drawn = 0.4 + 0.9 * jax.random.normal(jax.random.fold_in(key, 1), (20_000, 1))
        tangents = jnp.stack([jnp.ones_like(z), (drawn - 0.4) / 0.9], axis=-1)
        path = DIVERGENCE.linearize(drawn, tangents, y, rng_key=key)
        found.append([(e.value, e.gradient, e.curvature - e.curvature_noise) for e in (weighted, path)])
    weighted, path = ([np.mean([f[i][j] for f in found], axis=0) for j in range(3)] for i in range(2))
    np.testing.assert_allclose(weighted[0], path[0], rtol=0.1)
    np.testing.assert_allclose(weighted[1], path[1], atol=0.03)
    np.testing.assert_allclose(weighted[2], path[2], atol=0.1)


def test_a_constant_score_changes_nothing(eps):
    """Weights count by their ratios."""
    x, y = jax.random.normal(KEY, (40, 3)), jax.random.normal(jax.random.key(1), (23, 3))
    found = DIVERGENCE.linearize(x, no_tangents(x, 1), y, rng_key=KEY, scores=jnp.full((40, 1), 7.0, x.dtype))
    np.testing.assert_allclose(found.gradient, 0, atol=1e3 * eps)
    np.testing.assert_allclose(found.curvature, 0, atol=1e3 * eps)


@pytest.mark.slow
def test_scores_of_a_normal_distribution_give_its_quantile_derivatives():
    """x = mean + spread z: dQ/dmean = 1, dQ/dspread = z, so mean(J J') = diag(1, 1); here by score, and by path.

    By score the largest standard deviation of an entry at M = 20,000 is .05 over keys; the mean of eight is taken.
    """
    curvatures = []
    for key in jax.random.split(KEY, 8):
        z = jax.random.normal(key, (20_000, 1))
        y = jax.random.normal(jax.random.key(1), (4000, 1)) * 1.5 + 0.3
        tangents = jnp.stack([jnp.ones_like(z), z], axis=-1)
        scores = jnp.concatenate([z, z**2 - 1], axis=1)
        by_path = DIVERGENCE.linearize(z, tangents, y, rng_key=key)
        by_score = DIVERGENCE.linearize(z, 0 * tangents, y, rng_key=key, scores=scores)
        np.testing.assert_allclose(by_path.curvature - by_path.curvature_noise, np.eye(2), atol=0.05)
        np.testing.assert_allclose(by_score.gradient, by_path.gradient, atol=0.06)
        curvatures.append(by_score.curvature - by_score.curvature_noise)
    np.testing.assert_allclose(np.mean(curvatures, axis=0), np.eye(2), atol=0.07)
    influences = [
        DIVERGENCE.influence(z, tangents, y, rng_key=key),
        DIVERGENCE.influence(z, 0 * tangents, y, rng_key=key, scores=scores),
    ]
    variances = [np.var(influence, axis=0) for influence in influences]
    np.testing.assert_allclose(variances[1], variances[0], rtol=0.3)  # each scatters by .03 and .08 over keys
    for i in range(2):
        assert np.corrcoef(influences[0][:, i], influences[1][:, i])[0, 1] > 0.98


def test_path_and_score_add_up():
    """One parameter half by path and half by score is a whole one."""
    z = jax.random.normal(KEY, (20_000, 1))
    y = 0.3 + jax.random.normal(jax.random.key(1), (4000, 1))
    found = DIVERGENCE.linearize(z, jnp.full((20_000, 1, 1), 0.5, z.dtype), y, rng_key=KEY, scores=0.5 * z)
    np.testing.assert_allclose(found.curvature - found.curvature_noise, 1, atol=0.04)
    whole = DIVERGENCE.linearize(z, jnp.ones((20_000, 1, 1), z.dtype), y, rng_key=KEY)
    np.testing.assert_allclose(found.gradient, whole.gradient, atol=0.02)


def test_the_curvature_of_scores_without_effect_is_their_noise():
    """Scores that have nothing to do with x: the curvature is all noise, with the spread that num_groups says.

    It counts a little twice, in the first and the last group. 400 clouds: mean and spread have standard errors of 5 %.
    """

    def one(key):
        x_key, score_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (400, 1))
        scores = jax.random.normal(score_key, (400, 1))
        found = DIVERGENCE.linearize(x, no_tangents(x, 1), x, rng_key=KEY, scores=scores)
        return found.curvature[0, 0], found.curvature_noise[0, 0], found.num_groups

    curvature, noise, num_groups = map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(KEY, 400)))
    np.testing.assert_allclose(noise.mean() / curvature.mean(), 1.1, atol=0.25)
    spread = np.std(curvature - noise)
    np.testing.assert_allclose(np.mean(noise * np.sqrt(2 / num_groups)) / spread, 1.1, atol=0.3)
