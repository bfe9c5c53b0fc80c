"""UniformSimplex: moments, density, derivatives, and what measurements cannot tell."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.distributions import biject_to
from numpyro.infer.util import initialize_model
from scipy import stats

from numpyro_homog.distributions import UniformSimplex

KEY = jax.random.key(0)
LOW, HIGH = 0.1, jnp.array([0.3, 0.5])


@pytest.mark.slow
def test_shapes_and_broadcasting():
    law = UniformSimplex(jnp.full((4, 1), 0.1), jnp.full((5, 2), 0.4))
    assert law.batch_shape == (4, 5)
    assert law.event_shape == (3,)
    assert law.low.shape == (4, 5)
    assert law.high.shape == (4, 5, 2)
    sample = law.sample(KEY, (6,))
    assert sample.shape == (6, 4, 5, 3)
    assert law.log_prob(sample).shape == (6, 4, 5)
    assert law.mean.shape == law.variance.shape == (4, 5, 3)
    assert law.expand((2, 4, 5)).sample(KEY).shape == (2, 4, 5, 3)
    assert not law.has_enumerate_support
    assert law.has_rsample


@pytest.mark.x32
def test_samples_are_uniform_and_belong_to_the_support():
    law = UniformSimplex(LOW, HIGH)
    x = np.asarray(law.sample(KEY, (4000,)))
    assert bool(jnp.all(law.support(x)))
    np.testing.assert_allclose(x.sum(-1), 1, atol=1e-6)
    for j in range(2):
        width = float(HIGH[j]) - LOW
        assert stats.kstest(x[:, j], stats.uniform(LOW, width).cdf).pvalue > 1e-4  # false alarms: 2 in 10,000
    assert abs(np.corrcoef(x[:, :2].T)[0, 1]) < 4 / np.sqrt(4000)
    error = x.std(0) / np.sqrt(4000)
    assert np.all(np.abs(x.mean(0) - law.mean) < 4 * error)
    np.testing.assert_allclose(x.var(0), law.variance, rtol=0.1)  # relative standard error .02


def test_two_phases_are_one_uniform():
    law = UniformSimplex(jnp.zeros(()), jnp.array([1.0]))
    x = law.sample(KEY, (10,))
    np.testing.assert_allclose(x[:, 1], 1 - x[:, 0], atol=1e-7)
    np.testing.assert_allclose(law.log_prob(x), 0, atol=1e-7)


@pytest.mark.filterwarnings("ignore:Out-of-support")
def test_density_is_normalised_and_zero_outside():
    law = UniformSimplex(LOW, HIGH)
    n = 400
    axis = (jnp.arange(n) + 0.5) / n
    a, b = jnp.meshgrid(axis, axis, indexing="ij")
    density = jnp.exp(law.log_prob(jnp.stack([a, b, 1 - a - b], axis=-1)))
    assert float(density.sum()) / n**2 == pytest.approx(1, abs=1e-6)  # the box is a union of squares
    assert float(law.log_prob(jnp.array([0.05, 0.4, 0.55]))) == -np.inf
    assert float(law.log_prob(jnp.array([0.2, 0.4, 0.5]))) == -np.inf
    assert float(law.entropy()) == pytest.approx(-float(law.log_prob(law.mean)))


@pytest.mark.x32
def test_the_bijection_to_the_support_counts_the_volume():
    law = UniformSimplex(LOW, HIGH)
    to_support = biject_to(law.support)
    x = jnp.array([0.3, -1.2])
    y = to_support(x)
    assert bool(law.support(y))
    np.testing.assert_allclose(to_support.inv(y), x, rtol=1e-4)
    jacobian = jax.jacfwd(lambda v: to_support(v)[:-1])(x)
    expected = jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(to_support.log_abs_det_jacobian(x, y), expected, rtol=1e-4)


@pytest.mark.slow
def test_a_latent_site_can_be_inferred():
    def model():
        low = numpyro.sample("low", numpyro.distributions.Uniform(0.0, 0.2))
        numpyro.sample("phi", UniformSimplex(low, HIGH))

    info = initialize_model(KEY, model)
    energy, gradient = jax.value_and_grad(info.potential_fn)(info.param_info.z)
    assert np.isfinite(energy)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert info.param_info.z["phi"].shape == (2,)


@pytest.mark.slow
@pytest.mark.x64_only
def test_derivatives_agree_with_differences():
    direction = jnp.array([0.7, -0.4])
    value = UniformSimplex(LOW, HIGH).mean

    def sample(t):
        return UniformSimplex(LOW + t, HIGH + t * direction).rsample(KEY, (7,))

    def density(t):
        return UniformSimplex(LOW + t, HIGH + t * direction).log_prob(value)

    step = 1e-5
    for f in (sample, density):
        np.testing.assert_allclose(jax.jacfwd(f)(0.0), (f(step) - f(-step)) / (2 * step), rtol=1e-7, atol=1e-9)


def test_unordered_widths_give_one_law_of_effective_conductivities():
    # c = (3, 2, 1): 2 phi_1 + phi_2 has widths {.4, .2} and centre .6 for both, so 1 / kbar = 1 + 2 phi_1 + phi_2 has
    # the same characteristic function, though the parameters are far apart.
    c = np.array([3.0, 2.0, 1.0])
    laws = [UniformSimplex(0.1, jnp.array(b)) for b in ([0.3, 0.3], [0.2, 0.5])]
    t = np.linspace(0.1, 60, 200)

    def characteristic(law):
        low, high = float(law.low), np.asarray(law.high)
        ends = [(c[j] - c[2]) * np.array([low, high[j]]) for j in range(2)]
        parts = [(np.exp(1j * t * b) - np.exp(1j * t * a)) / (1j * t * (b - a)) for a, b in ends]
        return np.exp(1j * t * c[2]) * parts[0] * parts[1]

    np.testing.assert_allclose(characteristic(laws[0]), characteristic(laws[1]), atol=1e-6)
    resistances = [
        np.asarray(law.sample(key, (4000,))) @ c for law, key in zip(laws, jax.random.split(KEY), strict=True)
    ]
    assert stats.ks_2samp(*resistances).pvalue > 1e-4  # false alarms: 1 in 10,000
    assert abs(laws[0].mean - laws[1].mean).max() > 0.09
    ordered = UniformSimplex(0.1, jnp.array([0.3, 0.5])).sample(KEY, (4000,)) @ c
    assert stats.ks_2samp(resistances[0], np.asarray(ordered)).pvalue < 1e-10


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (-0.1, [0.3, 0.3], "low must be non-negative"),
        (0.1, [0.3, 0.1], "greater than low"),
        (0.1, [0.6, 0.5], "at most one"),
        (0.1, 0.5, "last axis"),
        (0.1, [], "J >= 2"),
        ([0.1, 0.1, 0.1], [[0.3], [0.3]], "one for all phases"),
    ],
)
def test_bad_arguments_are_refused(low, high, message):
    with pytest.raises(ValueError, match=message):
        UniformSimplex(jnp.array(low), jnp.array(high), validate_args=True)


def test_traced_arguments_are_not_checked_and_dtypes_follow(x64):
    assert jax.jit(lambda a: UniformSimplex(a, HIGH, validate_args=True).mean)(-0.1).shape == (3,)
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        assert UniformSimplex(jnp.asarray(LOW, dtype), HIGH.astype(dtype)).sample(KEY).dtype == dtype


def test_supports_of_traced_laws_can_be_compared():
    """NumPyro compares constraints with `==`, which must be a bool while their bounds are traced."""

    def compare(high):
        first, second = UniformSimplex(LOW, high).support, UniformSimplex(LOW, 2 * high).support
        assert first == first
        assert (first == second) is False
        return high

    jax.eval_shape(compare, HIGH)
