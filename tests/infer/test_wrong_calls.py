"""Models, data and calls that do not fit are told at once, with what to do: nothing is compiled before."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import laminates
from numpyro import handlers

import numpyro_homog as nh
from numpyro_homog.divergences import SlicedWasserstein
from numpyro_homog.infer import MinimumDistance, MinimumDistanceResult, identifiability, reweight
from numpyro_homog.population import Simulator
from numpyro_homog.tensors import from_unique_components

KEY = jax.random.key(0)
DATA = {"K_eff": np.arange(1.0, 21.0).reshape(20, 1, 1)}
CELL = nh.CellProblem(nh.Grid((8, 8)), nh.Conductivity(), nh.Periodic())

HOLDING = (handlers.substitute, handlers.condition, handlers.do)


@pytest.fixture(autouse=True)
def nothing_is_compiled(monkeypatch):
    monkeypatch.setattr("jax.stages.Lowered.compile", lambda *args: pytest.fail("compiled"))


def run(model=laminates, data=DATA, rng_key=KEY, **kwargs):
    return MinimumDistance(model, data, SlicedWasserstein(4)).run(rng_key, progress=False, **kwargs)


def boards(num_specimens):
    """Diagonal tensors of two components, as `homogenize` records them."""
    kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        nh.homogenize("K_eff", nh.CheckerboardCell(), kappa * jnp.exp(z))


@pytest.mark.parametrize(
    ("rng_key", "error", "message"),
    [
        (0, TypeError, r"pass jax.random.key\(0\)"),
        (jax.random.split(KEY, 3), ValueError, r"shape \(3,\)"),
    ],
)
def test_an_integer_for_a_key_is_told_by_every_function_that_takes_one(rng_key, error, message):
    params = {"kappa": jnp.array([1.0, 5.0]), "shift": jnp.array(0.0)}
    divergence = SlicedWasserstein(4)
    estimator = MinimumDistance(laminates, DATA, divergence)
    calls = [
        lambda: run(rng_key=rng_key, num_specimens=20),
        lambda: reweight(estimator, object.__new__(MinimumDistanceResult), rng_key=rng_key, num_specimens=20),
        lambda: identifiability(laminates, params, divergence, 20, keys=["K_eff"], rng_key=rng_key),
        lambda: nh.generalized_bayes(laminates, DATA, divergence, rng_key=rng_key, loss_scale=1.0),
        lambda: Simulator(laminates, ["K_eff"], (20,)).simulate(params, rng_key),
        lambda: Simulator(laminates, ["K_eff"], (20,)).parameters.sample(rng_key),
    ]
    for call in calls:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("num_specimens", "error", "message"),
    [
        (1, ValueError, r"simulates one specimen.*as are measured, 20"),
        (0, ValueError, "positive"),
        (-3, ValueError, "positive"),
        (40.0, TypeError, r"must be an integer.*40\.0"),
    ],
)
def test_one_simulated_specimen_no_or_broken_ones_are_refused(num_specimens, error, message):
    with pytest.raises(error, match=message):
        run(num_specimens=num_specimens)


def test_a_posterior_refuses_one_simulated_specimen():
    posterior = nh.generalized_bayes(laminates, DATA, SlicedWasserstein(4), rng_key=KEY, loss_scale=1.0)
    with pytest.raises(ValueError, match="simulates one specimen"):
        handlers.seed(posterior, KEY)(1)


def test_a_misspelt_site_or_argument_is_named_with_its_neighbour():
    with pytest.raises(ValueError, match=r"it has .*'K_eff'.* Is 'K_eff' meant"):
        run(data={"K_ef": DATA["K_eff"]}, num_specimens=20)
    with pytest.raises(TypeError, match=r"takes \(num_specimens\).*Is 'num_specimens' meant"):
        run(num_specimen=20)
    with pytest.raises(TypeError, match="missing a required argument: 'num_specimens'"):
        run()
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_start'"):
        run(handlers.condition(laminates, {"shift": 0.0}), num_specimens=20, num_start=2)


@pytest.mark.parametrize("per_specimen", [False, True])
def test_phases_outside_the_plate_are_named(per_specimen):
    def model(num_specimens):
        kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 1.0).expand([2]).to_event(1))
        law = nh.LaguerreTessellation(CELL.grid, jnp.zeros(2))
        phases = numpyro.sample("phases", law.expand([num_specimens]) if per_specimen else law)
        with numpyro.plate("specimens", num_specimens):
            nh.homogenize("K_eff", CELL, nh.mix(phases, kappa))

    data = np.eye(2) + np.random.default_rng(0).uniform(size=(20, 1, 1)) * np.ones((2, 2)) / 4
    with pytest.raises(ValueError, match=r"\['phases'\] stand outside plate 'specimens'.*inside the plate"):
        run(model, {"K_eff": data}, num_specimens=30)


def test_fractions_outside_the_plate_are_named():
    """They have a density, so they would do as parameters; but then nothing varies."""

    def model(num_specimens):
        share = numpyro.sample("share", dist.Beta(2.0, 2.0))
        with numpyro.plate("specimens", num_specimens):
            nh.homogenize("K_eff", nh.LaminateCell(), (jnp.stack([share, 1 - share]), jnp.array([1.0, 5.0])))

    with pytest.raises(ValueError, match=r"sampled inside the plate; there: \[\]. Outside.*\['share'\]"):
        run(model, num_specimens=30)


def test_a_compared_site_without_parameters_is_told():
    def model(num_specimens):
        numpyro.sample("kappa", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            numpyro.sample("y", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"\['y'\] depend on none of the parameters \['kappa'\]"):
        run(model, {"y": np.arange(20.0)}, num_specimens=30)


def test_vectors_of_components_are_told_the_way_to_tensors():
    rows = np.random.default_rng(0).uniform(1.0, 2.0, (20, 3)) * [1.0, 1.0, 0.1]
    with pytest.raises(ValueError, match=r"components K11, K22, K12.*from_unique_components"):
        run(boards, {"K_eff": rows}, num_specimens=30)
    estimator = MinimumDistance(boards, {"K_eff": from_unique_components(jnp.asarray(rows))}, SlicedWasserstein(4))
    assert estimator.scale.names == ("K_eff[K11]", "K_eff[K22]", "K_eff[K12]")


@pytest.mark.parametrize("row", [np.diag([1.0, -2.0]), np.array([[1.0, 1.5], [1.5, 1.0]])])
def test_a_negative_conductivity_among_the_data_is_named_by_row(row):
    data = np.eye(2) + np.random.default_rng(0).uniform(size=(20, 1, 1)) * np.ones((2, 2)) / 4
    data[7] = row
    with pytest.raises(ValueError, match=r"not positive definite in specimens \[7\]"):
        run(boards, {"K_eff": data}, num_specimens=30)


def test_noise_may_make_a_measured_tensor_indefinite():
    def noisy(num_specimens):
        kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
            tensor = nh.homogenize("K_true", nh.CheckerboardCell(), kappa * jnp.exp(z))
            numpyro.sample("K_eff", dist.Normal(tensor, 1.0).to_event(2))

    population = Simulator(noisy, ["K_eff", "K_true"], (30,))
    assert population.effective == ("K_true",)


def test_a_parameter_held_by_a_handler_is_held():
    """The shift held at 2 was fitted as if it were free."""
    held = {fix: fix(laminates, data={"shift": jnp.array(2.0)}) for fix in HOLDING}
    populations = {fix: Simulator(model, ["K_eff"], (10,)) for fix, model in held.items()}
    assert all(list(population.parameters) == ["kappa"] for population in populations.values())
    values = [
        populations[fix].simulate({"kappa": jnp.array([1.0, 5.0])}, KEY)["K_eff"]
        for fix in (handlers.substitute, handlers.condition)
    ]
    np.testing.assert_array_equal(*values)


def test_a_posterior_of_a_held_parameter_samples_the_others_only():
    held = handlers.substitute(laminates, data={"shift": jnp.array(2.0)})
    posterior = nh.generalized_bayes(held, DATA, SlicedWasserstein(4), rng_key=KEY, loss_scale=1.0)
    with handlers.mask(mask=False):  # as in Predictive: the density is not asked for
        sites = handlers.trace(handlers.seed(posterior, KEY)).get_trace(20)
    latent = [name for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]]
    assert latent == ["kappa"]
    assert float(sites["shift"]["value"]) == 2.0


def test_a_handler_around_the_run_that_holds_a_parameter_is_refused():
    with (
        handlers.substitute(data={"shift": jnp.array(2.0)}),
        pytest.raises(ValueError, match=r"give values to \['shift'\].*handlers.condition"),
    ):
        run(num_specimens=20)


def test_a_seeded_model_is_refused():
    """Its specimens would repeat from chunk to chunk."""
    with pytest.raises(ValueError, match=r"have a random key already.*handlers.seed"):
        run(handlers.seed(laminates, KEY), num_specimens=20)
