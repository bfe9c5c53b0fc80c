"""The posterior in coordinates about a fit: the same density, and starts and scales that are right."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from estimator_models import KAPPA_PRIOR, LAMINATE_TRUTH, laminates, measured
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, autoguide
from numpyro.infer.util import constrain_fn, log_density, potential_energy, unconstrain_fn
from toy_models import CountingCell, RaisingCell, checkerboards, energy_distance, measured_checkerboards

import numpyro_homog as nh
from numpyro_homog.handlers import generalized_bayes
from numpyro_homog.population import Simulator, Whitening

KEY = jax.random.key(3)


def specimens(centre, num_specimens=6):
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.deterministic("y", centre + z)


def ordered():
    kappa = numpyro.sample("kappa", KAPPA_PRIOR)
    shift = numpyro.sample("shift", dist.StudentT(3.0, 0.0, 1.0))
    specimens(kappa[1] / kappa[0] + shift)


def dependent():
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
    a = numpyro.sample("a", dist.Normal(1.0, scale).expand([2]).to_event(1))
    top = numpyro.sample("top", dist.Uniform(jnp.exp(a[0]), 2 + jnp.exp(a[0]) + scale))
    numpyro.deterministic("level", top + a[1])
    numpyro.sample("thermometer", dist.Normal(top, 0.1), obs=0.2)
    specimens(top - a[1])


def bounded():
    share = numpyro.sample("share", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    between = numpyro.sample("between", dist.Uniform(2.0, 5.0).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    cut = numpyro.sample("cut", dist.TruncatedNormal(0.0, 1.0, low=-0.5, high=2.0))
    angle = numpyro.sample("angle", dist.Beta(2.0, 3.0))
    specimens(share[0] * between[0] + noise + cut * angle - between[1])


def weighted():
    with handlers.scale(scale=0.3):
        a = numpyro.sample("a", dist.Gamma(2.0, 1.0))
        kappa = numpyro.sample("kappa", KAPPA_PRIOR)
    b = numpyro.sample("b", dist.LogNormal(0.0, 1.0).mask(False))
    specimens(a * b + kappa[1])


def improper():
    a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.positive, (), ()))
    specimens(a)


def a_fit(model, seed=0, **changes):
    """Anything that could be a fit of the model: its numbers are random."""
    population = Simulator(model, ["y"])
    rng = np.random.default_rng(seed)
    num = sum(x.size for x in jax.tree.leaves(_unconstrained(population)))
    root = rng.normal(size=(num, num))
    facts = {
        "unconstrained": rng.normal(size=num),
        "curvature": root @ root.T,
        "prior": rng.normal(size=(100, num)),
        "labels": tuple(population.parameters.labels),
        "loss_scale": 3.0,
    }
    return SimpleNamespace(**facts | changes)


def _unconstrained(population):
    values = {name: jnp.ones(x.shape, x.dtype) for name, x in population.parameters.items()}
    return jax.eval_shape(lambda: population.parameters.unconstrain(values))


def posterior_of(model, fit, **options):
    data = {"y": np.random.default_rng(1).normal(size=20)}
    return generalized_bayes(model, data, energy_distance, rng_key=KEY, fit=fit, **options)


@pytest.mark.x32
@pytest.mark.parametrize(
    "model",
    [dependent, improper, *(pytest.param(model, marks=pytest.mark.slow) for model in (weighted, ordered, bounded))],
)
def test_the_density_is_that_of_the_posterior_without_a_fit(model, x64):
    """Beside NumPyro's own potential, with the Jacobian between its coordinates and ours by differentiation."""
    fit = a_fit(model)
    plain, white = posterior_of(model, None, loss_scale=3.0), posterior_of(model, fit)
    names = Simulator(model, ["y"]).parameters

    def coordinates(z):
        sites = handlers.trace(handlers.substitute(white, data={"whitened": z})).get_trace()
        return unconstrain_fn(plain, (), {}, {name: sites[name]["value"] for name in names})

    def difference(z):
        theirs = -potential_energy(plain, (), {}, coordinates(z))
        jacobian = jax.jacfwd(lambda z: ravel_pytree(coordinates(z))[0])(z)
        return log_density(white, (), {}, {"whitened": z})[0] - theirs - jnp.linalg.slogdet(jacobian)[1]

    points = jax.random.normal(KEY, (12, len(fit.unconstrained)))
    differences = jax.jit(lambda points: jax.lax.map(difference, points))(points)
    np.testing.assert_allclose(differences, 0, atol=1e-9 if x64 else 2e-3)


