"""The primitive homogenize: its message, its site, and NumPyro's own handlers around it."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer import MCMC, NUTS, Predictive
from numpyro.infer.reparam import TransformReparam
from toy_models import CELL, Answer, RaisingCell, checkerboards

import numpyro_homog as nh

KEY = jax.random.key(11)
FIELD = jnp.array([[1.0, 2.0, 5.0, 10.0], [1.0, 1.0, 1.0, 1.0]])


@pytest.mark.x32
def test_without_handlers_it_is_the_pure_function():
    np.testing.assert_array_equal(nh.homogenize("K_eff", CELL, FIELD), nh.effective_tensor(CELL, FIELD))
    np.testing.assert_allclose(nh.homogenize("K_eff", CELL, FIELD)[0, 0, 0], 4.136557882, rtol=1e-6)


@pytest.mark.x32
def test_the_value_is_a_deterministic_site():
    trace = handlers.trace(lambda: nh.homogenize("K_eff", CELL, FIELD)).get_trace()
    assert list(trace) == ["K_eff"]
    assert trace["K_eff"]["type"] == "deterministic"
    np.testing.assert_array_equal(trace["K_eff"]["value"], nh.effective_tensor(CELL, FIELD))


def test_a_handler_answers_before_any_solver_work():
    with Answer(answer=lambda s: jnp.eye(2) * s[..., :1, None]) as _, handlers.trace() as trace:
        value = nh.homogenize("K_eff", RaisingCell(), FIELD)
    np.testing.assert_array_equal(value, np.broadcast_to(np.eye(2), (2, 2, 2)))
    np.testing.assert_array_equal(trace["K_eff"]["value"], value)


def test_the_message_says_what_is_asked():
    class Witness(Answer):
        def process_message(self, msg):
            if msg["type"] == "homogenize":
                self.message = dict(msg)
            super().process_message(msg)

    witness = Witness()
    with witness:
        nh.homogenize("K_eff", CELL, FIELD)
    assert witness.message["site"] == "K_eff"
    assert witness.message["cell"] == CELL
    assert witness.message["inputs"] == (FIELD,)
    assert witness.message["args"] == ()  # a closure: arrays in args would break scan
    assert witness.message["value"] is None
    assert "name" not in witness.message  # trace records what has a name; this message is not a site
    np.testing.assert_array_equal(witness.message["fn"](), nh.effective_tensor(CELL, FIELD))


def field_of(rng_key, fractions, kappa):
    """One of two checkerboards in the fractions, at the conductivities of all specimens."""
    order = jax.random.permutation(rng_key, 4)
    return (fractions @ kappa)[:, None] * jnp.arange(1.0, 5.0)[order][None]


def test_a_request_can_be_evaluated_again_at_other_inputs_and_knows_shapes_without_a_solve():
    class Witness(Answer):
        def process_message(self, msg):
            if msg["type"] == "homogenize":
                self.request = msg["request"]
                assert self.request.shape.shape == (3, 2, 2)
                assert self.request.event_ranks == (1, 1)  # one mixture for each specimen, conductivities for all
            super().process_message(msg)

    witness = Witness(answer=lambda fractions, kappa: jnp.zeros((3, 2, 2)))
    inputs = (jnp.full((3, 2), 0.5), jnp.array([1.0, 3.0]))
    with witness, handlers.seed(rng_seed=0):
        nh.homogenize("K_eff", RaisingCell(), field_of, inputs=inputs, num_realizations=4)
        nh.homogenize("K_eff", CELL, field_of, inputs=inputs, num_realizations=4)
    there = witness.request.evaluate((jnp.full((5, 2), 0.5), jnp.array([2.0, 6.0])), KEY)
    np.testing.assert_allclose(there[:3], 2 * witness.request.evaluate(inputs, KEY), rtol=1e-6)


def test_hiding_the_site_does_not_hide_the_message():
    emulator = Answer()
    with emulator, handlers.trace() as trace, handlers.block(hide=["K_eff"]):
        nh.homogenize("K_eff", RaisingCell(), FIELD)
    assert not trace
    assert emulator.sites == ["K_eff"]


def test_scope_renames_the_site():
    trace = handlers.trace(handlers.scope(lambda: nh.homogenize("K_eff", CELL, FIELD), prefix="steel")).get_trace()
    assert list(trace) == ["steel/K_eff"]


@pytest.mark.slow
def test_jit_vmap_and_grad_of_a_seeded_model():
    def draw(rng_key):
        return handlers.seed(checkerboards, rng_key)(3)

    keys = jax.random.split(KEY, 4)
    expected = jnp.stack([draw(key) for key in keys])
    np.testing.assert_allclose(jax.jit(jax.vmap(draw))(keys), expected, rtol=1e-6)

    def mean(mu):
        return jnp.mean(handlers.seed(handlers.substitute(checkerboards, data={"mu": mu}), KEY)(3)[:, 0, 0])

    value, gradient = jax.value_and_grad(mean)(0.5)
    np.testing.assert_allclose(gradient, value, rtol=1e-6)  # exp(mu) scales the conductivities


@pytest.mark.parametrize("parallel", [False, True])
def test_predictive_draws_tensors(parallel):
    samples = {"mu": jnp.zeros(5), "sigma": jnp.full(5, 0.5)}
    predictive = Predictive(checkerboards, samples, return_sites=["K_eff"], parallel=parallel)
    drawn = predictive(KEY, 7)
    assert set(drawn) == {"K_eff"}
    assert drawn["K_eff"].shape == (5, 7, 2, 2)
    assert len(np.unique(drawn["K_eff"][..., 0, 0])) == 35


def test_scan_collects_the_tensors():
    def model():
        def step(level, _):
            level = numpyro.sample("level", dist.Normal(level, 0.1))
            effective = nh.homogenize("K_eff", CELL, jnp.exp(level) * FIELD)
            return level, effective

        return scan(step, 0.0, None, length=6)[1]

    trace = handlers.trace(handlers.seed(model, KEY)).get_trace()
    assert trace["K_eff"]["value"].shape == (6, 2, 2, 2)
    levels = trace["level"]["value"]
    expected = jnp.exp(levels)[:, None, None, None] * nh.effective_tensor(CELL, FIELD)
    np.testing.assert_allclose(trace["K_eff"]["value"], expected, rtol=1e-5)


def test_transform_reparam_leaves_the_tensor():
    def model():
        s = numpyro.sample("s", dist.LogNormal(0.0, 1.0).expand([4]).to_event(1))
        return nh.homogenize("K_eff", CELL, s)

    trace = handlers.trace(handlers.seed(handlers.reparam(model, config={"s": TransformReparam()}), KEY)).get_trace()
    assert {"s_base", "s", "K_eff"} == set(trace)
    np.testing.assert_array_equal(trace["K_eff"]["value"], nh.effective_tensor(CELL, trace["s"]["value"]))


@pytest.mark.slow
@pytest.mark.parametrize("chain_method", ["vectorized", "sequential"])
def test_nuts_on_a_single_specimen(chain_method):
    """One specimen with an ordinary likelihood needs no handler of ours."""

    def model(measured=None):
        log_s = numpyro.sample("log_s", dist.Normal(0.0, 0.5))
        field = jnp.exp(log_s) * jnp.array([1.0, 2.0, 5.0, 10.0])
        effective = nh.homogenize("K_eff", CELL, field, throw=False)  # the search for a step size goes far
        numpyro.sample("measured", dist.Normal(effective[0, 0], 0.1), obs=measured)

    mcmc = MCMC(
        NUTS(model), num_warmup=100, num_samples=200, num_chains=2, chain_method=chain_method, progress_bar=False
    )
    mcmc.run(KEY, measured=4.136557882)
    samples = mcmc.get_samples()
    assert samples["K_eff"].shape == (400, 2, 2)
    assert abs(jnp.mean(samples["log_s"])) < 0.02  # posterior standard deviation .024 over some hundred draws


# --- a function of inputs, averaged over realisations ---


def lognormal_field(rng_key, level):
    return jnp.exp(level + 0.5 * jax.random.normal(rng_key, (4,)))


def test_field_fn_is_averaged_over_realisations():
    def model():
        return nh.homogenize("K_eff", CELL, lognormal_field, inputs=(0.3,), num_realizations=4000)

    effective = handlers.seed(model, KEY)()
    # In two dimensions with log-symmetric noise E log K = 0.3; the mean tensor is isotropic.
    np.testing.assert_allclose(effective[0, 0], effective[1, 1], rtol=0.05)
    assert np.exp(0.3) < effective[0, 0] < np.exp(0.3 + 0.5**2 / 2)


def test_field_fn_is_not_called_when_a_handler_answers():
    def field_fn(rng_key, level):
        raise RuntimeError("rasterised")

    emulator = Answer(answer=lambda level: jnp.exp(level) * jnp.eye(2))
    with emulator, handlers.seed(rng_seed=0):
        value = nh.homogenize("K_eff", CELL, field_fn, inputs=(0.0,), num_realizations=10)
    np.testing.assert_array_equal(value, np.eye(2))


def test_field_fn_without_a_seed_is_refused():
    with handlers.trace(), pytest.raises(ValueError, match="seed the model"):
        nh.homogenize("K_eff", CELL, lognormal_field, inputs=(0.0,), num_realizations=10)


# --- bad input ---


@pytest.mark.parametrize(
    ("field", "options"),
    [
        (FIELD, {"inputs": (1.0,), "num_realizations": 3}),
        (FIELD, {"num_realizations": 3}),
        (lognormal_field, {}),
        (lognormal_field, {"inputs": (1.0,)}),
    ],
)
def test_field_and_inputs_must_fit_together(field, options):
    with pytest.raises(ValueError, match="either a field, or a function"):
        nh.homogenize("K_eff", CELL, field, **options)


def test_a_wrong_field_is_refused_at_call():
    cell = nh.CellProblem(nh.Grid((8, 8)), nh.Conductivity(), nh.Periodic())
    with pytest.raises(ValueError, match=r"\(8, 7\)"):
        nh.homogenize("K_eff", cell, jnp.ones((8, 7)))


def test_a_bad_coefficient_raises_at_run_time():
    with pytest.raises(RuntimeError, match="positive"):
        nh.homogenize("K_eff", CELL, -FIELD).block_until_ready()
