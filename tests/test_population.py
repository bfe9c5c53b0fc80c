"""The simulated population: what it finds in a model, and what it simulates, chunk by chunk."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam, TransformReparam
from toy_models import CELL, TRUTH, Answer, CountingCell, RaisingCell, checkerboards

import numpyro_homog as nh
from numpyro_homog.population import Simulator

pytestmark = pytest.mark.numpyro_layer

KEY = jax.random.key(7)


def rich(num_specimens, temperature=None):
    """Parameters of several supports; simulated sites of several kinds; two compared sites."""
    kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 1.0).expand([3]).to_event(1))
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
    upper = numpyro.sample("upper", dist.Gamma(2.0, 1.0))
    numpyro.sample("within", dist.Uniform(0.0, upper))
    with numpyro.plate("specimens", num_specimens) as index:
        fractions = jax.nn.softmax(numpyro.sample("shares", dist.Normal(jnp.log(weights), 0.3).to_event(1)))
        numpyro.sample("label", dist.Categorical(probs=weights))
        heat = 1.0 if temperature is None else temperature[index][:, None]
        effective = nh.homogenize("K_eff", nh.LaminateCell(), (fractions, heat * kappa))
        numpyro.sample("measured", dist.Normal(nh.tensors.unique_components(effective), 0.1).to_event(1))


# --- what a population knows about its model ---


@pytest.mark.x32
def test_the_sites_are_sorted():
    population = Simulator(rich, ["K_eff", "measured"], (1000,))
    assert population.plate == "specimens"
    assert population.num_specimens == 1000
    assert {k: v.shape for k, v in population.parameters.items()} == {
        "kappa": (3,),
        "upper": (),
        "weights": (3,),
        "within": (),
    }
    assert population.simulated == ("shares", "label", "measured")
    assert population.compared == {"K_eff": (1, 1), "measured": (1,)}
    assert population.parameters.labels[:4] == ["kappa[0]", "kappa[1]", "kappa[2]", "upper"]


def test_a_parameter_behind_a_discrete_draw_is_reported():
    assert Simulator(rich, ["K_eff"], (10,)).non_reparametrized == {"label": ("weights",)}
    assert Simulator(checkerboards, ["K_eff"], (10,)).non_reparametrized == {}


def test_delays_of_sharp_cells_are_reported():
    def model():
        delay = numpyro.sample("delay", dist.Normal(0.0, 0.1))
        with numpyro.plate("specimens", 4):
            law = nh.LaguerreTessellation(nh.Grid((4, 4)), jnp.stack([0.0, delay]), sharp=True)
            numpyro.deterministic("x", numpyro.sample("phases", law).mean((-3, -2)))

    assert Simulator(model, ["x"]).non_reparametrized == {"phases": ("delay",)}


def test_a_discrete_draw_without_parameters_is_not_reported():
    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", 5):
            label = numpyro.sample("label", dist.Bernoulli(0.5))
            numpyro.deterministic("x", mu * label)

    assert Simulator(model, ["x"]).non_reparametrized == {}


@pytest.mark.slow
def test_constraints_go_back_and_forth():
    population = Simulator(rich, ["K_eff"], (10,))
    params = jax.jit(population.parameters.sample)(KEY)
    vector = jax.jit(population.parameters.to_vector)(params)
    assert vector.shape == (3 + 1 + 2 + 1,)  # the simplex loses one
    from_vector = jax.jit(population.parameters.from_vector)
    for name, value in from_vector(vector).items():
        np.testing.assert_allclose(value, params[name], rtol=1e-5)
    moved = from_vector(vector + 3)
    assert moved["within"] < moved["upper"]  # a support that depends on another parameter


def test_prior_samples_vary_with_the_key_and_solve_nothing():
    population = Simulator(lambda n: checkerboards(n, RaisingCell()), ["K_eff"], (10,))
    keys = jax.random.split(KEY, 500)
    draws = jax.vmap(population.parameters.sample)(keys)
    assert draws["mu"].shape == (500,)
    assert abs(jnp.std(draws["mu"]) - 1) < 4 / np.sqrt(2 * 500)


def test_construction_computes_nothing_even_for_a_huge_population():
    population = Simulator(lambda n: checkerboards(n, RaisingCell()), ["K_eff"], (10**9,))
    assert population.num_specimens == 10**9
    assert population.chunk_size <= 4096


def test_plate_overrides_the_innermost_plate():
    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", 6, dim=-2), numpyro.plate("positions", 4, dim=-1):
            x = numpyro.sample("x", dist.Normal(mu, 1.0))
            numpyro.deterministic("K_eff", x[..., None, None] * jnp.eye(2))

    inner = Simulator(model, ["K_eff"])
    assert (inner.plate, inner.compared["K_eff"]) == ("positions", (6, 2, 2))
    outer = Simulator(model, ["K_eff"], plate="specimens")
    assert (outer.plate, outer.compared["K_eff"]) == ("specimens", (4, 2, 2))
    assert outer.simulate({"mu": 0.0}, KEY)["K_eff"].shape == (6, 4, 2, 2)
    assert inner.simulate({"mu": 0.0}, KEY)["K_eff"].shape == (4, 6, 2, 2)


def test_the_default_chunk_follows_the_size_of_the_fields():
    def model(num_specimens, size):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(mu, 1.0))
            cell = nh.CellProblem(nh.Grid((size, size)), nh.Conductivity(), nh.Periodic())
            nh.homogenize("K_eff", cell, jnp.exp(z)[:, None, None] * jnp.ones((size, size)))

    for size in (16, 32):
        bytes_per_specimen = (1 + size * size) * jnp.zeros(()).dtype.itemsize
        population = Simulator(model, ["K_eff"], (10_000, size))
        assert 0.5 * 2**19 < population.chunk_size * bytes_per_specimen <= 2**19


# --- clear errors ---


def no_parameter():
    with numpyro.plate("specimens", 5):
        numpyro.sample("x", dist.Normal(0.0, 1.0))


def observed():
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("specimens", 5):
        numpyro.sample("x", dist.Normal(mu, 1.0), obs=jnp.zeros(5))


def discrete_parameter():
    k = numpyro.sample("k", dist.Poisson(3.0))
    with numpyro.plate("specimens", 5):
        numpyro.sample("x", dist.Normal(k, 1.0))


def two_plates():
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("specimens", 5):
        numpyro.sample("x", dist.Normal(mu, 1.0))
        numpyro.deterministic("constant", mu)
    with numpyro.plate("others", 5):
        numpyro.sample("y", dist.Normal(mu, 1.0))


def not_indexed():
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("specimens", 5):
        numpyro.sample("x", dist.Normal(mu + jnp.arange(5.0), 1.0))


@pytest.mark.parametrize(
    ("model", "keys", "options", "message"),
    [
        (checkerboards, ["K"], {"args": (5,)}, r"'K' is not a sample or deterministic site.*'K_eff'"),
        (checkerboards, [], {"args": (5,)}, "at least one key"),
        (checkerboards, ["mu"], {"args": (5,)}, "'mu' is not inside any plate"),
        (checkerboards, ["K_eff"], {"args": (5,), "plate": "cells"}, "no plate 'cells'; it has .'specimens'."),
        (checkerboards, ["K_eff"], {"args": (5,), "chunk_size": 0}, "chunk_size must be a positive integer"),
        (two_plates, ["x", "y"], {}, "stand in different plates"),
        (two_plates, ["x", "y"], {"plate": "others"}, "'x' is not inside plate 'others'"),
        (two_plates, ["constant"], {}, "exactly one axis of specimens"),
        (no_parameter, ["x"], {}, "no parameter"),
        (observed, ["x"], {}, r"\['x'\] in plate 'specimens' are observed"),
        (discrete_parameter, ["x"], {}, r"\['k'\] are discrete"),
        (not_indexed, ["x"], {}, "Index per-specimen data"),
    ],
)
def test_wrong_models_are_refused(model, keys, options, message):
    with pytest.raises(ValueError, match=message):
        Simulator(model, keys, **options)


def test_wrong_parameters_are_refused():
    population = Simulator(checkerboards, ["K_eff"], (5,))
    with pytest.raises(ValueError, match=r"missing: \['sigma'\]"):
        population.simulate({"mu": 0.0}, KEY)
    with pytest.raises(ValueError, match=r"'mu' has shape \(\) in the model; got a value of shape \(2,\)"):
        population.simulate({"mu": jnp.zeros(2), "sigma": 1.0}, KEY)
    for number in (0, -1, True):
        with pytest.raises(ValueError, match="num_specimens must be a positive integer"):
            population.resize(number)


# --- the simulation ---


@pytest.mark.x32
@pytest.mark.parametrize("chunk_size", [1, 7, 20])
def test_simulation_fills_the_plate(chunk_size):
    population = Simulator(rich, ["K_eff", "measured"], (20,), chunk_size=chunk_size)
    values = jax.jit(population.simulate)(population.parameters.sample(KEY), KEY)
    assert values["K_eff"].shape == (20, 1, 1)
    assert values["measured"].shape == (20, 1)
    assert len(np.unique(values["K_eff"])) == 20  # neither padding nor chunks repeat a specimen


def test_simulation_follows_the_models_law():
    population = Simulator(checkerboards, ["K_eff"], (4000,), chunk_size=500)
    simulated = population.simulate(TRUTH, KEY)["K_eff"]
    plain = handlers.seed(handlers.substitute(checkerboards, data=TRUTH), jax.random.key(8))(4000)
    for component in (0, 1):
        a, b = simulated[:, component, component], plain[:, component, component]
        error = jnp.sqrt((jnp.var(a) + jnp.var(b)) / 4000)
        assert abs(jnp.mean(a) - jnp.mean(b)) < 4 * error
        assert abs(jnp.log(jnp.std(a) / jnp.std(b))) < 0.1


@pytest.mark.slow
def test_a_smaller_population_is_the_beginning_of_a_larger_one():
    def of(num):
        return Simulator(checkerboards, ["K_eff"], (num,), chunk_size=8).simulate(TRUTH, KEY)["K_eff"]

    large = of(50)
    np.testing.assert_array_equal(of(21), large[:21])
    resized = Simulator(checkerboards, ["K_eff"], (50,), chunk_size=8).resize(13)
    assert resized.num_specimens == 13
    np.testing.assert_array_equal(resized.simulate(TRUTH, KEY)["K_eff"], large[:13])
    grown = Simulator(checkerboards, ["K_eff"], (5,), chunk_size=8).resize(50)
    np.testing.assert_array_equal(grown.simulate(TRUTH, KEY)["K_eff"], large)


def test_noise_is_common_to_all_parameters_and_differs_between_keys():
    population = Simulator(checkerboards, ["K_eff"], (10,))
    a = population.simulate({"mu": 0.0, "sigma": 0.5}, KEY)["K_eff"]
    b = population.simulate({"mu": 1.0, "sigma": 0.5}, KEY)["K_eff"]
    np.testing.assert_allclose(b, a * jnp.e, rtol=1e-5)  # the tensor scales with the conductivities
    assert not np.allclose(population.simulate({"mu": 0.0, "sigma": 0.5}, jax.random.key(8))["K_eff"], a)


@pytest.mark.slow
def test_per_specimen_data_follow_the_chunks():
    temperature = jnp.arange(1.0, 24.0)
    population = Simulator(rich, ["K_eff"], (23, temperature), chunk_size=5)
    params = population.parameters.sample(KEY)
    plain = Simulator(rich, ["K_eff"], (23,), chunk_size=5).simulate(params, KEY)["K_eff"]
    heated = population.simulate(params, KEY)["K_eff"]
    np.testing.assert_allclose(heated, temperature[:, None, None] * plain, rtol=1e-5)


@pytest.mark.slow
def test_derivatives_agree_with_each_other_and_with_differences(x64):
    population = Simulator(checkerboards, ["K_eff"], (15,), chunk_size=4)

    @jax.jit
    def mean(vector):
        return jnp.mean(population.simulate(population.parameters.from_vector(vector), KEY)["K_eff"][:, 0, 0] ** 2)

    x = jax.jit(population.parameters.to_vector)(TRUTH)
    gradient = jax.jit(jax.grad(mean))
    forward, reverse = jax.jit(jax.jacfwd(mean))(x), gradient(x)
    np.testing.assert_allclose(forward, reverse, rtol=1e-5)
    step = 1e-5 if x64 else 1e-2
    for i, direction in enumerate(jnp.eye(x.size)):
        difference = (mean(x + step * direction) - mean(x - step * direction)) / (2 * step)
        np.testing.assert_allclose(forward[i], difference, rtol=1e-7 if x64 else 1e-2)


@pytest.mark.slow
@pytest.mark.x64_only
def test_second_derivatives_agree_with_differences():
    population = Simulator(checkerboards, ["K_eff"], (15,), chunk_size=4)

    def mean(vector):
        return jnp.mean(population.simulate(population.parameters.from_vector(vector), KEY)["K_eff"][:, 0, 0] ** 2)

    x = jax.jit(population.parameters.to_vector)(TRUTH)
    hessian, gradient = jax.jit(jax.hessian(mean))(x), jax.jit(jax.grad(mean))
    for i, direction in enumerate(jnp.eye(x.size)):
        difference = (gradient(x + 1e-5 * direction) - gradient(x - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(hessian[i], difference, rtol=1e-6, atol=1e-8)


def test_tangents_repeat_no_solve():
    counts = []
    population = Simulator(lambda: checkerboards(20, CountingCell(counts)), ["K_eff"], chunk_size=5)
    params = {name: jnp.asarray(value) for name, value in TRUTH.items()}
    for transform in (lambda f: f, jax.jacfwd, lambda f: jax.grad(lambda p: jnp.sum(f(p)))):
        evaluate = jax.jit(transform(lambda p: population.simulate(p, KEY)["K_eff"]))
        counts.clear()
        jax.block_until_ready(evaluate(params))
        assert len(counts) == 4  # the number of chunks


def test_peak_memory_does_not_grow_with_the_population():
    def model(num_specimens):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            cells = numpyro.sample("cells", dist.Normal(mu, 1.0).expand([64, 64]).to_event(2))
            nh.homogenize("K_eff", CELL, jnp.exp(cells.reshape(-1, 4, 1024).mean(-1)))

    def temporary_bytes(num_specimens):
        population = Simulator(model, ["K_eff"], (num_specimens,), chunk_size=100)
        gradient = jax.jit(jax.value_and_grad(lambda p: jnp.mean(population.simulate(p, KEY)["K_eff"])))
        return gradient.lower({"mu": jnp.asarray(0.0)}).compile().memory_analysis().temp_size_in_bytes

    small, large = temporary_bytes(1000), temporary_bytes(100_000)
    # The values and their Jacobian are kept, 8 numbers a specimen or twice that; the fields, 4096 numbers, are not.
    assert large - small < 16 * 99_000 * 8
    assert large < 1e8


@pytest.mark.slow
def test_a_failed_member_is_nan_with_zero_derivative_unless_asked_to_raise():
    def model():
        shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", 6) as index:
            s = jnp.where(index == 2, -1.0, 1.0)[:, None] * jnp.exp(shift) * jnp.ones(4)
            nh.homogenize("K_eff", CELL, s)

    population = Simulator(model, ["K_eff"], chunk_size=4)
    values = population.simulate({"shift": 0.0}, KEY)["K_eff"]
    assert jnp.isnan(values[2]).all()
    assert jnp.isfinite(jnp.delete(values, 2, axis=0)).all()
    for jacobian in (jax.jacfwd, jax.jacrev):
        slopes = jax.jit(jacobian(lambda p: population.simulate(p, KEY)["K_eff"]))({"shift": jnp.asarray(0.0)})["shift"]
        assert jnp.isfinite(slopes).all()
        assert jnp.all(slopes[:, 0, 0] == jnp.where(jnp.arange(6) == 2, 0, slopes[0, 0, 0]))
    with pytest.raises(RuntimeError, match="positive"):
        jax.block_until_ready(population.simulate({"shift": 0.0}, KEY, throw=True))


# --- other handlers ---


class Witness(Answer):
    """Sees all messages that reach it."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def process_message(self, msg):
        self.types.add(msg["type"])
        super().process_message(msg)


