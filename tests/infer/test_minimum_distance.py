"""MinimumDistance on cells in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import BOARD_TRUTH, LAMINATE_TRUTH, laminates, measured, noisy_boards, shifted

import numpyro_homog as nh
from numpyro_homog.divergences import SlicedWasserstein
from numpyro_homog.infer import MinimumDistance, MinimumDistanceResult

KEY = jax.random.key(0)
DIVERGENCE = SlicedWasserstein(12)


def z_scores(fit, truth):
    return np.concatenate(
        [np.ravel((fit.params[k] - np.asarray(truth[k])) / fit.standard_errors[k]) for k in fit.params]
    )


@pytest.fixture(scope="module")
def laminate_data():
    return measured(laminates, LAMINATE_TRUTH, 600)


@pytest.fixture(scope="module")
def laminate_estimator(laminate_data):
    # Small chunks, so that the population of 1500 is screened on 500 of its specimens.
    return MinimumDistance(laminates, laminate_data, DIVERGENCE, chunk_size=250)


@pytest.fixture(scope="module")
def laminate_fit(laminate_estimator) -> MinimumDistanceResult:
    return laminate_estimator.run(KEY, 1500, progress=False)


@pytest.mark.x32
def test_recovers_the_truth_within_its_standard_errors(laminate_fit):
    """Three parameters at four standard errors: a false alarm in 5000."""
    assert laminate_fit.result == nh.RESULTS.successful
    assert np.abs(z_scores(laminate_fit, LAMINATE_TRUTH)).max() < 4
    assert laminate_fit.standard_errors["kappa"].max() < 0.5
    assert laminate_fit.loss < 4 * laminate_fit.noise_floor


def test_the_order_of_an_ordered_prior_holds(laminate_fit):
    """Swapped phases have the same law; a fit once ended there, because the support of the prior is not ordered."""
    for basin in laminate_fit.basins:
        assert basin.params["kappa"][0] < basin.params["kappa"][1]


def test_shapes_and_names(laminate_fit):
    assert laminate_fit.params["kappa"].shape == (2,)
    assert laminate_fit.params["shift"].shape == ()
    assert laminate_fit.labels == ("kappa[0]", "kappa[1]", "shift")
    assert {k: v.shape for k, v in laminate_fit.standard_errors.items()} == {"kappa": (2,), "shift": ()}
    np.testing.assert_allclose(np.sqrt(np.diag(laminate_fit.covariance))[:2], laminate_fit.standard_errors["kappa"])
    assert laminate_fit.unconstrained.shape == (3,)
    assert laminate_fit.loss_scale > 0
    assert laminate_fit.undetermined == ()


def test_basins_account_for_every_start(laminate_fit):
    starts = sorted(start for basin in laminate_fit.basins for start in basin.starts)
    assert starts == [0, 1, 2, 3, 4]
    best = laminate_fit.basins[0]
    assert best.loss == laminate_fit.loss
    assert best.num_specimens == 1500
    np.testing.assert_array_equal(best.params["kappa"], laminate_fit.params["kappa"])


def test_the_curvature_and_the_loss_scale_are_of_one_piece(laminate_fit):
    """In the trace weighted by the curvature, the Gibbs posterior is as wide as the sandwich."""
    assert np.linalg.eigvalsh(laminate_fit.curvature).min() > 0
    width = np.trace(laminate_fit.curvature @ laminate_fit.unconstrained_covariance)
    np.testing.assert_allclose(2 * laminate_fit.loss_scale * width, len(laminate_fit.unconstrained), rtol=1e-6)


def test_losses_are_padded_and_fall(laminate_fit):
    losses, screening = laminate_fit.losses, laminate_fit.stats["screening_iterations"]
    assert losses.shape[0] == 5
    for row, length in zip(losses, screening, strict=True):
        row = row[np.isfinite(row)]
        # It may rise once before, from few specimens to more, and once there.
        assert (np.diff(row[:length]) > 0).sum() <= 1
        assert (np.diff(row[length:]) <= 0).all()
    looks, for_errors = 4 * 5, 2  # one and a half populations, in two parts
    assert laminate_fit.stats["iterations"] == np.isfinite(losses).sum() + looks + for_errors
    assert laminate_fit.stats["solves"] < 1500 * laminate_fit.stats["iterations"]


def test_texts(laminate_fit):
    text = repr(laminate_fit)
    for word in ("kappa[1]", "standard error", "divergence", "basin", "converged", "specimens simulated"):
        assert word in text
    assert "Beware" not in text


def test_a_second_run_compiles_nothing_and_is_the_same(laminate_estimator, laminate_fit, monkeypatch):
    def refuse(self, name, fn, *args):
        raise AssertionError("compiled again")

    monkeypatch.setattr("jax.stages.Lowered.compile", refuse)
    again = laminate_estimator.run(KEY, 1500, progress=False)
    np.testing.assert_array_equal(again.unconstrained, laminate_fit.unconstrained)
    np.testing.assert_array_equal(again.losses, laminate_fit.losses)
    other = laminate_estimator.run(jax.random.key(5), 1500, num_starts=1, progress=False)
    assert np.abs(other.unconstrained - laminate_fit.unconstrained).max() > 0


@pytest.mark.slow
def test_the_model_is_traced_once_for_each_size(laminate_data):
    traces = []

    def counted(num_specimens):
        traces.append(1)
        laminates(num_specimens)

    estimator = MinimumDistance(counted, laminate_data, SlicedWasserstein(3))
    estimator.run(KEY, 100, num_starts=2, progress=False)
    once = len(traces)
    estimator.run(jax.random.key(1), 100, num_starts=3, progress=False)
    assert len(traces) == once


@pytest.mark.slow
def test_arviz_and_netcdf(laminate_fit, tmp_path):
    import arviz as az

    inference_data = laminate_fit.to_arviz(num_draws=4000)
    assert "not a posterior" in inference_data.posterior.attrs["inference"]
    draws = inference_data.posterior["kappa"]
    assert draws.shape == (1, 4000, 2)
    # The delta method against the draws themselves: equal to first order in the error.
    np.testing.assert_allclose(draws.std(("chain", "draw")), laminate_fit.standard_errors["kappa"], rtol=0.2)
    inference_data.to_netcdf(str(tmp_path / "fit.nc"))
    again = az.from_netcdf(str(tmp_path / "fit.nc"))
    np.testing.assert_allclose(again.point_estimate["kappa"], laminate_fit.params["kappa"])
    np.testing.assert_allclose(again.observed_data["K_eff"], laminate_fit.data["K_eff"])


@pytest.mark.slow
@pytest.mark.parametrize("num_rounds", [1, 3])
def test_resuming_a_finished_run_simulates_for_the_standard_errors_alone(num_rounds, laminate_data, tmp_path):
    """Parameters that the data do not tell ask for three rounds of starts."""
    path = tmp_path / "run.npz"
    model, data = (laminates, laminate_data) if num_rounds == 1 else (shifted, {"y": np.linspace(0.0, 1.0, 100)})
    estimator = MinimumDistance(model, data, SlicedWasserstein(3))
    first = estimator.run(KEY, 100, num_starts=1, progress=False, checkpoint=path)
    again = estimator.run(KEY, 100, num_starts=1, progress=False, checkpoint=path)
    assert first.losses.shape[0] == num_rounds
    assert again.stats["solves"] == first.stats["solves"] + 100
    np.testing.assert_array_equal(first.covariance, again.covariance)
    with pytest.raises(ValueError, match="another run"):
        estimator.run(jax.random.key(1), 100, num_starts=1, progress=False, checkpoint=path)


@pytest.mark.slow
def test_an_interrupt_leaves_the_checkpoint_and_says_so(laminate_data, tmp_path, monkeypatch):
    from numpyro_homog.optimise import Progress

    calls = []

    def interrupt(self, description, loss, num_specimens):
        calls.append(description)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "report", interrupt)
    estimator = MinimumDistance(laminates, laminate_data, SlicedWasserstein(3))
    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt, match="resume"):
        estimator.run(KEY, 100, num_starts=1, progress=False, checkpoint=path)
    assert path.exists()
    fit = estimator.run(KEY, 100, num_starts=1, progress=False, checkpoint=path)
    assert np.isfinite(fit.unconstrained).all()


@pytest.mark.slow
def test_the_progress_bar_shows(laminate_data, capsys):
    MinimumDistance(laminates, laminate_data, SlicedWasserstein(3)).run(KEY, 100, num_starts=1, progress=True)
    captured = capsys.readouterr()
    assert "start 0" in captured.err
    assert captured.out == ""


@pytest.mark.slow
def test_noise_of_the_measurement_is_a_parameter_like_any_other():
    data = measured(noisy_boards, BOARD_TRUTH, 2000)
    fit = MinimumDistance(noisy_boards, data, SlicedWasserstein(24)).run(KEY, 3000, num_starts=3, progress=False)
    assert fit.result == nh.RESULTS.successful
    assert np.abs(z_scores(fit, BOARD_TRUTH)).max() < 4


@pytest.mark.slow
def test_parameters_that_the_data_cannot_tell_apart_are_named():
    y = 1.0 + 0.5 * jax.random.normal(jax.random.key(3), (200,))
    fit = MinimumDistance(shifted, {"y": y}, DIVERGENCE).run(KEY, 300, num_starts=1, progress=False)
    assert fit.result == nh.RESULTS.undetermined
    assert fit.undetermined == ("0.71 a - 0.71 b",)
    assert np.isinf(fit.standard_errors["a"])
    assert np.isinf(fit.standard_errors["b"])
    assert 0 < fit.standard_errors["spread"] < 0.1
    assert np.isfinite(fit.params["a"] + fit.params["b"])
    np.testing.assert_allclose(fit.params["a"] + fit.params["b"], 1.0, atol=0.25)
    assert "undetermined: 0.71 a - 0.71 b" in fit.summary()
    assert "undetermined" in fit.to_arviz(num_draws=10).posterior.attrs


NARROWER = "shift (its prior is narrower)"


def location(prior):
    def model(num_specimens):
        shift = numpyro.sample("shift", prior)
        spread = numpyro.sample("spread", dist.LogNormal(0.0, 0.5))
        with numpyro.plate("specimens", num_specimens):
            numpyro.sample("y", dist.Normal(shift, spread))

    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "undetermined", "result"),
    [
        pytest.param(dist.Normal(1.0, 1.0), (), "successful", id="data tell more than the prior"),
        pytest.param(dist.Normal(1.0, 0.05), (NARROWER,), "undetermined", id="fewer than the prior"),
        pytest.param(dist.Uniform(0.0, 0.2), (), "misfit", id="run to the end of its support"),
    ],
)
def test_a_parameter_that_its_prior_knows_better_is_named(prior, undetermined, result):
    """A hundred specimens of N(1, 1) tell the mean to .14 with as many simulated ones."""
    y = 1.0 + jax.random.normal(jax.random.key(3), (100,))
    fit = MinimumDistance(location(prior), {"y": y}, DIVERGENCE).run(KEY, 100, num_starts=1, progress=False)
    assert fit.undetermined == undetermined
    assert fit.at_edge == (("shift",) if result == "misfit" else ())
    assert fit.result == getattr(nh.RESULTS, result)
    assert np.isinf(fit.standard_errors["shift"]) == (result != "successful")
    assert 0 < fit.standard_errors["spread"] < 0.3


@pytest.mark.slow
def test_several_keys_make_one_cloud():
    def model(num_specimens):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(mean, 1.0))
            numpyro.deterministic("square", (z - 1) ** 2)

    z = 0.5 + jax.random.normal(jax.random.key(3), (300,))
    data = {"z": z, "square": (z - 1) ** 2}
    fit = MinimumDistance(model, data, DIVERGENCE).run(KEY, 300, num_starts=1, progress=False)
    assert abs(float(fit.params["mean"]) - 0.5) < 4 * float(fit.standard_errors["mean"])


@pytest.mark.slow
def test_a_hundred_thousand_specimens_need_no_more_memory_than_a_chunk():
    """Their noise alone would take 800 MB; the process grows by the cloud, its tangents and a chunk for each core."""
    resource = pytest.importorskip("resource")

    num, num_noise = 100_000, 1024

    def large_cells(num_specimens):
        shift = numpyro.sample("shift", dist.Normal(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([num_noise]).to_event(1))
            nh.homogenize("K_eff", nh.CheckerboardCell(), jnp.exp(0.3 * z[..., :4] + shift + 0 * z.mean(-1)[..., None]))

    data = measured(large_cells, {"shift": jnp.array(0.0)}, 100)
    with pytest.warns(UserWarning, match="without spread"):
        estimator = MinimumDistance(large_cells, data, SlicedWasserstein(3))
    problem = estimator.problem(num)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    specimens, _, failed = problem.simulate(np.zeros(1, jnp.result_type(float)), KEY, num)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert len(specimens.tangents) == num
    assert not failed.size
    assert grown < num * num_noise * jnp.zeros(()).dtype.itemsize / 2


# --- wrong calls: refused before anything is compiled ---
