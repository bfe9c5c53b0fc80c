"""The optax route of MinimumDistance."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from estimator_models import LAMINATE_TRUTH, laminates, measured

import numpyro_homog as nh
from numpyro_homog.divergences import AbstractDivergence, SlicedWasserstein
from numpyro_homog.infer import MinimumDistance

KEY = jax.random.key(0)


class MeanAndSpread(AbstractDivergence):
    """Distance of means and standard deviations: no sum of squares."""

    def __call__(self, x, y, *, rng_key):
        return jnp.sum(jnp.abs(x.mean(0) - y.mean(0)) + jnp.abs(x.std(0) - y.std(0)))


@pytest.fixture(scope="module")
def data():
    return measured(laminates, LAMINATE_TRUTH, 500)


def fit(data, *, divergence=None, num_steps=10, **options):
    divergence = SlicedWasserstein() if divergence is None else divergence
    estimator = MinimumDistance(laminates, data, divergence, optax.adam(0.05), num_steps=num_steps, **options)
    return estimator.run(KEY, 64, num_starts=2, progress=False)


@pytest.mark.slow
def test_losses_params_and_costs(data):
    result = fit(data, num_steps=30, batch_size=50)
    assert result.losses.shape == (2, 30)
    assert np.isfinite(result.losses).all()
    # Fresh noise: no two steps see the same loss.
    assert len(np.unique(result.losses)) == result.losses.size
    # Both ends are linearised; the better one again, if its loss on held noise is not the lower one. Half as many again
    # as a population are for the standard errors.
    assert result.stats["solves"] - 2 * 30 * 64 - 3 * 32 in (2 * 64, 3 * 64)
    assert result.params["kappa"].shape == (2,)
    assert set(result.standard_errors) == {"kappa", "shift"}
    best = np.argmin(result.losses[:, -15:].mean(axis=1))
    assert result.basins[0].starts[0] == best


@pytest.mark.slow
def test_a_divergence_without_residuals_has_no_standard_errors(data):
    result = fit(data, divergence=MeanAndSpread())
    assert result.standard_errors is None
    assert result.covariance is None
    assert result.loss_scale is None
    assert np.isfinite(result.loss)
    assert len(result.basins) == 2
    assert "kappa[1]" in result.summary()
    with pytest.raises(ValueError, match="standard errors"):
        result.to_arviz()


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_skipped(data):
    class Sometimes(AbstractDivergence):
        """NaN in one step of three."""

        def __call__(self, x, y, *, rng_key):
            loss = jnp.sum((x.mean(0) - y.mean(0)) ** 2)
            return jnp.where(jax.random.uniform(rng_key) < 1 / 3, jnp.nan, loss)

    result = fit(data, divergence=Sometimes(), num_steps=30)
    assert 0 < np.isnan(result.losses).sum() < 40
    assert np.isfinite(result.unconstrained).all()


def test_all_starts_failing_is_an_error(data):
    class Never(AbstractDivergence):
        """Always NaN."""

        def __call__(self, x, y, *, rng_key):
            return jnp.sum(x) * jnp.nan

    with pytest.raises(RuntimeError, match="All 2 starts failed"):
        fit(data, divergence=Never(), num_steps=3)


@pytest.mark.slow
def test_gradient_descent_ends_near_the_truth(data):
    """500 steps of 300 specimens; within 10 % for the conductivities, where least squares has 3 %."""
    estimator = MinimumDistance(
        laminates, data, SlicedWasserstein(), optax.adam(optax.cosine_decay_schedule(0.05, 600)), num_steps=600
    )
    result = estimator.run(KEY, 300, num_starts=3, progress=False)
    np.testing.assert_allclose(result.params["kappa"], LAMINATE_TRUTH["kappa"], rtol=0.1)
    assert result.result == nh.RESULTS.successful


@pytest.mark.parametrize("options", [{"num_steps": None}, {"num_steps": 0}, {"num_steps": 3, "batch_size": 0}])
def test_steps_are_needed(data, options):
    with pytest.raises(ValueError, match="num_steps"):
        MinimumDistance(laminates, data, SlicedWasserstein(), optax.adam(0.1), **options)