def test_outer_handlers_answer_the_cells_and_see_nothing_else():
    witness = Witness()
    with witness, handlers.trace() as trace:
        population = Simulator(lambda: checkerboards(12, RaisingCell()), ["K_eff"], chunk_size=5)
        values = jax.jit(population.simulate)(TRUTH, KEY)
        population.parameters.sample(KEY)
    assert witness.types == {"homogenize"}
    assert not trace
    reference = Simulator(checkerboards, ["K_eff"], (12,), chunk_size=5).simulate(TRUTH, KEY)
    np.testing.assert_allclose(values["K_eff"], reference["K_eff"], rtol=1e-6)


def test_an_inner_emulator_answers_too():
    model = Answer(lambda: checkerboards(12, RaisingCell()))
    population = Simulator(model, ["K_eff"], chunk_size=5)
    assert population.simulate(TRUTH, KEY)["K_eff"].shape == (12, 2, 2)


def test_reparametrized_models_run():
    config = {"z": LocScaleReparam(0), "kappa": TransformReparam()}
    population = Simulator(handlers.reparam(rich, config={"kappa": TransformReparam()}), ["K_eff"], (5,))
    assert "kappa_base" in population.parameters
    population = Simulator(handlers.reparam(checkerboards, config=config), ["K_eff"], (5,))
    assert population.simulated == ("z_decentered",)
    assert population.simulate(TRUTH, KEY)["K_eff"].shape == (5, 2, 2)


