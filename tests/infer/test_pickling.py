"""Results, estimators and models of a posterior go through a pickle, whatever function they hold."""

import copy
import pickle
import subprocess
import sys
import threading

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from estimator_models import LAMINATE_TRUTH, laminates, measured
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import log_density
from toy_models import TRUTH, checkerboards

import numpyro_homog as nh
from numpyro_homog.infer import MinimumDistance, identifiability, reweight
from numpyro_homog.population import Simulator

KEY = jax.random.key(8)
WAYS = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda x: pickle.loads(cloudpickle.dumps(x)),
}
each_way = pytest.mark.parametrize("through", WAYS.values(), ids=WAYS)


@pytest.fixture(scope="module")
def estimator():
    """Of a model that plain pickle refuses."""

    def model(num_specimens):
        return laminates(num_specimens)

    data = measured(laminates, LAMINATE_TRUTH, 300)
    estimator = MinimumDistance(model, data, nh.SlicedWasserstein(8))
    estimator.first = estimator.run(KEY, 500, num_starts=1, progress=False)
    return estimator


@pytest.mark.slow
@each_way
def test_a_fit_of_a_local_model(estimator, through):
    fit = estimator.first
    again = through(fit)
    assert again.summary() == fit.summary()
    assert repr(again.basins) == repr(fit.basins)
    assert again.result == fit.result
    np.testing.assert_array_equal(again.predict(KEY, 5)["K_eff"], fit.predict(KEY, 5)["K_eff"])
    np.testing.assert_array_equal(again.to_arviz().posterior["kappa"], fit.to_arviz().posterior["kappa"])
    assert through(again).summary() == fit.summary()


@pytest.mark.slow
def test_an_estimator_after_its_run(estimator):
    again = pickle.loads(pickle.dumps(estimator))
    fit = again.run(KEY, 500, num_starts=1, progress=False)
    np.testing.assert_array_equal(fit.unconstrained, estimator.first.unconstrained)


def test_an_estimator_with_an_optax_optimizer():
    data = measured(laminates, LAMINATE_TRUTH, 30)
    estimator = MinimumDistance(laminates, data, nh.SlicedWasserstein(4), optax.adam(0.1), num_steps=2)
    again = pickle.loads(pickle.dumps(estimator))
    assert again.optimizer.init(jnp.zeros(2))[0].mu.shape == (2,)


@pytest.mark.slow
def test_a_reweighted_fit_and_a_report(estimator):
    sharper = reweight(estimator, estimator.first, 500, rng_key=KEY, num_pilot=3000, ridge=1e-2)
    again = pickle.loads(pickle.dumps(sharper))
    assert again.summary() == sharper.summary()
    np.testing.assert_array_equal(again.predict(KEY, 5)["K_eff"], sharper.predict(KEY, 5)["K_eff"])
    report = identifiability(
        laminates, LAMINATE_TRUTH, nh.SlicedWasserstein(8), keys=["K_eff"], rng_key=KEY, num_specimens=500
    )
    assert pickle.loads(pickle.dumps(report)).summary() == report.summary()


@each_way
def test_a_population(through):
    population = Simulator(lambda n: checkerboards(n), ["K_eff"], (20,))
    population.parameters.to_vector(TRUTH)
    assert population.parameters.positive == {"sigma"}
    again = through(population)
    np.testing.assert_array_equal(again.simulate(TRUTH, KEY)["K_eff"], population.simulate(TRUTH, KEY)["K_eff"])
    np.testing.assert_array_equal(again.parameters.to_vector(TRUTH), population.parameters.to_vector(TRUTH))


def test_a_model_that_cannot_be_pickled_is_named():
    lock = threading.Lock()

    def locked(num_specimens):
        with lock:
            checkerboards(num_specimens)

    population = Simulator(locked, ["K_eff"], (20,))
    with pytest.raises(TypeError, match=r"locked.* cannot be pickled, not even with its code: .*lock.*inside"):
        pickle.dumps(population)


def posterior_of(estimator):
    options = {"rng_key": KEY, "fit": estimator.first}
    return nh.generalized_bayes(estimator.model, estimator.first.data, estimator.divergence, **options)


@each_way
def test_a_posterior_of_a_local_model(estimator, through):
    posterior = nh.generalized_bayes(
        estimator.model, estimator.first.data, estimator.divergence, rng_key=KEY, fit=estimator.first
    )
    at = {"whitened": jnp.array([0.1, -0.2, 0.3])}
    expected, found = (
        jax.jit(lambda z, p=p: log_density(p, (20,), {}, z)[0])(at) for p in (posterior, through(posterior))
    )
    assert found == expected


@pytest.mark.slow
def test_a_chain_on_a_posterior(estimator):
    posterior = nh.generalized_bayes(
        estimator.model, estimator.first.data, estimator.divergence, rng_key=KEY, fit=estimator.first
    )
    mcmc = MCMC(NUTS(posterior), num_warmup=5, num_samples=5, progress_bar=False)
    mcmc.run(KEY, 50)
    again = pickle.loads(pickle.dumps(mcmc))
    np.testing.assert_array_equal(again.get_samples()["kappa"], mcmc.get_samples()["kappa"])
    again.run(KEY, 50)
    np.testing.assert_allclose(again.get_samples()["kappa"], mcmc.get_samples()["kappa"], rtol=1e-6)


SCRIPT = """
import pickle, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import jax, numpyro, numpyro.distributions as dist
import numpyro_homog as nh

def model(num_specimens):
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    with numpyro.plate("specimens", num_specimens):
        numpyro.sample("y", dist.Normal(level, 1.0))

def fit(seed):
    key = jax.random.key(seed)
    data = {"y": jax.random.normal(key, (50,))}
    return nh.MinimumDistance(model, data, nh.SlicedWasserstein()).run(key, 100, num_starts=1, progress=False)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(fit, 0).result()
    assert found.predict(jax.random.key(1), 3)["y"].shape == (3,)
    pickle.dump(found, open("fit.pkl", "wb"))
"""


@pytest.mark.slow
def test_a_fit_from_a_spawned_process_and_from_a_file(tmp_path):
    """The model belongs to a script, which nobody can import who reads the file."""
    (tmp_path / "script.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "script.py"], cwd=tmp_path, check=True)
    read = "import pickle, jax; fit = pickle.load(open('fit.pkl', 'rb')); print(fit.predict(jax.random.key(1), 3))"
    process = subprocess.run([sys.executable, "-c", read], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert process.stdout.startswith("{'y': array(")
