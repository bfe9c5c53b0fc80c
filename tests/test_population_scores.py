"""Which parameters act by path and which by score, and the log densities that scores are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from score_models import LAYERED_TRUTH, MIXTURE_TRUTH, layered, mixtures, polycrystals

import numpyro_homog as nh
from numpyro_homog.population import Simulator

pytestmark = pytest.mark.numpyro_layer

KEY = jax.random.key(2)
GRID = nh.Grid((4, 4))


def of_fractions(draw):
    """A model of sharp Voronoi cells whose fractions are `draw(alpha)`, drawn for each specimen."""

    def model():
        alpha = numpyro.sample("alpha", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1))
        with numpyro.plate("specimens", 6):
            phases = numpyro.sample("phases", nh.VoronoiPhases(GRID, draw(alpha), 3, sharp=True))
            numpyro.deterministic("y", phases.mean((1, 2)))

    return model


def from_gammas(alpha):
    shares = numpyro.sample("gammas", dist.Gamma(alpha, 1.0).to_event(1))
    return shares / shares.sum(-1, keepdims=True)


def both_ways():
    """`mu` shifts the delays and what is measured of them; tessellations have no density."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 0.1))
    with numpyro.plate("specimens", 6):
        delay = numpyro.sample("delay", dist.Normal(mu, 0.1))
        delays = jnp.stack([jnp.zeros_like(delay), delay], axis=-1)
        phases = numpyro.sample("phases", nh.LaguerreTessellation(GRID, delays, sharp=True))
        numpyro.deterministic("y", phases.mean((1, 2)) + mu)


@pytest.mark.parametrize(
    ("model", "score", "scored", "ways"),
    [
        (lambda: layered(6), (), {}, {"alpha": ("path",), "kappa": ("path",)}),
        (lambda: layered(6), ("phi",), {"phi": ("alpha",)}, {"alpha": ("score",), "kappa": ("path",)}),
        pytest.param(
            lambda: polycrystals(6),
            (),
            {"phi": ("alpha",)},
            {"alpha": ("score",), "log_kappa": ("path",)},
            marks=pytest.mark.slow,
        ),
        (lambda: polycrystals(6, temperature=0.1), (), {}, {"alpha": ("path",), "log_kappa": ("path",)}),
        (lambda: mixtures(6), (), {"kind": ("share",)}, {"apart": ("path",), "share": ("score",)}),
        (of_fractions(from_gammas), (), {"gammas": ("alpha",)}, {"alpha": ("score",)}),
        (both_ways, (), {"delay": ("mu",)}, {"mu": ("path", "score")}),
    ],
)
def test_a_score_is_used_where_the_path_is_broken_and_nowhere_else(model, score, scored, ways):
    key = "y" if "y" in _sites(model) else "K_eff"
    population = Simulator(model, [key], score=score)
    assert population.scored == scored
    assert population.derivatives == ways
    assert population.without_derivative == {}


def _sites(model):
    return handlers.trace(handlers.seed(model, KEY)).get_trace()


def test_a_draw_that_does_not_reach_the_compared_site_needs_no_score():
    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", 5):
            numpyro.sample("label", dist.Bernoulli(logits=mu))
            numpyro.sample("y", dist.Normal(mu, 1.0))

    population = Simulator(model, ["y"])
    assert population.scored == population.without_derivative == {}
    assert population.non_reparametrized == {"label": ("mu",)}


def test_a_second_discrete_draw_is_scored_by_itself():
    """The concentration moves the first label, the label the law of the second: only the first has a parameter."""

    def model():
        p = numpyro.sample("p", dist.Uniform(0.0, 1.0))
        with numpyro.plate("specimens", 5):
            first = numpyro.sample("first", dist.Bernoulli(p))
            second = numpyro.sample("second", dist.Bernoulli(0.2 + 0.5 * first))
            numpyro.sample("y", dist.Normal(second, 1.0))

    assert Simulator(model, ["y"]).scored == {"first": ("p",)}


def uniform_fractions(alpha):
    return numpyro.sample("phi", nh.UniformSimplex(0.1 * jax.nn.sigmoid(alpha[0]), jnp.array([0.7])))


def masked_fractions(alpha):
    with handlers.mask(mask=False):
        return numpyro.sample("phi", dist.Dirichlet(alpha))


def squeezed_uniform(alpha):
    """The support of the transformed site says (0, inf); its true end moves."""
    law = dist.TransformedDistribution(dist.Uniform(0.0, alpha[0]), dist.transforms.ExpTransform())
    share = 1 / (1 + numpyro.sample("ratio", law))
    return jnp.stack([share, 1 - share], axis=-1)


