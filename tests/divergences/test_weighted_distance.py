"""Weighted sliced quantiles: features, their derivatives and influence, and what the weights promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.divergences import SlicedWasserstein, WeightedDistance, WeightedSlicedWasserstein
from numpyro_homog.summaries import Moments, SlicedQuantiles

KEY = jax.random.key(4)


def weigh(pilot, *, ridge=1e-3, **options):
    summary = SlicedQuantiles.of_pilot(pilot, rng_key=KEY, **options)
    return WeightedDistance.from_pilot(pilot, summary, ridge=ridge)


def cloud(num, seed, p=2):
    x = np.random.default_rng([4, seed]).normal(size=(num, p))
    x[:, 0] = np.exp(0.5 * x[:, 0])
    return jnp.asarray(x)


@pytest.fixture(scope="module")
def weighted() -> WeightedDistance:
    return weigh(cloud(4000, 0), num_projections=4, num_bins=8)


@pytest.fixture(scope="module")
def line() -> WeightedDistance:
    """One dimension, four bins."""
    return weigh(cloud(500, 0, 1), num_bins=4)


@pytest.mark.x32
def test_features_are_the_means_of_the_ranks_in_a_bin(line):
    x = cloud(12, 1, 1)
    expected = np.mean(np.sort(np.asarray(x)[:, 0]).reshape(4, 3), axis=1) * np.asarray(line.summary.directions)[0, 0]
    np.testing.assert_allclose(line.summary(x), expected, rtol=1e-5)


@pytest.mark.parametrize("num", [3, 10, 13])
def test_bins_that_cut_a_rank_take_their_share_of_it(line, num, eps):
    x = cloud(num, 1, 1)
    integral = np.concatenate([[0], np.cumsum(np.sort(np.asarray(x)[:, 0]))]) / num
    ends = np.interp(np.linspace(0, 1, 5), np.linspace(0, 1, num + 1), integral)
    direction = np.asarray(line.summary.directions)[0, 0]
    np.testing.assert_allclose(line.summary(x), 4 * np.diff(ends) * direction, rtol=100 * eps)


def test_the_divergence_of_clouds_of_one_law_is_one_over_their_sizes(weighted):
    """D N has K / (1 + small) degrees of freedom, some twenty: the mean of 40 is within 5 %; four of them."""
    values = jax.lax.map(
        lambda key: weighted(
            jax.random.normal(key, (400, 2)).at[:, 0].apply(lambda z: jnp.exp(0.5 * z)),
            jax.random.normal(jax.random.fold_in(key, 1), (100, 2)).at[:, 0].apply(lambda z: jnp.exp(0.5 * z)),
            rng_key=KEY,
        ),
        jax.random.split(KEY, 40),
    )
    np.testing.assert_allclose(jnp.mean(values), 1 / 400 + 1 / 100, rtol=0.2)
    assert 8 < weighted.num_effective < 32


@pytest.mark.slow
def test_units_of_the_components_do_not_matter():
    units, pilot = jnp.array([[1e3, 1e-2]]), cloud(2000, 0)
    plain, scaled = (weigh(points, num_projections=4, num_bins=8) for points in (pilot, pilot * units))
    x, y = cloud(60, 1), cloud(50, 2)
    np.testing.assert_allclose(scaled(x * units, y * units, rng_key=KEY), plain(x, y, rng_key=KEY), rtol=1e-6)


@pytest.mark.slow
def test_the_linearization_is_the_derivative(weighted, eps):
    x, y, tangents = cloud(61, 1), cloud(50, 2), jax.random.normal(KEY, (61, 2, 3))
    found = weighted.linearize(x, tangents, y, rng_key=KEY)

    def residuals(step):
        return weighted.residuals(x + tangents @ step, y, rng_key=KEY)

    r, jacobian = residuals(jnp.zeros(3)), jax.jacfwd(residuals)(jnp.zeros(3))
    np.testing.assert_allclose(found.value, weighted(x, y, rng_key=KEY), rtol=1000 * eps)
    np.testing.assert_allclose(found.value, jnp.mean(r**2), rtol=1000 * eps)
    np.testing.assert_allclose(found.gradient, jnp.mean(r[:, None] * jacobian, axis=0), rtol=1000 * eps)
    np.testing.assert_allclose(found.curvature, jacobian.T @ jacobian / len(r), rtol=1000 * eps)


@pytest.mark.slow
def test_tangents_that_are_noise_have_no_curvature_on_average(weighted):
    """The difference of curvature and noise is unbiased: 60 clouds, four standard errors, three entries."""

    def look(key):
        x = jax.random.normal(key, (160, 2))
        tangents = jax.random.normal(jax.random.fold_in(key, 1), (160, 2, 1))
        found = weighted.linearize(x, tangents, x, rng_key=KEY)
        return (found.curvature - found.curvature_noise)[0, 0], found.curvature[0, 0]

    smooth, raw = jax.lax.map(look, jax.random.split(KEY, 60))
    error = jnp.std(smooth) / jnp.sqrt(60.0)
    assert abs(jnp.mean(smooth)) < 4 * error
    assert error < 0.1 * jnp.mean(raw), "or the bound would say nothing"


@pytest.mark.slow
def test_a_point_that_is_left_out_moves_the_features_by_its_influence(weighted, eps):
    """Jackknife: f(all) - f(without i) = influence_i / (N - 1), up to the next order."""
    x = cloud(400, 3)
    influence = weighted.summary.influence(x, x)
    for i in (0, 17, 200):
        moved = (weighted.summary(x) - weighted.summary(jnp.delete(x, i, axis=0))) * 399
        np.testing.assert_allclose(moved, influence[i], atol=0.05 * jnp.abs(influence).max())
    np.testing.assert_allclose(jnp.mean(influence, axis=0), 0, atol=1000 * eps)


@pytest.mark.slow
def test_the_influence_on_the_gradient_is_that_of_the_features(weighted):
    # A large ridge: the next order of the jackknife is not blown up by the weights.
    heavy = WeightedDistance(weighted.summary, weighted.eigenvalues, weighted.eigenvectors, 10.0)
    x, y, tangents = cloud(200, 1), cloud(300, 2), jax.random.normal(KEY, (200, 2, 2))
    influence = heavy.influence(x, tangents, y, rng_key=KEY)
    jacobian = heavy.whiten(heavy.summary.jacobian(x, tangents))
    for i in (0, 17, 200):
        moved = heavy.whiten(heavy.summary(y) - heavy.summary(jnp.delete(y, i, axis=0)))
        np.testing.assert_allclose(299 * moved @ jacobian, influence[i], atol=0.1 * jnp.abs(influence).max())


@pytest.mark.slow
def test_scores_and_paths_agree_about_a_shift():
    """A normal law is moved by its points or by their weights, whose score is x: the same Jacobian on average.

    Of 20,000 points: the score's standard error is 1.4 / sqrt(20000) = 1 % in the middle bins, 3 % in the outer ones.
    """
    x = jax.random.normal(KEY, (20_000, 1))
    line = weigh(x, num_bins=4)
    path = line.summary.jacobian(x, jnp.ones((20_000, 1, 1)))
    score = line.summary.jacobian(x, jnp.zeros((20_000, 1, 1)), x)
    np.testing.assert_allclose(score, path, rtol=0.1)


@pytest.mark.slow
def test_what_is_known_precisely_counts_more():
    """Of points with a long tail: weights see a shift of the bulk that plain quantiles drown in the tail's noise."""

    def heavy(num, seed, shift=0.0):
        return jax.random.t(jax.random.fold_in(KEY, seed), 2.2, (num, 1)) + shift

    weighted = weigh(heavy(20_000, 0))
    ratios = []
    for divergence in (weighted, SlicedWasserstein()):
        null = [divergence(heavy(300, 2 * i + 1), heavy(300, 2 * i + 2), rng_key=KEY) for i in range(8)]
        moved = [divergence(heavy(300, 2 * i + 1, 0.5), heavy(300, 2 * i + 2), rng_key=KEY) for i in range(8)]
        ratios.append(np.mean(moved) / np.mean(null))
    assert ratios[0] > 2 * ratios[1], ratios


