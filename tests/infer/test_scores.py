"""MinimumDistance with parameters that act by the score of a simulated site."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from estimator_models import measured
from score_models import (
    LAYERED_TRUTH,
    MIXTURE_TRUTH,
    POLYCRYSTAL_TRUTH,
    layered,
    measured_mixtures,
    mixtures,
    polycrystals,
)

import numpyro_homog as nh
from numpyro_homog.divergences import AbstractDivergence, SlicedWasserstein, covariance_of, sandwich
from numpyro_homog.infer import MinimumDistance
from numpyro_homog.infer._divergence_objective import DivergenceObjective
from numpyro_homog.optimise import Descents, LevenbergMarquardt, Progress, Recorder, average_descents, is_same_basin

KEY = jax.random.key(0)
DIVERGENCE = SlicedWasserstein(12)
SIMULATION_KEY, DIVERGENCE_KEY = jax.random.split(jax.random.key(6))


def level_of(model, data, num_specimens, **options):
    """The linearised divergence on one population, and a point near the truth."""
    estimator = MinimumDistance(model, data, DIVERGENCE, **options)
    problem = estimator.problem(num_specimens)
    problem.begin_run(estimator.scale, Recorder())
    return DivergenceObjective(problem, num_specimens, SIMULATION_KEY, DIVERGENCE_KEY)


@pytest.fixture(scope="module")
def layered_data():
    return measured(layered, LAYERED_TRUTH, 2000)


@pytest.mark.slow
def test_score_and_implicit_path_derivative_agree(layered_data):
    """At M = 40,000, half a standard deviation of the prior from the truth.

    In units of the path curvature: over ten keys the two differ by .02 (standard deviation) in the gradient of the
    divergence and by .03 in its curvature.
    """
    near = {"alpha": jnp.array([0.6, 0.4, 0.2]), "kappa": jnp.array([1.1, 4.5, 9.0])}
    found = []
    for score in ((), ("phi",)):
        level = level_of(layered, layered_data, 40_000, score=score)
        found.append(level(np.asarray(level.problem.simulator.parameters.to_vector(near))))
    path, score = found
    assert path.value == score.value
    weight = np.sqrt(np.diag(path.curvature))
    np.testing.assert_allclose(score.gradient / weight, path.gradient / weight, atol=0.1 * np.sqrt(path.value))
    smooth = [(e.curvature - e.curvature_noise) / weight / weight[:, None] for e in found]
    np.testing.assert_allclose(smooth[1], smooth[0], atol=0.15)
    np.testing.assert_allclose(smooth[1][3:, 3:], smooth[0][3:, 3:], rtol=1e-6)  # kappa is by path in both


@pytest.mark.slow
@pytest.mark.parametrize("model", ["layered", "mixtures"])
def test_the_gradient_by_score_is_that_of_large_populations(model, layered_data):
    """Differences of divergences with held noise; the second model has no path at all.

    Five populations of 40,000 measure the standard error; a deviation of four of them is a false alarm in 2000.
    """
    if model == "layered":
        near = {"alpha": jnp.array([0.7, 0.4, 0.2]), "kappa": jnp.array([1.0, 4.0, 10.0])}
        level = level_of(layered, layered_data, 40_000, score=("phi",))
    else:
        near = {"share": jnp.array(0.45), "apart": jnp.array(1.5)}
        level = level_of(mixtures, measured_mixtures(2000), 40_000)
    problem = level.problem
    position = np.asarray(problem.simulator.parameters.to_vector(near))
    index = 0 if model == "layered" else 1
    step = np.zeros_like(position)
    step[index] = 0.1
    errors = []
    for seed in range(5):
        level = DivergenceObjective(problem, 40_000, jax.random.key(seed), DIVERGENCE_KEY)
        ends = [float(level(position + sign * step).value) for sign in (1, -1)]
        errors.append([float(level(position).gradient[index]), (ends[0] - ends[1]) / 0.4])
    mean, error = np.mean(errors, axis=0), np.std(errors, axis=0, ddof=1) / np.sqrt(5)
    assert abs(mean[1]) > 10 * error.max()
    assert abs(mean[0] - mean[1]) < 4 * np.linalg.norm(error) + 0.02 * abs(mean[1])  # the step is finite


@pytest.mark.slow
@pytest.mark.x64_only
def test_held_labels_make_a_smooth_divergence_with_the_gradient_it_says():
    """At the point where they are held all is as it is drawn; elsewhere differences of the divergence are its slope."""
    level = level_of(mixtures, measured_mixtures(300), 900)
    position = np.asarray(
        level.problem.simulator.parameters.to_vector({"share": jnp.array(0.4), "apart": jnp.array(1.5)})
    )
    held = level.local_model(position)
    at, plain = held(position), level(position)
    for found, expected in zip(at[:3], plain[:3], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    away, solved = position + np.array([0.3, 0.1]), level.problem.recorder.num_simulated
    for i, unit in enumerate(np.eye(2)):
        slope = [(held(away + h * unit).value - held(away - h * unit).value) / (2 * h) for h in (1e-3, 1e-4)]
        np.testing.assert_allclose(slope, 2 * held(away).gradient[i], rtol=0.02)
    assert level.problem.recorder.num_simulated == solved


def rounds_from(start, level, **options):
    """The end of held rounds, with the settings of a fit."""
    descents = Descents(LevenbergMarquardt(), np.ones(2), Recorder())
    return average_descents(descents, "rounds", level, start, **options)


@pytest.mark.slow
def test_the_mean_of_held_rounds_has_the_noise_of_all_their_populations():
    """From far off, one simulation a round; eight keys against much simulation, in standard errors of simulation alone.

    The mean of sixteen independent squares is within .32 and 2.14 in 99 cases of 100; one population alone has six.
    """
    level = level_of(mixtures, measured_mixtures(1000), 3000)
    problem = level.problem
    start = np.asarray(problem.simulator.parameters.to_vector({"share": jnp.array(0.5), "apart": jnp.array(2.0)}))
    much = level_of(mixtures, measured_mixtures(1000), 60_000)
    expected = rounds_from(start, much)
    scatter = covariance_of(much.influences(expected.position).of_measured)
    eps = float(np.finfo(expected.position.dtype).eps)
    scores = []
    for seed in range(8):
        before = problem.recorder.num_evaluations
        level = DivergenceObjective(problem, 3000, jax.random.key(seed), DIVERGENCE_KEY)
        end = rounds_from(start, level)
        assert end.status == "converged"
        assert 6 + 1 <= problem.recorder.num_evaluations - before <= 16
        assert level(end.position).value == end.evaluation.value < 0.2 * level(start).value
        num = 3000 * int(end.num_populations)
        spread = sandwich(expected.evaluation, scatter * (1 / 1000 + 1 / num), eps).covariance
        share = (1 / num) / (1 / 1000 + 1 / num)
        scores.append((end.position - expected.position) / np.sqrt(share * np.diag(spread)))
    assert 0.32 < np.mean(np.square(scores)) < 2.14


@pytest.mark.slow
def test_rounds_from_afar_join_a_basin_that_is_known_and_give_up_against_a_better_one():
    level = level_of(mixtures, measured_mixtures(1000), 2000)
    costs, to_vector = level.problem.recorder, level.problem.simulator.parameters.to_vector
    near, far = (
        np.asarray(to_vector({"share": jnp.array(share), "apart": jnp.array(apart)}))
        for share, apart in ((0.35, 1.6), (0.95, 8.0))
    )
    end = rounds_from(near, level)
    again = rounds_from(far, level)
    assert again.status == "converged"
    level.floor = 2 * float(end.evaluation.value)
    assert is_same_basin(end, again.position, level.floor)
    before = costs.num_evaluations
    joined = rounds_from(far, level, known=[end])
    assert joined.position is end.position
    assert len(joined.losses) < len(again.losses)
    assert costs.num_evaluations - before < 6
    lost = rounds_from(near, level, bound=0.1 * float(end.evaluation.value))
    assert lost.status == "abandoned"


@pytest.mark.slow
def test_a_discrete_label_is_estimated():
    """Two parameters at four standard errors: a false alarm in 8000."""
    fit = MinimumDistance(mixtures, measured_mixtures(1000), DIVERGENCE).run(KEY, 3000, num_starts=2, progress=False)
    assert fit.result == nh.RESULTS.successful
    for name, value in MIXTURE_TRUTH.items():
        assert abs(float(fit.params[name]) - value) < 4 * float(fit.standard_errors[name])
        assert float(fit.standard_errors[name]) < 0.2
    assert fit.derivatives == {"apart": ("path",), "share": ("score",)}
    assert fit.scored == {"kind": ("share",)}
    assert "derivatives: apart by path, share by score; scores of kind" in fit.summary()


@pytest.mark.slow
@pytest.mark.parametrize("route", ["least squares", "optax"])
def test_a_run_that_was_interrupted_resumes_to_bitwise_the_same(tmp_path, monkeypatch, route):
    data = measured_mixtures(50)
    options = {} if route == "least squares" else {"optimizer": optax.adam(0.05), "num_steps": 6}
    estimator = MinimumDistance(mixtures, data, SlicedWasserstein(3), **options)
    whole = estimator.run(KEY, 100, num_starts=1, progress=False)

    def interrupt(self, description, loss, num_specimens):
        calls.append(description)
        if len(calls) == 3:
            raise KeyboardInterrupt

    calls, path = [], tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "report", interrupt)
        with pytest.raises(KeyboardInterrupt):
            estimator.run(KEY, 100, num_starts=1, progress=False, checkpoint=path)
    resumed = estimator.run(KEY, 100, num_starts=1, progress=False, checkpoint=path)
    for name in ("unconstrained", "losses", "covariance"):
        assert getattr(resumed, name).tobytes() == getattr(whole, name).tobytes()
    assert resumed.stats["solves"] == whole.stats["solves"]


def test_too_few_simulated_specimens_for_scores_are_said_before_anything_is_simulated():
    estimator = MinimumDistance(mixtures, measured_mixtures(60), DIVERGENCE)
    few = r"119 specimens are simulated for 60 .*\['kind'\].* 120\."
    with pytest.warns(UserWarning, match=few), pytest.raises(ValueError, match="elsewhere"):
        estimator.run(KEY, 119, num_starts=1, starts=[{"elsewhere": 1.0}], progress=False)
    with pytest.raises(ValueError, match="elsewhere"):
        estimator.run(KEY, 120, num_starts=1, starts=[{"elsewhere": 1.0}], progress=False)


@pytest.mark.slow
def test_without_scores_nothing_is_said_of_them_and_a_checkpoint_is_for_one_way(layered_data, tmp_path):
    path = tmp_path / "run.npz"
    fit = MinimumDistance(layered, layered_data, DIVERGENCE).run(KEY, 50, num_starts=1, progress=False, checkpoint=path)
    assert fit.derivatives == {"alpha": ("path",), "kappa": ("path",)}
    assert fit.scored == {}
    assert "score" not in fit.summary()
    estimator = MinimumDistance(layered, layered_data, DIVERGENCE, score=["phi"])
    with pytest.raises(ValueError, match="another run"), pytest.warns(UserWarning, match=r"50 .* for 2000 .*, 4000\."):
        estimator.run(KEY, 50, num_starts=1, progress=False, checkpoint=path)


@pytest.mark.slow
def test_an_optax_step_follows_the_score():
    """Its gradient is that of the linearisation on the same noise."""
    estimator = MinimumDistance(mixtures, measured_mixtures(500), DIVERGENCE, optax.sgd(0.3), num_steps=10)
    problem = estimator.problem(400)
    vector = problem.simulator.parameters.to_vector({"share": jnp.array(0.8), "apart": jnp.array(1.5)})
    value, gradient = problem.value_and_gradient(vector, (KEY, DIVERGENCE_KEY), problem.data)
    level = DivergenceObjective(problem, 400, KEY, DIVERGENCE_KEY)(np.asarray(vector))
    np.testing.assert_allclose(value, level.value, rtol=1e-6)
    np.testing.assert_allclose(gradient, 2 * level.gradient, rtol=1e-5)
    assert gradient[1] > 0
    fit = estimator.run(KEY, 400, num_starts=1, progress=False)
    assert fit.derivatives["share"] == ("score",)
    assert np.isfinite(fit.losses).all()


# --- refusals ---


def test_neither_path_nor_score_is_refused_with_advice():
    def model(num_specimens):
        share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
        with numpyro.plate("specimens", num_specimens):
            law = nh.VoronoiPhases(nh.Grid((4, 4)), jnp.stack([share, 1 - share]), 3, sharp=True)
            numpyro.deterministic("y", numpyro.sample("phases", law)[..., 0].mean((1, 2)))

    with pytest.raises(ValueError, match=r"'phases': \['share'\].*dist.Dirichlet.*temperature"):
        MinimumDistance(model, {"y": np.arange(4.0)}, DIVERGENCE).run(KEY, 10, progress=False)


def labels_in_a_function(num_specimens):
    """The labels are drawn where no site sees them, as in stochastic homogenization."""
    alpha = numpyro.sample("alpha", dist.LogNormal(0.0, 0.5).expand([2]).to_event(1))
    kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 0.5))

    def draw(rng_key, share, kappa):
        labels = jax.random.uniform(rng_key, (share.shape[0], 4)) < share[:, None]
        return jnp.where(labels, 1 + kappa, 1.0)

    with numpyro.plate("specimens", num_specimens):
        phi = numpyro.sample("phi", dist.Dirichlet(alpha))
        nh.homogenize("K_eff", nh.CheckerboardCell(), draw, inputs=(phi[..., 0], kappa), num_realizations=3)


@pytest.mark.slow
def test_a_path_that_is_cut_unseen_is_refused_and_the_score_mends_it():
    tensors = jnp.eye(2) * (1 + jax.random.uniform(KEY, (20, 1, 1)))
    with pytest.warns(UserWarning, match="without spread"):
        blind, mended = (
            MinimumDistance(labels_in_a_function, {"K_eff": tensors}, DIVERGENCE, score=score)
            for score in ((), ("phi",))
        )
    with pytest.raises(ValueError, match=r"\['alpha'\].*identically zero.*score=.*\['phi'\]"):
        blind.run(KEY, 10, progress=False)
    problem = mended.problem(10)
    assert problem.simulator.derivatives == {"alpha": ("score",), "kappa": ("path",)}


def test_a_divergence_that_cannot_be_reweighted_is_refused():
    class Mean(AbstractDivergence):
        """Distance of the means."""

        def __call__(self, x, y, *, rng_key):
            return jnp.sum((x.mean(0) - y.mean(0)) ** 2)

    estimator = MinimumDistance(mixtures, {"y": np.arange(4.0)}, Mean(), optax.adam(0.1), num_steps=3)
    with pytest.raises(ValueError, match=r"'kind': \('share',\).*Mean cannot be reweighted"):
        estimator.run(KEY, 10, progress=False)


# --- full estimates ---


def z_scores(fit, truth):
    return np.concatenate(
        [np.ravel((fit.params[k] - np.asarray(truth[k])) / fit.standard_errors[k]) for k in fit.params]
    )


@pytest.mark.slow
@pytest.mark.x64_only
@pytest.mark.parametrize("seed", range(2))
def test_estimates_by_path_and_by_score_agree(seed):
    """Relative errors of a few percent for alpha and one for kappa, as a sample of 10,000 allows.

    The prior is narrow: from far starts both ways may end where a phase has vanished.
    """
    data = measured(layered, LAYERED_TRUTH, 10_000, seed=100 + seed)
    path, score = (
        MinimumDistance(layered, data, DIVERGENCE, score=score).run(
            jax.random.key(seed), 20_000, num_starts=3, progress=False
        )
        for score in ((), ("phi",))
    )
    for fit in (path, score):
        assert np.abs(z_scores(fit, LAYERED_TRUTH)).max() < 4
        for name, limit in (("alpha", 0.1), ("kappa", 0.03)):
            truth = np.asarray(LAYERED_TRUTH[name])
            assert np.linalg.norm(fit.params[name] - truth) < limit * np.linalg.norm(truth)
    noise = [1 / (20_000 * fit.stats["num_populations"]) for fit in (path, score)]
    for name in path.params:
        # The same data; what differs are the Jacobian and the simulation, of one population here and of six there.
        spread = [fit.standard_errors[name] / np.sqrt(1e-4 + n) for fit, n in zip((path, score), noise, strict=True)]
        apart = np.abs(path.params[name] - score.params[name])
        assert (apart < 4 * spread[0] * np.sqrt(sum(noise))).all()
        # Single entries have their own error, of a fifth.
        np.testing.assert_allclose(*map(np.linalg.norm, spread), rtol=0.4)


POLYCRYSTAL_VALUES = {"alpha": POLYCRYSTAL_TRUTH["alpha"], "log_kappa": jnp.log(POLYCRYSTAL_TRUTH["kappa"])}


@pytest.mark.slow
@pytest.mark.x64_only
def test_fractions_behind_discrete_labels_are_recovered():
    """Six data sets, four parameters: z scores of mean square one within .35 .. 2, 99 times of 100; none beyond 4."""
    scores = []
    estimator = None
    for seed in range(6):
        data = measured(polycrystals, POLYCRYSTAL_VALUES, 600, seed=seed)
        estimator = MinimumDistance(polycrystals, data, DIVERGENCE) if estimator is None else estimator.with_data(data)
        fit = estimator.run(jax.random.key(seed), 2000, num_starts=2, progress=False)
        assert fit.derivatives == {"alpha": ("score",), "log_kappa": ("path",)}
        scores.append(z_scores(fit, POLYCRYSTAL_VALUES))
    scores = np.array(scores)
    assert np.abs(scores).max() < 4
    assert 0.35 < np.mean(scores**2) < 2
