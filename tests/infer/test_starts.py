"""Which starts of MinimumDistance are tried and trusted, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import laminates

import numpyro_homog as nh
from numpyro_homog.divergences import AbstractDivergence, SlicedWasserstein
from numpyro_homog.infer import LevenbergMarquardt, MinimumDistance

KEY = jax.random.key(0)
DIVERGENCE = SlicedWasserstein(12)


class NoSquares(AbstractDivergence):
    """Distance of the means."""

    def __call__(self, x, y, *, rng_key):
        return jnp.sum(jnp.abs(x.mean(0) - y.mean(0)))


def normal(num_specimens):
    mean = numpyro.sample("mean", dist.Normal(0.0, 3.0))
    spread = numpyro.sample("spread", dist.LogNormal(0.0, 0.5))
    with numpyro.plate("specimens", num_specimens):
        numpyro.sample("y", dist.Normal(mean, spread))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("y", "noise", "num_rounds", "result"),
    [
        pytest.param(jax.scipy.special.ndtri, (0.0, 1.5), 1, "successful", id="noise"),
        pytest.param(
            lambda u: jax.scipy.special.ndtri(u) + 4 * u, (1.5, 3.0), 2, "successful", id="seldom so much noise"
        ),
        pytest.param(lambda u: 10 * (u > 0.5) + 0.1 * u, (3.0, np.inf), 3, "misfit", id="two clusters"),
    ],
)
def test_above_the_noise_floor_other_rounds_of_starts_follow(y, noise, num_rounds, result):
    """Quantiles of the normal law, of one with a flatter top, and two clusters."""
    data = {"y": np.asarray(y((np.arange(300) + 0.5) / 300))}
    fit = MinimumDistance(normal, data, DIVERGENCE).run(KEY, 300, num_starts=1, progress=False)
    assert noise[0] < fit.loss / fit.noise_floor <= noise[1]
    assert fit.losses.shape[0] == num_rounds
    assert sorted(start for basin in fit.basins for start in basin.starts) == list(range(num_rounds))
    assert fit.result == getattr(nh.RESULTS, result)
    assert ("Beware: The divergence is more than three times" in fit.summary()) == (result == "misfit")


def test_what_cannot_be_right_is_said_after_the_first_round_of_starts(capsys):
    """Two clusters beside a normal law: the reason comes before the starts of the other rounds."""
    u = (np.arange(300) + 0.5) / 300
    data = {"y": np.asarray(10 * (u > 0.5) + 0.1 * u)}
    MinimumDistance(normal, data, DIVERGENCE).run(KEY, 300, num_starts=1)
    before, said, after = capsys.readouterr().err.partition("times what sampling noise makes")
    assert said
    assert "start 0" in before
    assert "start 1" not in before
    assert "another microstructure" in after.splitlines()[0]
    assert "times what sampling noise" not in after


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_basin_that_one_start_alone_has_found_is_not_trusted(seed):
    optimizer = LevenbergMarquardt(max_rounds=3)
    y = np.random.default_rng(seed).standard_normal(200)

    def model(num_specimens):
        angle = numpyro.sample("angle", dist.Normal(0.0, 3.0))  # many minima of unequal depth
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            numpyro.deterministic("y", z + jnp.cos(angle * 3) * 0.3 + 0.05 * angle**2)

    fit = MinimumDistance(model, {"y": y}, DIVERGENCE, optimizer).run(
        jax.random.key(seed), 200, num_starts=2, progress=False
    )
    assert len(fit.basins[0].starts) > 1 or fit.losses.shape[0] == 6


@pytest.mark.slow
def test_a_basin_where_the_descent_ran_away_is_not_trusted():
    """Far out on the right the mean stays at 0.1, which 200 specimens do not refuse; on the left it can be zero."""
    y = np.random.default_rng(0).permutation(jax.scipy.special.ndtri((np.arange(200) + 0.5) / 200))

    def model(num_specimens):
        a = numpyro.sample("a", dist.Normal(0.0, 2.0))
        mean = 0.1 + jnp.where(a < 0, 1 + a, jnp.exp(-jnp.abs(a)))
        with numpyro.plate("specimens", num_specimens):
            numpyro.sample("y", dist.Normal(mean, 1.0))

    estimator = MinimumDistance(model, {"y": y}, DIVERGENCE)
    starts = [{"a": 1.0}, {"a": 3.0}]
    fit = estimator.run(KEY, 200, num_starts=2, starts=starts, progress=False)
    runaway = next(basin for basin in fit.basins if 0 in basin.starts)
    assert set(runaway.starts) >= {0, 1}
    assert runaway.loss < 3 * fit.noise_floor
    assert fit.params["a"] < 0
    assert not fit.undetermined


def test_all_starts_failing_is_an_error_with_advice():
    def model(num_specimens):
        kappa = numpyro.sample("kappa", dist.Normal(-50.0, 1.0))  # negative conductivities
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
            nh.homogenize("K_eff", nh.CheckerboardCell(), kappa + z)

    tensors = jnp.eye(2) * (1 + jax.random.uniform(KEY, (20, 1, 1)))
    with pytest.warns(UserWarning, match="without spread"):
        estimator = MinimumDistance(model, {"K_eff": tensors}, DIVERGENCE)
    with pytest.raises(RuntimeError, match=r"All 6 starts failed.*kappa"):
        estimator.run(KEY, 20, num_starts=2, progress=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((1, 1, 1)), "one specimen"),
        (np.ones((5, 1, 1)), "identical"),
        (np.full((5, 1, 1), np.nan), "not finite"),
    ],
)
def test_degenerate_data_are_refused_at_construction(data, message):
    with pytest.raises(ValueError, match=message):
        MinimumDistance(laminates, {"K_eff": data}, DIVERGENCE)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"K_off": np.arange(4.0)}, {}, "K_off"),
        ({"K_eff": np.arange(4.0)}, {}, "shape"),
        ({"K_eff": np.arange(4.0).reshape(4, 1, 1)}, {"num_starts": 0}, "num_starts"),
    ],
)
def test_wrong_runs_are_refused_before_compilation(data, options, message, monkeypatch):
    monkeypatch.setattr("jax.stages.Lowered.compile", lambda *args: pytest.fail("compiled"))
    with pytest.raises(ValueError, match=message):
        MinimumDistance(laminates, data, DIVERGENCE).run(KEY, 10, progress=False, **options)


@pytest.mark.parametrize(
    ("divergence", "optimizer", "options", "message"),
    [
        (NoSquares(), None, {}, "sum of squares"),
        (NoSquares(), LevenbergMarquardt(), {}, "sum of squares"),
        (DIVERGENCE, None, {"num_steps": 10}, "optax"),
    ],
)
def test_options_that_do_not_fit_are_refused(divergence, optimizer, options, message):
    with pytest.raises(ValueError, match=message):
        MinimumDistance(laminates, {"K_eff": np.arange(4.0)}, divergence, optimizer, **options)


def test_a_function_is_no_divergence():
    with pytest.raises(Exception, match="divergence"):
        MinimumDistance(laminates, {"K_eff": np.arange(4.0)}, lambda x, y: 0.0)
