"""All random fields as sites of NumPyro models."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import Predictive
from numpyro.infer.reparam import TransformReparam
from numpyro.infer.util import log_density

import numpyro_homog as nh

KEY = jax.random.key(0)
GRID = nh.Grid((4, 5))


def covariance(tau):
    return nh.NeumannMatern(GRID.lengths, tau, 3.0, num_modes=3)


# name -> (the law of a positive parameter, the event shapes of its noise and its values)
FAMILIES = {
    "GaussianField": (lambda tau: nh.GaussianField(GRID, covariance(tau)), (3, 3), (4, 5)),
    "GaussianCopulaField": (
        lambda tau: nh.GaussianCopulaField(dist.LogNormal(0.0, tau), nh.GaussianField(GRID, covariance(tau))),
        (3, 3),
        (4, 5),
    ),
    "DirichletCopulaField": (
        lambda tau: nh.DirichletCopulaField(
            jnp.stack([tau, 2 * tau], -1), nh.GaussianField(jnp.zeros((4, 2)), covariance(tau))
        ),
        (2, 3, 3),
        (4, 2),
    ),
    "ThresholdedGaussianField": (
        lambda tau: nh.ThresholdedGaussianField(
            GRID, covariance(tau), jnp.stack([tau / (1 + tau), 1 / (1 + tau)], -1), temperature=0.1
        ),
        (3, 3),
        (4, 5, 2),
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def model_of(make):
    def model(num_specimens):
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.1))
        with numpyro.plate("specimens", num_specimens):
            numpyro.sample("field", make(tau))

    return model


def test_predictive_and_reparam(family):
    make, noise, event = family
    model = model_of(make)
    assert Predictive(model, num_samples=3)(KEY, num_specimens=2)["field"].shape == (3, 2, *event)
    exposed = handlers.reparam(model, config={"field": TransformReparam()})
    trace = handlers.trace(handlers.seed(exposed, KEY)).get_trace(2)
    assert trace["field_base"]["value"].shape == (2, *noise)
    assert trace["field"]["type"] == "deterministic"
    values = {name: trace[name]["value"] for name in ("tau", "field_base")}
    assert np.isfinite(log_density(exposed, (2,), {}, values)[0])


def test_members_of_a_batch_are_their_own_laws_with_the_same_noise(family):
    make, noise, event = family
    law = make(jnp.array([0.5, 2.0]))
    assert law.base_dist.event_shape == noise
    assert law.event_shape == event
    xi = jax.random.normal(KEY, noise)

    def push(law):
        value = xi
        for transform in law.transforms:
            value = transform(value)
        return value

    both = push(law)
    for member, tau in enumerate((0.5, 2.0)):
        np.testing.assert_allclose(both[member], push(make(jnp.array(tau))), rtol=1e-5, atol=1e-6)


def test_a_law_is_a_pytree_under_vmap(family):
    make, _, event = family
    batch = jax.vmap(make)(jnp.array([0.5, 1.0, 2.0]))
    keys = jax.random.split(KEY, 3)
    assert jax.vmap(lambda law, key: law.sample(key))(batch, keys).shape == (3, *event)
    law = make(jnp.array(0.5))
    again = jax.tree.map(lambda leaf: leaf, law)
    assert all(a == b for a, b in zip(law.transforms, again.transforms, strict=True))
    assert again.transforms[0] != make(jnp.array(0.6)).transforms[0]


def test_densities_are_refused_with_advice(family):
    law = family[0](jnp.array(0.5))
    with pytest.raises(NotImplementedError, match="TransformReparam"):
        law.log_prob(law.sample(KEY))
    with pytest.raises(NotImplementedError, match="inverted"):
        law.transforms[-1].inv(law.sample(KEY))
