"""Clouds moved from one position to another without a simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from numpyro_homog.infer import MinimumDistance
from numpyro_homog.population import Simulator, extrapolate

KEY = jax.random.key(0)
LOGS = dist.Normal(0.0, 0.7).expand([2]).to_event(1)
PRIORS = {
    "each for itself": dist.LogNormal(0.0, 0.7).expand([2]).to_event(1),
    "in order": dist.TransformedDistribution(LOGS, [OrderedTransform(), ExpTransform()]),
}


def problem_of(model, events):
    data = {key: jax.random.uniform(KEY, (50, *event)) for key, event in events.items()}
    return MinimumDistance(model, data, nh.SlicedWasserstein(4)).problem(40)


def moved(problem, begin, end):
    """Cloud and tangents extrapolated, and simulated, at `end`."""
    vectors = [problem.simulator.parameters.to_vector(jax.tree.map(jnp.asarray, params)) for params in (begin, end)]
    base, there = (problem.simulate(np.asarray(vector), KEY, 40)[0] for vector in vectors)
    return extrapolate(problem.parameters, vectors[1], vectors[0], base), (there.points, there.tangents)


@pytest.mark.x64_only
@pytest.mark.parametrize("prior", ["in order", pytest.param("each for itself", marks=pytest.mark.slow)])
def test_power_laws_of_positive_parameters_and_lines_in_others_are_exact(prior):
    def model(num_specimens):
        kappa = numpyro.sample("kappa", PRIORS[prior])
        shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            numpyro.deterministic("power", kappa[0] ** share * kappa[1] ** (1 - share))
            numpyro.deterministic("line", z * (1 + shift))

    problem = problem_of(model, {"power": (), "line": ()})
    begin, end = {"kappa": [1.0, 5.0], "shift": 0.2}, {"kappa": [0.3, 20.0], "shift": -0.7}
    found, expected = moved(problem, begin, end)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.x64_only
def test_what_scales_is_scaled_exactly_and_the_rest_has_errors_of_second_order():
    """Laminates: one component is the arithmetic mean, the other the inverse of the harmonic one."""

    def model(num_specimens):
        kappa = numpyro.sample("kappa", PRIORS["each for itself"])
        with numpyro.plate("specimens", num_specimens):
            share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
            numpyro.deterministic("mean", share * kappa[0] + (1 - share) * kappa[1])
            numpyro.deterministic("dual", share / kappa[0] + (1 - share) / kappa[1])

    problem = problem_of(model, {"mean": (), "dual": ()})
    begin = {"kappa": np.array([1.0, 5.0])}
    (cloud, tangents), (there, slopes) = moved(problem, begin, {"kappa": 3 * begin["kappa"]})
    np.testing.assert_allclose(cloud, there, rtol=1e-10)
    np.testing.assert_allclose(tangents, slopes, rtol=1e-8)
    steps = [{"kappa": begin["kappa"] * np.array([1 + h, 1 / (1 + h)])} for h in (0.02, 0.01)]
    errors = []
    for step in steps:
        (cloud, _), (there, _) = moved(problem, begin, step)
        errors.append(np.max(np.abs(np.log(cloud / there))))
    assert 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.slow
@pytest.mark.x64_only
def test_what_is_small_by_chance_stays_finite_and_its_tangent_is_that_of_the_cloud():
    """y = z + shift with z down to 1e-6: no power law."""

    def model(num_specimens):
        shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.LogUniform(1e-6, 1.0))
            numpyro.deterministic("y", z + shift)

    problem = problem_of(model, {"y": ()})
    base = problem.simulate(np.zeros(1), KEY, 40)[0]
    scale = float(base.tangents.max())
    cloud, tangents = (
        np.asarray(part) for part in extrapolate(problem.parameters, jnp.full(1, 0.1), jnp.zeros(1), base)
    )
    assert (cloud > 0).all()
    assert cloud.max() < 10 * scale
    ends = [extrapolate(problem.parameters, jnp.full(1, 0.1 + h), jnp.zeros(1), base)[0] for h in (1e-7, -1e-7)]
    np.testing.assert_allclose((ends[0] - ends[1]) / 2e-7, tangents[..., 0], rtol=1e-5)


# Made by the test: a law computes when it is made.
@pytest.mark.parametrize(
    ("make", "is_positive"),
    [
        (lambda: dist.LogNormal(0.0, 1.0), True),
        (lambda: dist.Uniform(0.0, 1.0), True),
        (lambda: dist.Uniform(-1.0, 1.0), False),
        (lambda: dist.Normal(5.0, 1.0), False),
        (lambda: dist.Dirichlet(jnp.ones(2)), True),
        (lambda: PRIORS["in order"], True),
        (lambda: dist.TransformedDistribution(LOGS, [OrderedTransform()]), False),
        (lambda: dist.TruncatedNormal(0.0, 1.0, low=0.5), True),
        (lambda: dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), False),
    ],
)
def test_the_prior_says_what_is_positive(make, is_positive):
    prior = make()

    def model(num_specimens):
        x = numpyro.sample("x", prior)
        with numpyro.plate("specimens", num_specimens):
            numpyro.deterministic("y", numpyro.sample("z", dist.Normal(0.0, 1.0)) + jnp.sum(x))

    population = Simulator(model, ["y"], (3,))
    assert population.parameters.positive == ({"x"} if is_positive else set())
