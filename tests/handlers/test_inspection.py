"""NumPyro's own tools look at models with microstructures and at posteriors, neither of which have all densities."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import ExpTransform, OrderedTransform
from numpyro.infer.inspect import get_dependencies, get_model_relations

import numpyro_homog as nh
from numpyro_homog.distributions import GaussianField, PeriodicMatern

KEY = jax.random.key(3)
CELL = nh.CellProblem(nh.Grid((4, 4)), nh.Conductivity(), nh.Periodic())


def grown(num_specimens):
    delay = numpyro.sample("delay", dist.Normal(0.0, 0.1).expand([2]).to_event(1))
    log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)
    kappa = numpyro.sample("kappa", dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()]))
    with numpyro.plate("specimens", num_specimens):
        phases = numpyro.sample("phases", nh.LaguerreTessellation(CELL.grid, jnp.append(0.0, delay)))
        nh.homogenize("K_eff", CELL, nh.mix(phases, kappa))


def field(num_specimens):
    length = numpyro.sample("length", dist.LogNormal(-2.0, 0.3))
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", GaussianField(CELL.grid, PeriodicMatern((1.0, 1.0), length, 1.5, num_modes=2)))
        nh.homogenize("K_eff", CELL, jnp.exp(level + z))


@pytest.mark.parametrize(
    ("model", "name", "parents", "others"),
    [
        pytest.param(grown, "phases", {"delay"}, {"kappa"}, marks=pytest.mark.slow),
        (field, "z", {"length"}, {"level"}),
    ],
)
def test_dependencies_and_relations_of_a_model(model, name, parents, others):
    found = get_dependencies(model, (3,))["prior_dependencies"]
    assert set(found[name]) == parents | {name}
    relations = get_model_relations(model, (3,))
    assert set(relations["sample_sample"][name]) == parents
    assert set(relations["sample_sample"]["K_eff"]) == {name} | others
    assert relations["plate_sample"] == {"specimens": [name, "K_eff"]}
    with pytest.raises(NotImplementedError, match="has no density: it is the image of noise"):
        numpyro.infer.util.log_density(numpyro.handlers.seed(model, KEY), (3,), {}, {})


@pytest.mark.slow
def test_dependencies_and_relations_of_a_posterior():
    roots = np.random.default_rng(0).normal(size=(20, 2, 2))
    data = {"K_eff": roots @ np.swapaxes(roots, 1, 2) + np.eye(2)}
    posterior = nh.generalized_bayes(grown, data, nh.SlicedWasserstein(4), rng_key=KEY, loss_scale=1.0)
    found = get_dependencies(posterior, (8,))["prior_dependencies"]
    assert set(found["divergence"]) == {"delay", "kappa", "divergence"}
    relations = get_model_relations(posterior, (8,))
    assert set(relations["sample_sample"]["divergence"]) == {"delay", "kappa"}
    assert relations["observed"] == ["divergence"]


def test_a_model_is_rendered():
    pytest.importorskip("graphviz")
    source = str(numpyro.render_model(grown, (3,), render_distributions=True))
    assert "delay -> phases" in source
