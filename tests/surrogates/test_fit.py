"""Training: a surrogate of known law is found again, what is held out is judged, bad pairs are refused."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from surrogate_models import CELL, NUM_GRAINS, make_surrogate

import numpyro_homog as nh
from numpyro_homog.surrogates import FractionSurrogate

NUM = 1500


@functools.cache
def pairs():
    """Fractions, conductivities and draws of a surrogate that is known."""
    keys = jax.random.split(jax.random.key(5), 3)
    fractions = jax.random.dirichlet(keys[0], jnp.ones(3), (NUM,))
    kappa = jnp.array([1.0, 5.0, 10.0]) * jnp.exp(0.3 * jax.random.normal(keys[1], (NUM, 3)))
    return (fractions, kappa), eqx.filter_jit(make_surrogate().sample)(keys[2], fractions, kappa)


@functools.cache
def fitted():
    untrained = FractionSurrogate(CELL, NUM_GRAINS, rng_key=jax.random.key(6), width=16, depth=1)
    return nh.fit_surrogate(jax.random.key(7), untrained, *pairs(), num_members=2, num_steps=500)


def test_it_finds_the_law_that_has_drawn_the_pairs():
    """Held-out residuals are standard within 4.5 errors, and the log density comes near that of the truth."""
    fit, ((fractions, kappa), tensors) = fitted(), pairs()
    num = len(fit.residuals)
    assert num == NUM // 10
    assert (np.abs(fit.residuals.mean(axis=0)) < 4.5 / num**0.5).all()
    assert (np.abs(fit.residuals.std(axis=0) - 1) < 4.5 / (2 * num) ** 0.5 + 0.05).all()
    truth = float(jnp.mean(eqx.filter_jit(make_surrogate().log_prob)(tensors, fractions, kappa)))
    learned = float(jnp.mean(eqx.filter_jit(fit.value.log_prob)(tensors, fractions, kappa)))
    assert abs(learned - truth) < 0.1
    assert fit.losses.shape == (2, 500)
    assert 0.5 < fit.error_percent / fit.spread_percent < 1.5


def test_members_differ_more_where_no_pair_was(eps):
    near = fitted().value.uncertainty(*(x[:50] for x in pairs()[0]))
    far = fitted().value.uncertainty(pairs()[0][0][:50], jnp.array([1.0, 1e3, 1e5]))
    assert jnp.median(far) > 3 * jnp.median(near)


def test_the_report_is_a_table():
    text = str(fitted())
    assert "Surrogate" in text
    assert "cells held out" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, k: ((x[0][:9], x[1][:9]), k[:9]), "at least 20 cells, better hundreds; got 9"),
        (lambda x, k: (x, k[:-1]), r"along the first axis; got \[1500, 1500, 1499\]"),
        (lambda x, k: (x, k.at[0].set(jnp.nan)), "not finite: leave out the cells that have failed"),
        (lambda x, k: (x, jnp.broadcast_to(jnp.eye(2), k.shape)), "All tensors are equal"),
        (lambda x, k: (x, -k), "must be symmetric positive definite"),
    ],
)
def test_pairs_that_teach_nothing_are_refused(change, message):
    untrained = FractionSurrogate(CELL, NUM_GRAINS, rng_key=jax.random.key(6), width=16, depth=1)
    with pytest.raises(ValueError, match=message):
        nh.fit_surrogate(jax.random.key(7), untrained, *change(*pairs()))


def test_options_out_of_range_are_refused():
    untrained = FractionSurrogate(CELL, NUM_GRAINS, rng_key=jax.random.key(6), width=16, depth=1)
    with pytest.raises(ValueError, match=r"held_out between 0 and 1; got 4, 2000, 256 and 1\.0"):
        nh.fit_surrogate(jax.random.key(7), untrained, *pairs(), held_out=1.0)


def test_a_surrogate_needs_a_cell_and_inputs_that_it_knows():
    with pytest.raises(TypeError, match=r"knows a CellProblem of Conductivity or LinearElasticity; got LaminateCell"):
        FractionSurrogate(nh.LaminateCell(), 9, rng_key=jax.random.key(0))
    with pytest.raises(ValueError, match="num_grains must be a positive integer; got 0"):
        FractionSurrogate(CELL, 0, rng_key=jax.random.key(0))
    with pytest.raises(ValueError, match="are fractions and conductivities, phases last"):
        make_surrogate().mean(jnp.ones(3) / 3, jnp.ones(2))
