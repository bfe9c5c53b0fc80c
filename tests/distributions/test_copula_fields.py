"""GaussianCopulaField and DirichletCopulaField: marginals, tails, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import AffineTransform, PowerTransform
from scipy import special, stats

import numpyro_homog as nh

KEY = jax.random.key(0)
BOX = nh.NeumannMatern((1.0, 1.0), 5.0, 3.0, num_modes=6)
FIELD = nh.GaussianField(jnp.array([[0.0, 0.0], [0.05, 0.0], [0.5, 0.5]]), BOX)  # the corner: four times the variance

MARGINALS = {
    "normal": (dist.Normal(1.0, 2.0), stats.norm(1, 2)),
    "lognormal": (dist.LogNormal(0.5, 0.3), stats.lognorm(0.3, scale=np.exp(0.5))),
    "uniform": (dist.Uniform(2.0, 5.0), stats.uniform(2, 3)),
    "exponential": (dist.Exponential(2.0), stats.expon(scale=0.5)),
    "gamma": (dist.Gamma(0.3, 2.0), stats.gamma(0.3, scale=0.5)),
    "inverse_gamma": (dist.InverseGamma(3.0, 2.0), stats.invgamma(3.0, scale=2.0)),
    "reflected": (dist.TransformedDistribution(dist.Exponential(2.0), AffineTransform(0.0, -1.0)), None),
    "expanded": (dist.Exponential(2.0).expand([]), stats.expon(scale=0.5)),
    "logistic": (dist.Logistic(1.0, 2.0), stats.logistic(1, 2)),
    "half_normal": (dist.HalfNormal(2.0), stats.halfnorm(scale=2)),
    "truncated": (dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0), stats.truncnorm(-1, 2)),
}


def quantile_at_score(marginal, scores):
    field = nh.GaussianField(jnp.zeros((scores.size, 2)), BOX)
    return nh.GaussianCopulaField(marginal, field).transforms[-1](scores)


CLOSED = ("normal", "lognormal", "uniform", "exponential", "gamma", "inverse_gamma", "expanded")


@pytest.mark.parametrize("name", MARGINALS)
def test_the_marginal_is_the_one_given(name):
    """Kolmogorov-Smirnov at 1e-3, at the corner and inside."""
    marginal, law = MARGINALS[name]
    field = nh.GaussianCopulaField(marginal, FIELD)
    values = np.asarray(field.sample(KEY, (2000,)))
    assert bool(jnp.all(field.support(values)))
    if law is None:
        law, values = stats.expon(scale=0.5), -values
    for point in (0, 2):
        assert stats.kstest(values[:, point], law.cdf).pvalue > 1e-3
    ranks = stats.spearmanr(values[:, 0], values[:, 1]).statistic
    assert ranks > 0.8, "neighbours are correlated"


@pytest.mark.x32
@pytest.mark.parametrize("name", CLOSED)
def test_nothing_is_lost_in_the_tails(name, x64):
    """Beyond 1 - Phi = 1e-9, which 32 bits cannot tell from zero."""
    marginal, law = MARGINALS[name]
    scores = np.array([-6.0, -3.0, 3.0, 6.0])
    expected = np.where(scores < 0, law.ppf(special.ndtr(scores)), law.isf(special.ndtr(-scores)))
    result = quantile_at_score(marginal, jnp.asarray(scores))
    np.testing.assert_allclose(result, expected, rtol=1e-9 if x64 else 2e-4)


@pytest.mark.x32
def test_the_tails_of_other_marginals_stay_finite():
    values = quantile_at_score(dist.Logistic(), jnp.array([-40.0, 40.0]))
    assert np.isfinite(values).all()
    assert values[0] < 0 < values[1]


@pytest.mark.x64_only
@pytest.mark.parametrize(
    "make",
    [
        lambda p: dist.LogNormal(p[0], p[1]),
        lambda p: dist.Gamma(p[0], p[1]),
        lambda p: dist.Uniform(p[0], p[0] + p[1]),
        lambda p: dist.Logistic(p[0], p[1]),
        lambda p: dist.TransformedDistribution(dist.Gamma(p[0], p[1]), PowerTransform(-0.5)),
    ],
)
def test_marginal_parameters_have_the_derivatives_of_differences(make):
    @jax.jit
    @jax.value_and_grad
    def of(p):
        return jnp.sum(nh.GaussianCopulaField(make(p), FIELD).sample(KEY) * jnp.array([1.0, -2.0, 3.0]))

    p = jnp.array([0.7, 1.3])
    _, gradient = of(p)
    for i, direction in enumerate(jnp.eye(2)):
        difference = (of(p + 1e-5 * direction)[0] - of(p - 1e-5 * direction)[0]) / 2e-5
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-6, atol=1e-9)


def test_marginals_and_fields_broadcast_their_batches():
    batch = nh.NeumannMatern((1.0, 1.0), jnp.array([4.0, 5.0]), 3.0, num_modes=4)
    law = nh.GaussianCopulaField(
        dist.Normal(jnp.array([[0.0], [10.0], [20.0]]), 1.0), nh.GaussianField(nh.Grid((3, 4)), batch)
    )
    assert law.batch_shape == (3, 2)
    assert law.event_shape == (3, 4)
    values = law.sample(KEY, (50,))
    np.testing.assert_allclose(values.mean((0, 2, 3, 4)), [0.0, 10.0, 20.0], atol=1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nh.GaussianCopulaField(dist.Poisson(1.0), FIELD), "Poisson is discrete"),
        (lambda: nh.GaussianCopulaField(dist.Beta(1.0, 2.0), FIELD), "Beta has none"),
        (lambda: nh.GaussianCopulaField(dist.VonMises(0.0, 2.0), FIELD), "VonMises has none"),
        (lambda: nh.GaussianCopulaField(dist.Dirichlet(jnp.ones(3)), FIELD), "DirichletCopulaField"),
        (lambda: nh.GaussianCopulaField(nh.GaussianField(jnp.zeros(2), BOX), FIELD), "GaussianField has none"),
        (lambda: nh.DirichletCopulaField(jnp.array([1.0, 0.0]), FIELD), "concentration must be positive"),
        (lambda: nh.DirichletCopulaField(jnp.array([1.0]), FIELD), "J >= 2"),
        (lambda: nh.DirichletCopulaField(1.0, FIELD), "J >= 2"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.x32
@pytest.mark.parametrize("alpha", [(0.05, 0.1), (0.3, 1.0, 4.0), (20.0, 50.0, 100.0)])
def test_dirichlet_components_are_beta_at_every_point(alpha):
    """Kolmogorov-Smirnov at 1e-3 below 0.99, as above it many small concentrations are one but for rounding."""
    alpha = np.asarray(alpha)
    phases = np.asarray(nh.DirichletCopulaField(alpha, FIELD).sample(KEY, (2000,)), np.float64)
    np.testing.assert_allclose(phases.sum(-1), 1.0, atol=1e-6)
    for point in (0, 2):
        j = int(np.argmin(alpha))
        law = stats.beta(alpha[j], alpha.sum() - alpha[j])
        values = phases[:, point, j]
        below = values[values < 0.99]
        assert stats.kstest(below, lambda x, law=law: law.cdf(x) / law.cdf(0.99)).pvalue > 1e-3
        assert stats.binomtest(below.size, values.size, law.cdf(0.99)).pvalue > 1e-3
    assert stats.spearmanr(phases[:, 0, 0], phases[:, 1, 0]).statistic > 0.8
    covariance = np.cov(phases[:, 2].T)
    mean = alpha / alpha.sum()
    expected = (np.diag(mean) - np.outer(mean, mean)) / (alpha.sum() + 1)
    # About ten standard errors of a variance from 2000 draws; copies of the field are independent.
    np.testing.assert_allclose(covariance, expected, atol=0.2 * expected.max())


@pytest.mark.x32
def test_small_concentrations_leave_finite_derivatives(x64):
    alpha = jnp.array([0.05, 0.05, 0.06])

    def total(alpha):
        return jnp.sum(nh.DirichletCopulaField(alpha, FIELD).sample(KEY, (200,)) ** 2)

    value, gradient = jax.jit(jax.value_and_grad(total))(alpha)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert jnp.count_nonzero(gradient) == 3


@pytest.mark.slow
@pytest.mark.x64_only
def test_dirichlet_parameters_have_the_derivatives_of_differences():
    points = jnp.array([[0.1, 0.2], [0.8, 0.9]])

    @jax.jit
    def of(p):
        covariance = nh.NeumannMatern((1.0, 1.0), 5 * p[0], 3 * p[1], num_modes=4)
        law = nh.DirichletCopulaField(p[2:], nh.GaussianField(points, covariance))
        return jnp.sum(law.sample(KEY) * jnp.arange(6.0).reshape(2, 3))

    p = jnp.array([1.0, 1.0, 0.1, 0.8, 3.0])
    gradient = jax.jit(jax.grad(of))(p)
    for i, direction in enumerate(jnp.eye(5)):
        difference = (of(p + 1e-5 * direction) - of(p - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-6, atol=1e-9)


def test_dirichlet_batches_broadcast():
    batch = nh.NeumannMatern((1.0, 1.0), jnp.array([4.0, 5.0]), 3.0, num_modes=4)
    alpha = jnp.array([[[1.0, 9.0]], [[9.0, 1.0]], [[5.0, 5.0]]])
    law = nh.DirichletCopulaField(alpha, nh.GaussianField(nh.Grid((3, 4)), batch))
    assert law.batch_shape == (3, 2)
    assert law.event_shape == (3, 4, 2)
    mean = law.sample(KEY, (50,)).mean((0, 2, 3, 4))
    np.testing.assert_allclose(mean, [[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]], atol=0.05)
