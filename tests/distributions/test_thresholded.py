"""ThresholdedGaussianField: fractions, sharp and smooth, and what the temperature costs."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import numpyro_homog as nh
from numpyro_homog.population import Simulator

KEY = jax.random.key(0)
TORUS = nh.PeriodicSquaredExponential((1.0, 1.0), 0.1, num_modes=8)
BOX = nh.NeumannMatern((1.0, 1.0), 20.0, 3.0, num_modes=16)
FRACTIONS = jnp.array([0.2, 0.5, 0.3])


@pytest.mark.x32
@pytest.mark.parametrize("temperature", [None, 0.5])
@pytest.mark.parametrize("covariance", [TORUS, BOX], ids=["torus", "box"])
def test_the_mean_fractions_are_those_given_at_any_temperature(covariance, temperature):
    """At four standard errors of six means: fails by chance once in 2600 keys."""
    law = nh.ThresholdedGaussianField(nh.Grid((8, 8)), covariance, FRACTIONS, temperature=temperature)
    phases = law.sample(KEY, (400,))
    np.testing.assert_allclose(phases.sum(-1), 1.0, rtol=1e-5)
    assert bool(jnp.all(phases >= 0))
    for voxels in (phases.mean((1, 2)), phases[:, 0, 0]):  # the corner too
        errors = (voxels.mean(0) - FRACTIONS) / (voxels.std(0) / 20)
        assert jnp.abs(errors).max() < 4


@pytest.mark.x32
def test_sharp_phases_are_one_hot_and_ordered():
    field = nh.GaussianField(nh.Grid((16, 16)), TORUS).sample(KEY)
    labels = nh.ThresholdedGaussianField(nh.Grid((16, 16)), TORUS, FRACTIONS).sample(KEY).argmax(-1)
    expected = (field >= -0.8416212).astype(int) + (field >= 0.5244005)
    np.testing.assert_array_equal(labels, expected)
    assert (np.abs(np.diff(labels, axis=0)) <= 2).all()


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_variance_of_a_smoothed_half_is_the_one_announced(temperature):
    """E[Phi(u/T)^2] - 1/4, by the orthant probability of two normals; at four standard errors."""
    law = nh.ThresholdedGaussianField(jnp.zeros(2), TORUS, jnp.array([0.5, 0.5]), temperature=temperature)
    squares = (law.sample(KEY, (4000,))[:, 0] - 0.5) ** 2
    announced = np.arcsin(1 / (1 + temperature**2)) / (2 * np.pi)
    assert abs(squares.mean() - announced) < 4 * squares.std() / np.sqrt(4000)


@pytest.mark.slow
def test_the_bias_of_a_temperature_in_the_effective_conductivity():
    """Contrast 10, halves, one noise: what benchmarks/bench_fields.py reports."""
    grid = nh.Grid((32, 32))
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic())
    covariance = nh.PeriodicSquaredExponential(grid.lengths, 0.1, num_modes=12)

    def mean_conductivity(temperature):
        law = nh.ThresholdedGaussianField(grid, covariance, jnp.array([0.5, 0.5]), temperature=temperature)
        field = nh.mix(law.sample(KEY, (100,)), jnp.array([1.0, 10.0]), grid=grid)
        tensors = nh.effective_tensor(cell, field)
        return float((tensors[:, 0, 0] + tensors[:, 1, 1]).mean() / 2)

    sharp = mean_conductivity(None)
    bias = {t: mean_conductivity(t) / sharp - 1 for t in (0.02, 0.05, 0.1, 0.2, 0.5)}
    for t, expected in {0.02: -0.0002, 0.05: -0.0005, 0.1: -0.0019, 0.2: -0.0062, 0.5: -0.0202}.items():
        assert bias[t] == pytest.approx(expected, abs=0.002), bias


@pytest.mark.slow
@pytest.mark.x64_only
def test_smooth_phases_have_the_derivatives_of_differences():
    @jax.jit
    def of(p):
        covariance = nh.PeriodicMatern((1.0, 1.0), 0.2 * p[0], 1.5 * p[1], num_modes=3)
        fractions = p[3:] / p[3:].sum()
        law = nh.ThresholdedGaussianField(nh.Grid((3, 3)), covariance, fractions, temperature=0.3 * p[2])
        return jnp.sum(law.sample(KEY) * jax.random.normal(KEY, (3, 3, 3)))

    p = jnp.array([1.0, 1.0, 1.0, 0.2, 0.5, 0.3])
    gradient = jax.jit(jax.grad(of))(p)
    for i, direction in enumerate(jnp.eye(6)):
        difference = (of(p + 1e-5 * direction) - of(p - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(gradient[i], difference, rtol=1e-6, atol=1e-9)


@pytest.mark.x32
@pytest.mark.parametrize("temperature", [None, 0.1])
def test_an_absent_phase_is_absent(temperature):
    def phases(fractions):
        return nh.ThresholdedGaussianField(nh.Grid((8, 8)), TORUS, fractions, temperature=temperature).sample(KEY, (9,))

    slope = jax.jit(jax.jacfwd(lambda f: phases(f).mean((0, 1, 2))))
    for fractions in ([0.0, 0.4, 0.6], [0.4, 0.0, 0.6], [0.4, 0.6, 0.0]):
        fractions = jnp.array(fractions)
        np.testing.assert_allclose(phases(fractions)[..., fractions == 0], 0, atol=1e-6)
        assert np.isfinite(slope(fractions)).all()


@pytest.mark.parametrize(("temperature", "broken"), [(None, {"phases": ("fraction", "length")}), (0.1, {})])
def test_what_acts_through_sharp_thresholds_has_no_derivative_and_a_simulator_says_so(temperature, broken):
    def model(num_specimens):
        length = numpyro.sample("length", dist.LogNormal(-2.0, 0.3))
        fraction = numpyro.sample("fraction", dist.Uniform(0.2, 0.8))
        covariance = nh.PeriodicMatern((1.0, 1.0), length, 1.5, num_modes=3)
        fractions = jnp.stack([fraction, 1 - fraction])
        law = nh.ThresholdedGaussianField(nh.Grid((4, 4)), covariance, fractions, temperature=temperature)
        with numpyro.plate("specimens", num_specimens):
            numpyro.deterministic("means", numpyro.sample("phases", law).mean((-3, -2)))

    assert Simulator(model, ["means"], (4,)).non_reparametrized == broken


def test_batches_of_fractions_and_temperatures_broadcast():
    fractions = jnp.array([[0.1, 0.9], [0.9, 0.1]])[:, None]
    law = nh.ThresholdedGaussianField(nh.Grid((3, 4)), TORUS, fractions, temperature=jnp.array([0.05, 0.1, 0.2]))
    assert law.batch_shape == (2, 3)
    assert law.event_shape == (3, 4, 2)
    mean = law.sample(KEY, (200,)).mean((0, 2, 3, 4))
    np.testing.assert_allclose(mean, [[0.1, 0.9], [0.9, 0.1]], atol=0.05)


@pytest.mark.parametrize("d", [1, 3])
def test_other_dimensions(d):
    grid = nh.Grid((4, 5, 6)[:d])
    covariance = nh.PeriodicMatern(grid.lengths, 0.2, 1.5, num_modes=3)
    phases = nh.ThresholdedGaussianField(grid, covariance, FRACTIONS).sample(KEY)
    assert phases.shape == (*grid.shape, 3)
    np.testing.assert_array_equal(phases.sum(-1), 1)


@pytest.mark.parametrize(
    ("fractions", "temperature", "words"),
    [
        ([0.5, 0.6], None, "sum one"),
        ([-0.5, 1.5], None, "not negative"),
        ([1.0], None, "J >= 2"),
        (0.5, None, "J >= 2"),
        ([0.5, 0.5], 0.0, "temperature must be positive"),
        ([jnp.nan, 0.5], None, "not negative"),
    ],
)
def test_bad_input_is_refused(fractions, temperature, words):
    with pytest.raises(ValueError, match=words):
        nh.ThresholdedGaussianField(nh.Grid((4, 4)), TORUS, jnp.array(fractions), temperature=temperature)