def test_scoped_models_run():
    population = Simulator(handlers.scope(checkerboards, prefix="steel"), ["steel/K_eff"], (5,))
    assert population.plate == "steel/specimens"
    assert sorted(population.parameters.sample(KEY)) == ["steel/mu", "steel/sigma"]


@pytest.mark.slow
def test_a_scan_over_parameters_runs():
    def model(num_specimens):
        def step(level, _):
            level = numpyro.sample("level", dist.Normal(level, 0.1))
            return level, level

        _, levels = scan(step, 0.0, None, length=4)
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
            nh.homogenize("K_eff", CELL, jnp.exp(levels + 0.1 * z))

    population = Simulator(model, ["K_eff"], (7,), chunk_size=3)
    assert population.parameters["level"].shape == (4,)
    params = population.parameters.sample(KEY)
    np.testing.assert_allclose(
        population.parameters.from_vector(population.parameters.to_vector(params))["level"], params["level"], rtol=1e-6
    )
    gradient = jax.grad(lambda p: jnp.sum(population.simulate(p, KEY)["K_eff"]))(params)
    assert jnp.all(gradient["level"] != 0)


def test_a_plate_inside_a_scan_runs():
    def model(num_specimens):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))

        def step(time, _):
            with numpyro.plate("specimens", num_specimens):
                z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
                nh.homogenize("K_eff", CELL, jnp.exp(mu + time + 0.1 * z))
            return time + 1.0, None

        scan(step, 0.0, None, length=3)

    population = Simulator(model, ["K_eff"], (7,), chunk_size=4)
    assert population.compared == {"K_eff": (3, 2, 2)}
    values = population.simulate({"mu": 0.0}, KEY)["K_eff"]
    assert values.shape == (7, 3, 2, 2)
    np.testing.assert_allclose(jnp.log(values[:, 2, 0, 0] / values[:, 0, 0, 0]), 2, atol=0.5)
    assert set(population.parameters.sample(KEY)) == {"mu"}