def test_the_centre_and_the_width_are_those_of_the_normal_approximation():
    """Normal prior and likelihood: precision and centre in closed form, those of the prior with little noise."""
    draws = jnp.asarray([1.0, -2.0]) + 0.5 * dist.Normal().icdf(_evenly(2, 4096))
    fit = SimpleNamespace(
        unconstrained=np.array([2.0, 3.0]), curvature=np.diag([8.0, 0.0]), prior=np.asarray(draws), labels=("a", "b")
    )
    white = Whitening(fit, loss_scale=3.0)
    covariance = np.diag([1 / (48 + 4), 1 / 4])  # the second direction has the width of the prior
    np.testing.assert_allclose(white.factor @ white.factor.T, covariance, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(white.centre, [(48 * 2 + 4 * 1) / 52, -2.0], atol=0.02)


def _evenly(num_axes, num):
    points = (np.arange(num)[:, None] * np.array([0.7548776662, 0.5698402910][:num_axes]) + 0.5) % 1
    return jnp.asarray(np.clip(points, 1e-6, 1 - 1e-6))


BAD = {
    "noise makes the curvature negative": {"curvature": -np.eye(3)},
    "not finite": {"curvature": np.full((3, 3), np.nan)},
    "huge": {"curvature": 1e30 * np.eye(3)},
    "no sum of squares": {"curvature": None},
    "ran away": {"unconstrained": np.array([-80.0, 0.0, 300.0]), "curvature": np.zeros((3, 3))},
    "one draw": {"prior": np.zeros((1, 3))},
    "no draw is finite": {"prior": np.full((50, 3), np.inf)},
    "no spread": {"prior": np.zeros((50, 3))},
    "few draws": {"prior": np.random.default_rng(0).normal(size=(4, 3))},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD)
def test_a_bad_fit_gives_finite_coordinates(changes):
    white = Whitening(a_fit(ordered, **changes), 3.0)
    assert np.isfinite(white.centre).all()
    assert np.isfinite(white.factor).all()
    assert np.linalg.slogdet(white.factor)[0] != 0


def test_wrong_fits_are_refused():
    with pytest.raises(ValueError, match=r"pass fit=.*or loss_scale="):
        posterior_of(ordered, None)
    with pytest.raises(ValueError, match=r"no loss_scale \(None\).*Pass loss_scale"):
        posterior_of(ordered, a_fit(ordered, loss_scale=None))
    with pytest.raises(ValueError, match="estimate of this fit is not finite"):
        posterior_of(ordered, a_fit(ordered, unconstrained=np.array([np.nan, 0.0, 0.0])))
    with pytest.raises(ValueError, match=r"parameters \['a'\]; this one has \['kappa\[0\]', 'kappa\[1\]', 'shift'\]"):
        handlers.seed(posterior_of(ordered, a_fit(improper)), KEY)()


def test_an_explicit_loss_scale_wins():
    fit = a_fit(ordered)
    at = {"whitened": jnp.zeros(3)}

    def factor(posterior):
        site = handlers.trace(handlers.substitute(posterior, data=at)).get_trace()["divergence"]
        return site["fn"].log_prob(site["value"])

    same = posterior_of(ordered, SimpleNamespace(**vars(fit) | {"loss_scale": 6.0}))
    assert jax.jit(lambda: factor(posterior_of(ordered, fit, loss_scale=6.0)))() == jax.jit(lambda: factor(same))()
    centres = [Whitening(fit, w).centre for w in (3.0, 6.0)]
    assert not np.allclose(*centres)  # the explicit scale counts for the coordinates too


@pytest.mark.slow
def test_the_parameters_are_deterministic_sites_and_replays_solve_nothing():
    counts = []
    model = lambda num: checkerboards(num, CountingCell(counts))  # noqa: E731
    fit = SimpleNamespace(
        unconstrained=np.array([0.3, -0.7]),
        curvature=np.eye(2),
        prior=np.random.default_rng(0).normal(size=(100, 2)),
        labels=("mu", "sigma"),
        loss_scale=50.0,
    )
    data = {"K_eff": measured_checkerboards(60)}
    with pytest.warns(UserWarning, match="Components without spread"):
        posterior = generalized_bayes(model, data, energy_distance, rng_key=KEY, fit=fit)
    trace = handlers.trace(handlers.seed(posterior, KEY)).get_trace(40)
    assert {name: site["type"] for name, site in trace.items() if site["type"] != "plate"} == {
        "whitened": "sample",
        "mu": "deterministic",
        "sigma": "deterministic",
        "whitened_prior": "sample",
        "divergence": "sample",
    }
    z = {"whitened": jnp.zeros((20, 2))}

    def replay(z):
        return constrain_fn(posterior, (40,), {}, z, return_deterministic=True)

    # As NumPyro and BlackJAX do for each draw, with or without a compiler that would drop what is not used.
    assert jax.eval_shape(jax.vmap(replay), z)["mu"].shape == (20,)
    assert "pure_callback" not in str(jax.make_jaxpr(jax.vmap(replay))(z))
    point = {"whitened": jnp.zeros(2)}
    assert "pure_callback" in str(jax.make_jaxpr(lambda z: potential_energy(posterior, (40,), {}, z))(point))
    assert Predictive(posterior, z)(KEY, 40)["sigma"].shape == (20,)
    assert counts == []


@pytest.mark.slow
def test_outer_handlers_still_answer_the_cells():
    """The factor is computed after they have gone."""
    from toy_models import Answer

    def model(num_specimens):
        checkerboards(num_specimens, RaisingCell())

    data = {"K_eff": measured_checkerboards(60)}
    with pytest.warns(UserWarning, match="Components without spread"):
        posterior = generalized_bayes(model, data, energy_distance, rng_key=KEY, loss_scale=3.0)
    params = {"mu": jnp.asarray(0.1), "sigma": jnp.asarray(0.4)}
    assert jnp.isfinite(log_density(Answer(posterior), (20,), {}, params)[0])


@pytest.mark.slow
def test_a_scan_over_parameters_has_the_same_density():
    def model():
        def step(level, _):
            level = numpyro.sample("level", dist.LogNormal(level, 0.1))
            return level, level

        _, levels = scan(step, 0.0, None, length=3)
        specimens(levels[-1])

    fit = a_fit(model)
    population = Simulator(model, ["y"])
    plain, white = posterior_of(model, None, loss_scale=3.0), posterior_of(model, fit)

    def difference(z):
        level = handlers.trace(handlers.substitute(white, data={"whitened": z})).get_trace()["level"]["value"]
        density = log_density(plain, (), {}, {"level": level})[0] + jnp.sum(jnp.log(level))
        return log_density(white, (), {}, {"whitened": z})[0] - density

    assert population.parameters["level"].shape == (3,)
    _, factor = np.linalg.slogdet(Whitening(fit, 3.0).factor)
    np.testing.assert_allclose([difference(z) for z in jax.random.normal(KEY, (4, 3))], factor, rtol=1e-8)


@pytest.mark.slow
def test_bare_nuts_and_a_bare_guide_find_the_posterior():
    """Two halves of a chain and the guide agree with one another, and the truth is inside."""
    estimator = nh.MinimumDistance(laminates, measured(laminates, LAMINATE_TRUTH, 600), nh.SlicedWasserstein(8))
    fit = estimator.run(KEY, 1500, num_starts=2, progress=False)
    posterior = generalized_bayes(
        laminates, measured(laminates, LAMINATE_TRUTH, 600), nh.SlicedWasserstein(8), rng_key=KEY, fit=fit
    )
    mcmc = MCMC(NUTS(posterior), num_warmup=150, num_samples=300, progress_bar=False)
    mcmc.run(KEY, 1000)
    summary = numpyro.diagnostics.summary(mcmc.get_samples(group_by_chain=True))
    assert max(np.max(s["r_hat"]) for s in summary.values()) < 1.03
    guide = autoguide.AutoMultivariateNormal(posterior)
    run = SVI(posterior, guide, numpyro.optim.Adam(0.02), Trace_ELBO(4)).run(KEY, 600, 1000, progress_bar=False)
    assert np.isfinite(run.losses).all()
    draws = guide.sample_posterior(KEY, run.params, 1000, sample_shape=(500,))
    for name, truth in LAMINATE_TRUTH.items():
        chain, drawn = np.asarray(mcmc.get_samples()[name]), np.asarray(draws[name])
        assert (np.abs(chain.mean(0) - drawn.mean(0)) < 0.5 * chain.std(0)).all()
        assert (np.abs(chain.mean(0) - truth) < 4 * chain.std(0)).all()
