"""The experiments of the paper: the exact density, the data, rows that survive a stop."""

import json

import numpy as np
import pytest
import scipy.integrate

from benchmarks.paper import locally_periodic, one_dimensional, report
from benchmarks.paper.one_dimensional import KAPPA, NU, ExactLikelihood
from benchmarks.paper.rows import Rows, relative_error

ROW = {"experiment": "4.3", "estimator": "e", "num_specimens": 10, "data_set": 0, "errors": {"alpha": 0.1},
       "floor": {"alpha": 0.05}, "solves": 7, "seconds": 1.0}  # fmt: skip


@pytest.mark.parametrize("alpha", [3 * NU, np.array([2.0, 1.5, 3.0])])
def test_the_exact_density_has_the_moments_of_the_data(alpha):
    """1/k is linear in Dirichlet fractions, whose first two moments are known."""
    likelihood, c = ExactLikelihood(np.ones(3)), 1 / KAPPA
    moments = np.zeros(3)
    for low, high, weights, order in ((c[2], c[1], alpha, c), (c[1], c[0], alpha[::-1], c[::-1])):
        density = lambda t, w=weights, o=order: likelihood._density(np.atleast_1d(t), w, o)[0]  # noqa: E731
        moments += [scipy.integrate.quad(lambda t, k=k, d=density: t**k * d(t), low, high)[0] for k in range(3)]
    gamma, mean = alpha.sum(), alpha @ c / alpha.sum()
    spread = (alpha @ c**2 / gamma - mean**2) / (gamma + 1)
    np.testing.assert_allclose(moments, [1, mean, spread + mean**2], rtol=1e-4)


def test_the_simulated_layers_have_the_moments_of_dirichlet_fractions():
    alpha = 0.3 * NU
    t, c = 1 / one_dimensional.simulate(alpha, 200_000, 0).ravel(), 1 / KAPPA
    mean = alpha @ c / alpha.sum()
    spread = (alpha @ c**2 / alpha.sum() - mean**2) / (alpha.sum() + 1)
    assert abs(t.mean() - mean) < 5 * (spread / len(t)) ** 0.5
    assert abs(t.var() / spread - 1) < 0.02


@pytest.mark.slow
def test_the_exact_likelihood_finds_the_truth():
    likelihood = ExactLikelihood(one_dimensional.simulate(NU, 3000, 0))
    found = likelihood.maximum(NU, KAPPA)
    assert likelihood.log_likelihood(*found) >= likelihood.log_likelihood(NU, KAPPA)
    assert relative_error(found[0], NU) < 0.1
    assert relative_error(found[1], KAPPA) < 0.02


def test_measured_sites_lie_inside_of_the_specimen():
    sites = locally_periodic.sites(16, 1024)
    assert sites.shape == (1024, 2)
    assert sites.min() >= 0
    assert sites.max() < 1
    assert np.unique(np.diff(np.unique(sites[:, 0])) * 512).tolist() == [16.0]


def test_rows_are_kept_and_found_again(tmp_path):
    path = tmp_path / "paper.json"
    Rows(path).put(ROW)
    rows = Rows(path)
    assert rows.has("4.3", "e", 10, 0)
    assert not rows.has("4.3", "e", 10, 1)
    assert json.loads(path.read_text()) == [ROW]
    assert "| 4.3 | e | 10 | 1 | alpha | 10 | 10 to 10 | 5 | 2.00 | 7 | 1 |" in report.table(rows.content)


def test_the_figure_is_drawn_from_any_rows(tmp_path):
    report.draw([ROW, ROW | {"experiment": "4.3 gamma=1", "estimator": "sliced Wasserstein"}], tmp_path)
    assert (tmp_path / "paper.png").stat().st_size > 10_000