def test_random_realisations_are_simulated():
    def model(num_specimens):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))

        def field_fn(rng_key, level):
            return jnp.exp(level[:, None] + 0.3 * jax.random.normal(rng_key, (level.shape[0], 4)))

        with numpyro.plate("specimens", num_specimens):
            level = numpyro.sample("level", dist.Normal(mu, 0.1))
            nh.homogenize("K_eff", CELL, field_fn, inputs=(level,), num_realizations=5)

    population = Simulator(model, ["K_eff"], (11,), chunk_size=4)
    values = population.simulate({"mu": 0.0}, KEY)["K_eff"]
    assert len(np.unique(values[:, 0, 0])) == 11
    assert set(population.parameters.sample(KEY)) == {"mu"}


@pytest.mark.slow
def test_everything_may_be_traced_and_differentiated():
    """The model closes over traced arrays; derivatives pass through nested jit; keys are arguments."""

    def mean(mu, offset, which, rng_key):
        def model():
            mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
            with numpyro.plate("specimens", 6) as index:
                z = numpyro.sample("z", dist.Normal(0.0, 1.0))
                numpyro.deterministic("x", (mu + which[index] + 0 * z) * offset)

        population = Simulator(model, ["x"], chunk_size=4)
        return jnp.mean(population.simulate({"mu": mu}, rng_key)["x"])

    arguments = (jnp.asarray(2.0), jnp.asarray(3.0), jnp.arange(6), KEY)
    value, gradient = jax.jit(jax.value_and_grad(jax.jit(mean), argnums=(0, 1)))(*arguments)
    np.testing.assert_allclose([value, *gradient], [13.5, 3.0, 4.5], rtol=1e-6)
    forward = jax.jit(jax.jacfwd(jax.jit(mean), argnums=(0, 1)))(*arguments)
    np.testing.assert_allclose(forward, [3.0, 4.5], rtol=1e-6)
    vmapped = jax.vmap(jax.grad(mean), (0, None, None, 0))(jnp.ones(3), *arguments[1:3], jax.random.split(KEY, 3))
    np.testing.assert_allclose(vmapped, 3.0, rtol=1e-6)
