"""VoronoiPhases as a NumPyro distribution: labels, parameters without a path, statistics, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import numpyro_homog as nh
from numpyro_homog.distributions import VoronoiPhases
from numpyro_homog.population import Simulator

GRID = nh.Grid((8, 8))
KEY = jax.random.key(0)
FRACTIONS = jnp.array([0.5, 0.3, 0.2])


def model(num_specimens, temperature=None):
    alpha = numpyro.sample("alpha", dist.LogNormal(jnp.zeros(3), 1.0).to_event(1))
    with numpyro.plate("specimens", num_specimens):
        shares = numpyro.sample("shares", dist.Dirichlet(alpha))
        phases = numpyro.sample("phases", VoronoiPhases(GRID, shares, 4, sharp=True, temperature=temperature))
        numpyro.deterministic("means", phases.mean((-3, -2)))


# --- the distribution ---


def test_shapes_with_given_seeds():
    seeds = jax.random.uniform(KEY, (6, 4, 2))
    law = VoronoiPhases(GRID, jnp.broadcast_to(FRACTIONS, (4, 3)), seeds=seeds, sharp=True)
    assert law.batch_shape == (6,)
    assert law.base_dist.event_shape == (4,)
    assert law.sample(KEY, (2,)).shape == (2, 6, 8, 8, 3)
    batched = VoronoiPhases(GRID, jnp.broadcast_to(FRACTIONS, (5, 1, 1, 3)), seeds=seeds, sharp=True)
    assert batched.batch_shape == (5, 6)
    assert batched.sample(KEY).shape == (5, 6, 8, 8, 3)


@pytest.mark.x32
@pytest.mark.parametrize("options", [{}, {"sharp": True}, {"temperature": 0.1}])
def test_given_seeds_and_drawn_ones_are_one_law(options):
    law = VoronoiPhases(GRID, FRACTIONS, 3, **options)
    noise = law.base_dist.sample(KEY, (5,))
    given = VoronoiPhases(GRID, FRACTIONS[None], seeds=noise[..., :2], **options)
    np.testing.assert_allclose(given.transforms[0](noise[..., 2]), law.transforms[0](noise), atol=1e-5)


@pytest.mark.slow
def test_members_of_a_batch_follow_their_own_fractions():
    law = VoronoiPhases(GRID, jnp.eye(3), 4, sharp=True)
    np.testing.assert_allclose(law.sample(KEY).mean((1, 2)), jnp.eye(3), atol=1e-6)
    left = jnp.array([[0.2, 0.5], [0.7, 0.5]])
    two = VoronoiPhases(GRID, jnp.eye(2), seeds=left).sample(KEY)  # each seed has its own phase for certain
    np.testing.assert_allclose(two.mean((0, 1)), 0.5, atol=1e-6)
    assert float(two[1, 4, 0]) == pytest.approx(1)


@pytest.mark.slow
def test_a_field_evaluated_at_the_seeds():
    def graded(num):
        with numpyro.plate("specimens", num):
            seeds = numpyro.sample("seeds", dist.Uniform(0, 1).expand([200, 2]).to_event(2))
            first = 0.5 + 0.4 * jnp.cos(2 * jnp.pi * seeds[..., 0])
            shares = jnp.stack([first, 1 - first], axis=-1)
            numpyro.sample("phases", VoronoiPhases(GRID, shares, seeds=seeds, sharp=True))

    phases = handlers.trace(handlers.seed(graded, KEY)).get_trace(200)["phases"]["value"]
    found = phases[..., 0].mean((0, 2))
    wanted = 0.5 + 0.4 * np.cos(2 * np.pi * (np.arange(8) + 0.5) / 8)
    np.testing.assert_allclose(found, wanted, atol=0.04)  # bends within a cell; 4 standard errors are .03


# --- parameters without a path ---


def test_populations_report_fractions_that_act_through_labels_only():
    assert Simulator(model, ["means"], (4,)).non_reparametrized == {"phases": ("alpha",)}
    assert Simulator(model, ["means"], (4,), {"temperature": 0.1}).non_reparametrized == {}


def of_one_share(num_specimens):
    """The fractions are a parameter: no site with a density stands between it and the labels."""
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    with numpyro.plate("specimens", num_specimens):
        phases = numpyro.sample("phases", VoronoiPhases(GRID, share, 4))
        numpyro.deterministic("means", phases.mean((-3, -2)))


@pytest.mark.slow
def test_estimators_refuse_and_handlers_warn():
    data = {"means": np.random.default_rng(0).dirichlet(np.ones(3), 20)}
    assert Simulator(model, ["means"], (4,)).scored == {"shares": ("alpha",)}
    with pytest.raises(ValueError, match="'phases': \\['share'\\]"):
        nh.MinimumDistance(of_one_share, data, nh.SlicedWasserstein()).run(KEY, 4)
    posterior = nh.generalized_bayes(model, data, nh.SlicedWasserstein(), rng_key=KEY, loss_scale=1.0)
    with pytest.warns(UserWarning, match="without a derivative"):
        handlers.trace(handlers.seed(posterior, KEY)).get_trace(4)


# --- labels ---


def shares_of(u, f, temperature=None):
    """Phases of the cell of one seed, for each of the numbers u."""
    law = VoronoiPhases(nh.Grid(1), f[None], seeds=jnp.zeros((1, 1)), temperature=temperature)
    return law.transforms[0](u[:, None])[:, 0]


def test_labels_have_their_probabilities_and_relaxed_ones_the_same_mean(x64):
    u = (jnp.arange(20000) + 0.5) / 20000
    f = jnp.array([0.05, 0.0, 0.65, 0.3])
    labels = shares_of(u, f)
    np.testing.assert_allclose(labels.mean(0), f, atol=1e-4)
    for temperature in (0.003, 0.1, 1.0):
        shares = shares_of(u, f, temperature)
        assert float(shares.min()) >= 0
        np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
        np.testing.assert_allclose(shares.mean(0), f, atol=2e-6 if x64 else 1e-4)  # the midpoint rule
    distances = [float(jnp.abs(shares_of(u, f, t) - labels).mean()) for t in (0.1, 0.01, 0.001)]
    assert distances[0] > 5 * distances[1] > 25 * distances[2]


@pytest.mark.x64_only
def test_derivative_in_fractions_is_that_of_the_relaxed_model():
    direction = jnp.array([1.0, -0.4, -0.6])

    def volume(t):
        law = VoronoiPhases(GRID, FRACTIONS + t * direction, 20, temperature=0.1, sharp=True)
        return law.sample(KEY, (50,)).mean((0, 1, 2))

    step, at = 1e-6, jax.jit(lambda t: jax.jvp(volume, (t,), (1.0,)))
    difference = (at(step)[0] - at(-step)[0]) / (2 * step)
    np.testing.assert_allclose(at(0.0)[1], difference, atol=1e-6)
    # The mean of the derivatives is the derivative of the mean, up to the noise of 1000 seeds of about 1 / sqrt(.1).
    np.testing.assert_allclose(difference, direction, atol=0.5)


@pytest.mark.x64_only
def test_hard_labels_have_no_derivative_in_fractions():
    def volume(f):
        return VoronoiPhases(GRID, f, 20, sharp=True).sample(KEY, (5,)).mean((0, 1, 2))

    np.testing.assert_array_equal(jax.jit(jax.jacfwd(volume))(FRACTIONS), 0)


# --- statistics ---


@pytest.mark.slow
def test_mean_volume_fractions():
    for temperature in (None, 0.3):
        law = VoronoiPhases(GRID, FRACTIONS, 20, sharp=True, temperature=temperature)
        volumes = np.asarray(law.sample(KEY, (2000,)).mean((1, 2)))
        error = volumes.std(0) / np.sqrt(len(volumes))
        assert np.all(np.abs(volumes.mean(0) - FRACTIONS) < 4 * error)  # false alarms: 6 in 10,000


@pytest.mark.slow
def test_volume_fractions_vary_as_the_areas_of_cells_say():
    # Labels are independent of the areas A_k: the variance is p (1 - p) sum E A_k^2 = p (1 - p) 1.28 / K.
    num = 100
    volumes = np.asarray(VoronoiPhases(nh.Grid((24, 24)), FRACTIONS, num, sharp=True).sample(KEY, (1500,)).mean((1, 2)))
    expected = np.asarray(FRACTIONS * (1 - FRACTIONS)) * 1.28 / num
    # The relative standard error of a variance of 1500 is .037; voxels of .4 spacings add less than a tenth of that.
    np.testing.assert_allclose(volumes.var(0), expected, rtol=0.15)


@pytest.mark.slow
def test_temperature_lowers_mean_and_spread_of_tensors_as_documented():
    # docs/microstructures.md: at .01 mean -0.1 %, spread .98; at .1 mean -0.6 %, spread .83 (64 x 64, 100 seeds). With
    # the same noise the standard errors here are about .2 % and .5 % of the mean, .01 and .03 of the spread.
    grid = nh.Grid((32, 32))
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic())

    def conductivities(temperature):
        law = VoronoiPhases(grid, FRACTIONS, 40, temperature=temperature)
        field = nh.mix(law.sample(KEY, (200,)), jnp.array([10.0, 3.0, 1.0]))
        return np.asarray(nh.effective_tensor(cell, field))[:, 0, 0]

    hard = conductivities(None)
    for temperature, lowest_mean, spreads in ((0.01, 0.99, (0.93, 1.01)), (0.1, 0.97, (0.7, 0.95))):
        soft = conductivities(temperature)
        assert lowest_mean < soft.mean() / hard.mean() < 1.005
        assert spreads[0] < soft.std() / hard.std() < spreads[1]


# --- refusals ---


SEEDS = jnp.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fractions": FRACTIONS}, "none of them"),
        ({"fractions": FRACTIONS, "num_seeds": 4, "seeds": SEEDS}, "both"),
        ({"fractions": FRACTIONS, "num_seeds": True}, "whole number"),
        ({"fractions": FRACTIONS, "num_seeds": 0}, ">= 1"),
        ({"fractions": jnp.zeros(()), "num_seeds": 3}, "last axis"),
        ({"fractions": FRACTIONS, "seeds": SEEDS}, r"fractions\[..., None, :\]"),
        ({"fractions": jnp.ones((5, 2)) / 2, "seeds": SEEDS}, "one row for each seed"),
        ({"fractions": FRACTIONS[None], "seeds": jnp.zeros((4, 3))}, r"\(\*batch, K, 2\)"),
        ({"fractions": FRACTIONS[None], "seeds": jnp.full((4, 2), jnp.nan)}, "finite"),
        ({"fractions": jnp.ones((2, 1, 1)), "seeds": jnp.zeros((3, 4, 2))}, "do not broadcast"),
        ({"fractions": FRACTIONS, "num_seeds": 3, "temperature": 0.0}, "temperature"),
        ({"fractions": FRACTIONS, "num_seeds": 3, "temperature": 1.5}, "temperature"),
        ({"fractions": 2 * FRACTIONS, "num_seeds": 3, "validate_args": True}, "fractions"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VoronoiPhases(GRID, **arguments)


def test_dtype_follows_the_parameters(x64):
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        assert VoronoiPhases(GRID, FRACTIONS.astype(dtype), 4, sharp=True).sample(KEY).dtype == dtype
    assert VoronoiPhases(GRID, jnp.array([0, 1]), 4, sharp=True).sample(KEY).dtype == jnp.result_type(float)


@pytest.mark.parametrize("number", [np.int64(4), jnp.asarray(4)])
def test_the_number_of_seeds_is_any_whole_number(number):
    laws = [VoronoiPhases(nh.Grid((8, 8)), FRACTIONS, num) for num in (number, 4)]
    np.testing.assert_array_equal(*(law.sample(jax.random.key(0)) for law in laws))
