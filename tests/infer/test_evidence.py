"""What speaks against a model, its prior or its data is said, and early."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import numpyro_homog as nh
from numpyro_homog.clouds import CloudScale, describe_difference, describe_units
from numpyro_homog.divergences import SlicedWasserstein
from numpyro_homog.infer import MinimumDistance
from numpyro_homog.infer._evidence import describe_exchangeable
from numpyro_homog.optimise import Basin

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def conductors(num_specimens):
    """Checkerboards in W; nothing but the scale is asked for."""
    kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 0.3).expand([4]).to_event(1))
        tensor = nh.homogenize("K_full", nh.CheckerboardCell(), kappa * jnp.exp(z))
        numpyro.deterministic("K_eff", tensor[..., 0, 0])


@pytest.fixture(scope="module")
def watts():
    return np.exp(0.15 * RNG.standard_normal(200))


@pytest.mark.slow
def test_data_in_other_units_are_told_and_keep_their_standard_errors(watts):
    """In mW the estimate and its error are 1000 times those in W; the error was infinite."""
    estimator = MinimumDistance(conductors, {"K_eff": watts}, SlicedWasserstein(4))
    fit = estimator.run(KEY, 400, num_starts=3, progress=False)
    with pytest.warns(UserWarning, match=r"data are about .* times what draws of the prior make.*same units"):
        milli = estimator.with_data({"K_eff": 1000 * watts}).run(KEY, 400, num_starts=3, progress=False)
    assert fit.result == nh.RESULTS.successful
    assert not fit.evidence
    np.testing.assert_allclose(milli.params["kappa"], 1000 * fit.params["kappa"], rtol=0.02)
    np.testing.assert_allclose(milli.standard_errors["kappa"], 1000 * fit.standard_errors["kappa"], rtol=0.2)
    assert milli.result == nh.RESULTS.outside_prior
    assert "outside of its prior: kappa" in milli.summary()


@pytest.mark.slow
def test_a_fit_that_cannot_be_right_ends_after_a_round_and_shows_no_error(watts):
    """Two clusters, where every start agrees: another round would say the same."""
    clusters = np.where(np.arange(200) % 2, 1.0, 9.0) * watts**0.1
    fit = MinimumDistance(conductors, {"K_eff": clusters}, SlicedWasserstein(4)).run(
        KEY, 400, num_starts=3, progress=False
    )
    assert fit.result == nh.RESULTS.misfit
    assert fit.losses.shape[0] == 3
    text = fit.summary()
    assert "another microstructure" in text
    row = next(line for line in text.splitlines() if line.startswith("kappa"))
    assert row.split()[-1] == "-"


def test_reasons_of_a_misfit_follow_the_clouds():
    measured = RNG.standard_normal((500, 2))
    (grains,) = describe_difference(("K11", "K22"), measured, 3 * measured)
    assert "scatter" in grains
    assert "another microstructure" in grains
    (shifted,) = describe_difference(("K11", "K22"), measured, measured + np.array([0.0, 2.0]))
    assert "in K22" in shifted
    assert "Voigt" in shifted


def test_voigt_matrices_for_mandel_ones_are_told():
    """Isotropic in the plane: in Mandel notation C33 = C11 - C12, in Voigt notation half of it."""
    stiffness = np.zeros((50, 3, 3))
    stiffness[:, 0, 0] = stiffness[:, 1, 1] = 3 + 0.1 * RNG.standard_normal(50)
    stiffness[:, 0, 1] = stiffness[:, 1, 0] = 1 + 0.1 * RNG.standard_normal(50)
    mandel, voigt = stiffness.copy(), stiffness
    mandel[:, 2, 2] = mandel[:, 0, 0] - mandel[:, 0, 1]
    voigt[:, 2, 2] = mandel[:, 2, 2] / 2
    drawn = np.median(np.stack([mandel[:, 0, 0], mandel[:, 0, 1], mandel[:, 2, 2]], 1), axis=0)
    with pytest.warns(UserWarning, match="without spread"):
        scale = CloudScale({"C_eff": voigt})
    at = [scale.names.index(f"C_eff[K{ij}]") for ij in ("11", "12", "33")]
    medians = np.ones((4, len(scale.names)))
    medians[:, at] = drawn / scale.scales[at] * np.array([[0.5], [1.0], [2.0], [4.0]])
    (words,) = describe_units(scale, np.asarray(scale.data_cloud()), medians)
    assert "in Voigt notation" in words
    assert "voigt_to_mandel(data['C_eff'])" in words


def test_basins_that_differ_by_the_order_of_phases_are_told():
    def basin(kappa, loss):
        return Basin((0,), loss, 100, {"kappa": np.array(kappa), "shift": np.array(0.3)}, "converged")

    basins = [basin([1.0, 5.0, 10.0], 0.010), basin([5.1, 0.98, 10.1], 0.011), basin([3.0, 3.0, 3.0], 2.0)]
    (words,) = describe_exchangeable(basins, 0.01)
    assert "['kappa']" in words
    assert "OrderedTransform" in words
    assert describe_exchangeable([basins[0], basins[2]], 0.01) == ()