@pytest.mark.parametrize(
    ("pilot", "options", "problem"),
    [
        (np.ones(5), {}, "cloud"),
        (np.ones((500, 2)), {}, "no spread"),
        (np.full((500, 2), np.nan), {}, "not finite"),
        (cloud(100, 0), {}, "for 320 features"),
        (cloud(100, 0), {"num_bins": 1}, "num_bins"),
        (cloud(100, 0), {"num_projections": 2, "num_bins": 4, "ridge": 0.0}, "ridge"),
    ],
)
def test_bad_pilots_are_refused(pilot, options, problem):
    with pytest.raises(ValueError, match=problem):
        weigh(jnp.asarray(pilot), **options)


def test_clouds_of_another_kind_are_refused(weighted):
    with pytest.raises(ValueError, match="pilot had 2"):
        weighted(cloud(10, 0, 3), cloud(10, 1, 3), rng_key=KEY)
    with pytest.raises(ValueError, match="shape"):
        weighted(jnp.ones(4), jnp.ones(4), rng_key=KEY)


def test_the_old_name_says_what_to_write_and_gives_the_same():
    with pytest.warns(DeprecationWarning, match="SlicedQuantiles"):
        old = WeightedSlicedWasserstein.from_pilot(cloud(500, 0), rng_key=KEY, num_projections=2, num_bins=4)
    np.testing.assert_array_equal(old.eigenvalues, weigh(cloud(500, 0), num_projections=2, num_bins=4).eigenvalues)