def by_itself(alpha):
    return alpha / alpha.sum()


@pytest.mark.parametrize("draw", [by_itself, uniform_fractions, masked_fractions, squeezed_uniform])
def test_what_has_neither_path_nor_score_is_reported(draw):
    population = Simulator(of_fractions(draw), ["y"])
    assert population.without_derivative == {"phases": ("alpha",)}


@pytest.mark.parametrize(
    ("name", "message"),
    [("alpha", "no simulated site"), ("phases", "has no score"), ("nowhere", r"\['phi', 'phases'\]")],
)
def test_sites_that_cannot_be_scored_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        Simulator(lambda: polycrystals(4), ["K_eff"], score=[name])


# --- the simulation ---


@pytest.mark.slow
def test_held_sites_have_the_values_of_another_point_and_the_ratio_of_their_densities():
    """The rest has the values of its own point: kappa acts, alpha does not."""
    population = Simulator(layered, ["K_eff"], (7,), chunk_size=4, score=("phi",))
    drawn_at = {"alpha": jnp.array([0.8, 0.4, 0.3]), "kappa": jnp.array([1.5, 3.0, 8.0])}
    values, change = population.simulate_chunk_scored(LAYERED_TRUTH, KEY, 1, drawn_at=drawn_at)
    there = {"alpha": drawn_at["alpha"], "kappa": LAYERED_TRUTH["kappa"]}
    np.testing.assert_array_equal(values["K_eff"], population.resize(8).simulate(there, KEY)["K_eff"][4:])
    model = handlers.substitute(handlers.seed(layered, jax.random.fold_in(KEY, 1)), data=drawn_at)
    phi = handlers.trace(model).get_trace(4)["phi"]["value"]
    densities = [dist.Dirichlet(point["alpha"]).log_prob(phi) for point in (LAYERED_TRUTH, drawn_at)]
    np.testing.assert_allclose(change, densities[0] - densities[1], rtol=1e-4)


@pytest.mark.x32
@pytest.mark.parametrize(("model", "score"), [(layered, ("phi",)), (mixtures, ())])
def test_without_another_point_the_values_are_those_of_the_plain_simulation(model, score):
    """Also those of sites that are drawn after a held one: the mixture draws its label first."""
    params = LAYERED_TRUTH if model is layered else MIXTURE_TRUTH
    key = "K_eff" if model is layered else "y"
    population = Simulator(model, [key], (7,), chunk_size=4, score=score)
    values, change = population.simulate_chunk_scored(params, KEY, 1)
    np.testing.assert_array_equal(values[key], population.resize(8).simulate(params, KEY)[key][4:])
    np.testing.assert_array_equal(change, 0)


@pytest.mark.slow
def test_parameters_of_a_scored_site_have_no_path_and_the_others_do():
    population = Simulator(layered, ["K_eff"], (4,), score=("phi",))

    def simulate(params):
        return population.simulate_chunk_scored(params, KEY, 0)

    values, density = jax.jacfwd(simulate)(LAYERED_TRUTH)
    assert jnp.all(values["K_eff"]["alpha"] == 0)
    assert jnp.all(values["K_eff"]["kappa"] != 0)
    assert jnp.all(density["alpha"] != 0)
    assert jnp.all(density["kappa"] == 0)


@pytest.mark.slow
def test_a_site_in_an_inner_plate_and_one_in_a_scan_count_with_all_their_members():
    def model(num_specimens):
        p = numpyro.sample("p", dist.Uniform(0.0, 1.0))

        def step(time, _):
            with numpyro.plate("specimens", num_specimens, dim=-1):
                numpyro.sample("steps", dist.Bernoulli(p))
            return time + 1.0, None

        scan(step, 0.0, None, length=3)
        with numpyro.plate("specimens", num_specimens, dim=-1):
            with numpyro.plate("parts", 2, dim=-2):
                parts = numpyro.sample("parts_of_it", dist.Bernoulli(p))
            numpyro.deterministic("y", parts.sum(0))

    population = Simulator(model, ["y"], (5,), plate="specimens", score=("steps",))
    assert population.scored == {"steps": ("p",), "parts_of_it": ("p",)}
    _, slope = jax.jacfwd(lambda p: population.simulate_chunk_scored({"p": p}, KEY, 0))(jnp.array(0.4))
    # Each of the five draws of a specimen adds 1 / p or -1 / (1 - p).
    assert slope.shape == (5,)
    ones = (slope + 5 / 0.6) / (1 / 0.4 + 1 / 0.6)
    np.testing.assert_allclose(ones, np.round(ones), atol=1e-5)
    assert len(np.unique(np.round(ones))) > 1
