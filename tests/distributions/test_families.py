"""What holds for every family of microstructures: shapes, batches, models, pytrees, and what is refused."""

import pickle
from typing import NamedTuple

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
from numpyro_homog.distributions import Pushforward, SquaredDistance

KEY = jax.random.key(0)
GRID = nh.Grid((4, 5))
FIELD = nh.GaussianField(GRID, nh.PeriodicMatern((1.0, 1.0), 0.2, 1.5, num_modes=2))
SEEDS = jax.random.uniform(KEY, (4, 2))


def covariance(tau):
    return nh.NeumannMatern(GRID.lengths, tau, 3.0, num_modes=3)


def fractions(tau):
    return jnp.stack([tau / (1 + tau), 1 / (1 + tau)], -1)


def bent(noise, tau):
    return jnp.outer(noise, tau * noise)


class Family(NamedTuple):
    """The law of a positive parameter, and the event shapes of its noise and its values."""

    make: object
    noise: tuple
    event: tuple


FAMILIES = {
    "LaguerreTessellation": Family(
        lambda tau: nh.LaguerreTessellation(GRID, tau[..., None] * jnp.array([0.0, 0.3, 0.1])), (3, 2), (4, 5, 3)
    ),
    "LaguerreTessellation, sharp": Family(
        lambda tau: nh.LaguerreTessellation(
            GRID, tau[..., None] * jnp.array([0.0, 0.3]), distance=SquaredDistance(), sharp=True
        ),
        (2, 2),
        (4, 5, 2),
    ),
    "VoronoiPhases": Family(
        lambda tau: nh.VoronoiPhases(GRID, fractions(tau), 4, temperature=0.1, sharp=True), (4, 3), (4, 5, 2)
    ),
    "VoronoiPhases of given seeds": Family(
        lambda tau: nh.VoronoiPhases(GRID, fractions(tau)[..., None, :], seeds=SEEDS, sharp=True), (4,), (4, 5, 2)
    ),
    "GaussianField": Family(lambda tau: nh.GaussianField(GRID, covariance(tau)), (3, 3), (4, 5)),
    "GaussianCopulaField": Family(
        lambda tau: nh.GaussianCopulaField(dist.LogNormal(0.0, tau), nh.GaussianField(GRID, covariance(tau))),
        (3, 3),
        (4, 5),
    ),
    "DirichletCopulaField": Family(
        lambda tau: nh.DirichletCopulaField(
            jnp.stack([tau, 2 * tau], -1), nh.GaussianField(jnp.zeros((4, 2)), covariance(tau))
        ),
        (2, 3, 3),
        (4, 2),
    ),
    "ThresholdedGaussianField": Family(
        lambda tau: nh.ThresholdedGaussianField(GRID, covariance(tau), fractions(tau), temperature=0.1),
        (3, 3),
        (4, 5, 2),
    ),
    "Pushforward": Family(
        lambda tau: Pushforward(dist.Normal(0.0, 1.0).expand([2]).to_event(1), bent, tau, batch_ndims=jnp.ndim(tau)),
        (2,),
        (2, 2),
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def push(law, noise):
    for transform in law.transforms:
        noise = transform(noise)
    return noise


def test_predictive_and_reparam(family):
    def model(num_specimens):
        tau = numpyro.sample("tau", dist.LogNormal(0.0, 0.1))
        with numpyro.plate("specimens", num_specimens):
            numpyro.sample("field", family.make(tau))

    assert Predictive(model, num_samples=3)(KEY, num_specimens=2)["field"].shape == (3, 2, *family.event)
    exposed = handlers.reparam(model, config={"field": TransformReparam()})
    trace = handlers.trace(handlers.seed(exposed, KEY)).get_trace(2)
    assert trace["field_base"]["value"].shape == (2, *family.noise)
    assert trace["field"]["type"] == "deterministic"
    values = {name: trace[name]["value"] for name in ("tau", "field_base")}
    assert np.isfinite(log_density(exposed, (2,), {}, values)[0])


def test_members_of_a_batch_are_their_own_laws_with_the_same_noise(family):
    taus = jnp.array([0.5, 2.0])
    law = family.make(taus)
    assert law.batch_shape == law.base_dist.batch_shape == (2,)
    assert law.base_dist.event_shape == family.noise
    assert law.event_shape == family.event
    noise = law.base_dist.sample(KEY)[0]
    both = push(law, noise)
    assert bool(jnp.all(law.support(both)))
    for member, tau in enumerate(taus):
        np.testing.assert_allclose(both[member], push(family.make(tau), noise), rtol=1e-5, atol=1e-6)
    assert law.expand((3, 2)).sample(KEY).shape == (3, 2, *family.event)


def test_a_law_is_a_pytree_under_vmap(family):
    batch = jax.vmap(family.make)(jnp.array([0.5, 1.0, 2.0]))
    keys = jax.random.split(KEY, 3)
    assert jax.vmap(lambda law, key: law.sample(key))(batch, keys).shape == (3, *family.event)
    law = family.make(jnp.array(0.5))
    for again in (jax.tree.map(lambda leaf: leaf, law), pickle.loads(pickle.dumps(law))):
        assert all(a == b for a, b in zip(law.transforms, again.transforms, strict=True))
        assert again.reparametrized_params == law.reparametrized_params
    others = family.make(jnp.array(0.6)).transforms
    assert not all(a == b for a, b in zip(law.transforms, others, strict=True))


def test_densities_are_refused_with_advice(family):
    law = family.make(jnp.array(0.5))
    value = law.sample(KEY)
    with pytest.raises(NotImplementedError, match=f"{type(law).__name__} has no density.*TransformReparam"):
        law.log_prob(value)
    with pytest.raises(NotImplementedError, match="inverted"):
        law.transforms[-1].inv(value)


ROW = jnp.array([[0.5, 0.3, 0.2]])
HALVES = jnp.array([0.5, 0.5])
NORMALS = dist.Normal(0.0, 1.0).expand([2]).to_event(1)
COINS = dist.Bernoulli(0.3).expand([2]).to_event(1)


# (how to make a law, arguments with a path derivative, whether all have one)
@pytest.mark.parametrize(
    ("make", "names", "all_have"),
    [
        (lambda: nh.LaguerreTessellation(GRID, jnp.zeros(2)), ["delays"], True),
        (lambda: nh.LaguerreTessellation(GRID, jnp.zeros(2), sharp=True), [], False),
        (lambda: nh.VoronoiPhases(GRID, ROW[0], 4), [], False),
        (lambda: nh.VoronoiPhases(GRID, ROW[0], 4, sharp=True), [], False),
        (lambda: nh.VoronoiPhases(GRID, ROW[0], 4, temperature=0.1), ["fractions"], True),
        (lambda: nh.VoronoiPhases(GRID, ROW[0], 4, temperature=0.1, sharp=True), ["fractions"], True),
        (lambda: nh.VoronoiPhases(GRID, ROW, seeds=SEEDS), ["seeds"], False),
        (lambda: nh.VoronoiPhases(GRID, ROW, seeds=SEEDS, sharp=True), [], False),
        (lambda: nh.VoronoiPhases(GRID, ROW, seeds=SEEDS, temperature=0.1), ["fractions", "seeds"], True),
        (lambda: nh.VoronoiPhases(GRID, ROW, seeds=SEEDS, temperature=0.1, sharp=True), ["fractions"], False),
        (lambda: FIELD, ["covariance"], True),
        (lambda: nh.GaussianField(jnp.zeros((3, 2)), covariance(1.0)), ["points", "covariance"], True),
        (lambda: nh.GaussianCopulaField(dist.LogNormal(), FIELD), ["marginal", "field"], True),
        (lambda: nh.DirichletCopulaField(jnp.ones(2), FIELD), ["concentration", "field"], True),
        (lambda: nh.ThresholdedGaussianField(GRID, FIELD.covariance, HALVES), [], False),
        (
            lambda: nh.ThresholdedGaussianField(GRID, FIELD.covariance, HALVES, temperature=0.1),
            ["covariance", "fractions", "temperature"],
            True,
        ),
        (lambda: Pushforward(NORMALS, bent, 0.3), ["params"], True),
        (lambda: Pushforward(NORMALS, bent, 0.3, smooth=False), [], False),
        (lambda: Pushforward(COINS, bent, 0.3), [], False),
    ],
)
def test_reparametrization_is_told_truthfully(make, names, all_have):
    law = make()
    assert law.reparametrized_params == names
    assert law.has_rsample == law.expand((2,)).has_rsample == all_have
    if not all_have:
        with pytest.raises(NotImplementedError, match=r"no path derivative .*(sharp|temperature|smooth)"):
            law.rsample(KEY)