@pytest.mark.x32
def test_moments_of_points_and_their_derivatives(eps):
    """Against NumPy, differences, and leaving points out."""
    summary, x = Moments(), cloud(200, 0)
    expected = np.concatenate([np.mean(x, axis=0), np.cov(x, rowvar=False, bias=True)[np.triu_indices(2)]])
    np.testing.assert_allclose(summary(x), expected, rtol=1000 * eps)
    tangents = jax.random.normal(KEY, (200, 2, 3))
    found = summary.jacobian(x, tangents)
    expected = jax.jit(jax.jacfwd(lambda s: summary(x + tangents @ s)))(jnp.zeros(3))
    np.testing.assert_allclose(found, expected, rtol=1000 * eps)
    influence = np.asarray(summary.influence(x, x))
    np.testing.assert_allclose(np.mean(influence, axis=0), 0, atol=1000 * eps)
    for i in (0, 17):
        left = jnp.asarray(np.delete(np.asarray(x), i, axis=0))
        moved = (np.asarray(summary(x)) - np.asarray(summary(left))) * 199
        np.testing.assert_allclose(moved, influence[i], atol=0.05 * np.abs(influence).max())


def test_weighted_moments_of_a_normal_law_are_the_chi_square_of_its_mean_and_spread():
    """D = 1/N + 1/M on average for two clouds of one law: F = 5 and 200 pairs, four standard errors."""
    pilot = jax.random.normal(KEY, (20_000, 2))
    weighted = WeightedDistance.from_pilot(pilot, Moments(), ridge=1e-6)
    keys = jax.random.split(KEY, 200)
    pairs = jax.vmap(lambda key: jax.random.normal(key, (2, 500, 2)))(keys)
    values = jax.lax.map(lambda pair: weighted(pair[0], pair[1], rng_key=KEY), pairs)
    np.testing.assert_allclose(jnp.mean(values), 2 / 500, rtol=4 * np.sqrt(2 / 5 / 200))
