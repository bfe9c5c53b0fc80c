"""One specimen of a thousand that cannot be solved: told, and on request left out."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from numpyro.infer.util import log_density

import numpyro_homog as nh
from numpyro_homog.clouds import without_failed
from numpyro_homog.divergences import AbstractDivergence, SlicedWasserstein
from numpyro_homog.infer import MinimumDistance, identifiability

KEY = jax.random.key(0)
DIVERGENCE = SlicedWasserstein(4)


def normal(num_specimens, broken=()):
    mean = numpyro.sample("mean", dist.Normal(0.0, 3.0))
    with numpyro.plate("specimens", num_specimens) as index:
        y = numpyro.sample("y", dist.Normal(mean, 1.0))
        is_broken = jnp.isin(index, jnp.asarray(broken, int))
        numpyro.deterministic("z", jnp.where(is_broken, jnp.nan, y))


class DistanceOfMeans(AbstractDivergence):
    """No residuals."""

    def __call__(self, x, y, *, rng_key):
        return jnp.sum((jnp.mean(x, axis=0) - jnp.mean(y, axis=0)) ** 2)


@pytest.mark.x32
def test_failed_rows_become_copies_of_others_in_turn():
    rows = {"a": jnp.array([[0.0], [jnp.nan], [2.0], [3.0], [jnp.inf]]), "b": jnp.arange(5.0)}
    healed, index = without_failed(rows, 0.4)
    assert index.tolist() == [0, 0, 2, 3, 2]
    np.testing.assert_array_equal(healed["a"][:, 0], [0, 0, 2, 3, 2])
    np.testing.assert_array_equal(healed["b"], [0, 0, 2, 3, 2])
    assert without_failed(rows, 0.3)[1].tolist() == list(range(5))


@pytest.mark.slow
def test_one_failed_specimen_is_told_and_left_out_on_request():
    """Every evaluation was refused; without it the fit is that of the others."""
    data = {"z": np.random.default_rng(0).standard_normal(100) + 1}
    with pytest.raises(RuntimeError, match=r"All 3 starts failed.*1 of 200 specimens failed, \[7\].*max_failed"):
        MinimumDistance(normal, data, DIVERGENCE).run(KEY, 200, (7,), num_starts=1, progress=False)
    fit = MinimumDistance(normal, data, DIVERGENCE, max_failed=0.01).run(KEY, 200, (7,), num_starts=1, progress=False)
    assert fit.stats["failed"] == 1
    assert "left out because they fail: 1 simulated" in fit.summary()
    assert abs(fit.params["mean"] - data["z"].mean()) < 0.2
    assert 0.05 < fit.standard_errors["mean"] < 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("divergence", "failed"), [(DIVERGENCE, 1), (DistanceOfMeans(), None)])
def test_failed_specimens_are_counted_with_residuals_and_never_said_to_be_none_without(divergence, failed):
    data = {"z": np.random.default_rng(0).standard_normal(100) + 1}
    estimator = MinimumDistance(normal, data, divergence, optimizer=optax.adam(0.1), num_steps=20, max_failed=0.01)
    fit = estimator.run(KEY, 200, (7,), num_starts=1, progress=False)
    assert fit.stats["failed"] == failed


def test_identifiability_leaves_failed_specimens_out_on_request():
    call = {"keys": ["z"], "rng_key": KEY, "num_populations": 2}
    with pytest.raises(RuntimeError, match="max_failed"):
        identifiability(normal, {"mean": 1.0}, DIVERGENCE, 200, (7,), **call)
    report = identifiability(normal, {"mean": 1.0}, DIVERGENCE, 200, (7,), **call, max_failed=0.01)
    assert 0.07 < report.standard_errors(100)["mean"] < 0.15


@pytest.mark.slow
def test_a_posterior_leaves_failed_specimens_out_on_request():
    """Its density was zero everywhere, and no chain could begin."""
    data = {"z": np.random.default_rng(0).standard_normal(50) + 1}

    def density(mean, max_failed):
        posterior = nh.generalized_bayes(
            normal, data, DIVERGENCE, rng_key=KEY, loss_scale=1.0, max_failed=max_failed, chunk_size=100
        )
        return log_density(posterior, (100, (7,)), {}, {"mean": mean})[0]

    value, gradient = jax.jit(jax.value_and_grad(density), static_argnums=1)(1.0, 0.01)
    assert np.isfinite(value)
    assert np.isfinite(gradient)
    assert gradient != 0
    assert jax.jit(density, static_argnums=1)(1.0, 0.0) == -np.inf


@pytest.mark.parametrize("max_failed", [-0.1, 1.0, 5, "1 %"])
def test_what_is_no_fraction_is_refused(max_failed):
    with pytest.raises(Exception, match="max_failed"):
        MinimumDistance(normal, {"z": np.arange(4.0)}, DIVERGENCE, max_failed=max_failed)
