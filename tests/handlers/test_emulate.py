"""A surrogate answers cells wherever it stands, and nothing is drawn or solved."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from surrogate_models import CELL, TRUTH, drawn_fields, make_surrogate, model

import numpyro_homog as nh
from numpyro_homog.population import Simulator

SURROGATES = {"K_eff": make_surrogate()}


def simulate(model):
    return jax.jit(lambda params, key: Simulator(model, ["K_eff"], (6,)).simulate(params, key)["K_eff"])


def test_inside_and_outside_it_answers_with_the_same_draws_and_nothing_is_drawn_or_solved():
    drawn_fields.clear()
    key = jax.random.key(3)
    inside = simulate(nh.emulate(model, SURROGATES))(TRUTH, key)
    with nh.emulate(None, SURROGATES):
        outside = simulate(model)(TRUTH, key)
    np.testing.assert_array_equal(inside, outside)
    jax.effects_barrier()
    assert not drawn_fields
    assert np.linalg.eigvalsh(inside).min() > 0
    simulate(model)(TRUTH, key).block_until_ready()
    jax.effects_barrier()
    assert drawn_fields  # the counter counts


def test_common_random_numbers_and_realisations():
    """The mean of many realisations is nearer to the expected tensor, which `spread=False` gives."""

    def answer(num_realizations, **options):
        conditioned = handlers.condition(nh.emulate(model, SURROGATES, **options), {**TRUTH, "fractions": FRACTIONS})
        trace = handlers.trace(handlers.seed(conditioned, jax.random.key(0)))
        return jax.jit(lambda: trace.get_trace(400, num_realizations)["K_eff"]["value"])()

    FRACTIONS = jnp.broadcast_to(jnp.array([0.2, 0.3, 0.5]), (400, 3))
    one, four, expected = answer(1), answer(4), answer(4, spread=False)
    np.testing.assert_array_equal(one, answer(1))
    np.testing.assert_allclose(jnp.std(one, axis=0) / jnp.std(four, axis=0), 2, rtol=0.2)
    assert (jnp.abs(jnp.mean(four, axis=0) - expected[0]) < 4.5 * jnp.std(four, axis=0) / 20).all()


@pytest.mark.slow
def test_the_log_density_of_a_posterior_is_that_of_the_emulated_model():
    data = {"K_eff": np.asarray(simulate(nh.emulate(model, SURROGATES))(TRUTH, jax.random.key(4)))}

    def posterior(model):
        options = {"rng_key": jax.random.key(5), "loss_scale": 1.0}
        return nh.generalized_bayes(model, data, nh.SlicedWasserstein(4), **options)

    def log_density(model):
        return numpyro.infer.util.log_density(model, (6,), {}, TRUTH)[0]

    inside = jax.jit(lambda: log_density(posterior(nh.emulate(model, SURROGATES))))()
    outside = jax.jit(lambda: log_density(nh.emulate(posterior(model), SURROGATES)))()
    np.testing.assert_allclose(inside, outside, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    other = make_surrogate(dataclasses.replace(CELL, grid=nh.Grid((4, 4))))
    with pytest.raises(ValueError, match="was made for another cell"):
        handlers.seed(nh.emulate(model, {"K_eff": other}), 0)(3)

    def with_a_field(num_specimens):
        with numpyro.plate("specimens", num_specimens):
            nh.homogenize("K_eff", CELL, jnp.ones((num_specimens, 8, 8)))

    with pytest.raises(ValueError, match=r"has no key to draw with.*homogenize\(name, cell, field_fn"):
        handlers.seed(nh.emulate(with_a_field, SURROGATES), 0)(3)
