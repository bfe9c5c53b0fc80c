"""The certificate: 0 <= true error <= certified error <= tolerance, and how many iterations it takes."""

import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import iid_field, make_cell, polycrystal, voronoi_field

import numpyro_homog as nh

pytestmark = pytest.mark.x64_only

N = 16
CONTRASTS = (2.0, 10.0, 100.0, 1e3, 1e4, 1e6)
TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-8)


def scalar_fields():
    """Every contrast on Voronoi cells, white noise, and a laminate with a cross bar: (cells, N, N)."""
    fields = []
    for seed, contrast in enumerate(CONTRASTS):
        values = (1.0, np.sqrt(contrast), contrast)
        layers = jnp.broadcast_to(voronoi_field(seed, (N, 1), values), (N, N))
        fields += [voronoi_field(seed, (N, N), values), iid_field(seed, (N, N), (1.0, contrast)), layers]
        fields += [layers.at[:, 3].set(contrast), voronoi_field(seed, (N, N), (contrast, 1.0), num_grains=3)]
    return jnp.stack(fields)


def tensor_fields():
    """Polycrystals and noise of crystals: (cells, N, N, 2, 2)."""
    fields = []
    for seed, contrast in enumerate(CONTRASTS):
        fields += [
            polycrystal(seed, (N, N), (1.0, contrast)),
            polycrystal(seed, (N, N), (1.0, contrast), num_grains=60),
        ]
        fields.append(voronoi_field(seed, (N, N), (1.0, 3.0))[..., None, None] * fields[-1])
    return jnp.stack(fields)


@pytest.fixture(scope="module")
def problems():
    """Fields and their tensors from solves at 1e-13."""
    fields = {"scalars": scalar_fields(), "tensors": tensor_fields()}
    exact = make_cell((N, N), tolerance=1e-13)
    return {kind: (field, np.asarray(nh.effective_tensor(exact, field))) for kind, field in fields.items()}


@pytest.mark.parametrize("tolerance", [TOLERANCES[0], TOLERANCES[2]])
@pytest.mark.parametrize("kind", ["scalars", "tensors"])
def test_true_error_below_certified_error_below_tolerance(problems, kind, tolerance):
    check(*problems[kind], tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [TOLERANCES[1], TOLERANCES[3]])
@pytest.mark.parametrize("kind", ["scalars", "tensors"])
def test_true_error_below_certified_error_below_other_tolerances(problems, kind, tolerance):
    check(*problems[kind], tolerance)


def check(fields, exact, tolerance):
    solution = nh.solve_cell(make_cell((N, N), tolerance=tolerance), fields)
    effective, certified = np.asarray(solution.effective), np.maximum(solution.stats["error"], 0)
    diagonal = np.diagonal(exact, axis1=1, axis2=2)
    error = np.diagonal(effective - exact, axis1=1, axis2=2)
    # Rounding: eps times the mean of the field, of which the tensor is a small part at high contrast.
    mean = np.asarray(fields).reshape(len(fields), -1).max(-1)
    rounding = 1e-14 * mean[:, None] + 1e-12 * diagonal
    assert np.all(error >= -rounding), "the energy of an unfinished corrector lies above the minimum"
    assert np.all(error <= certified * np.diagonal(effective, axis1=1, axis2=2) + rounding)
    assert np.all(certified <= tolerance)
    # In energy, |error of K12| <= sqrt(error of K11 times error of K22): the error is a positive semi-definite tensor.
    bound = np.sqrt(np.prod(certified * np.diagonal(effective, axis1=1, axis2=2), axis=-1))
    assert np.all(np.abs(effective - exact)[:, 0, 1] <= bound + rounding.max(-1))
    # It is not met by solving to machine precision: members stop for their own sake.
    if tolerance >= 1e-4:
        assert np.median(error / diagonal) > 1e-4 * tolerance


def test_a_looser_tolerance_takes_fewer_iterations(problems):
    fields, _ = problems["scalars"]
    counts = [
        np.asarray(nh.solve_cell(make_cell((N, N), tolerance=tolerance), fields).stats["iterations"])
        for tolerance in (1e-2, 1e-6)
    ]
    assert np.all(counts[0] <= counts[1])
    assert counts[0].sum() < 0.7 * counts[1].sum()


def test_both_solvers_stop_at_the_same_place(problems):
    # effective_tensor does not keep correctors, but it is the same iteration.
    fields, _ = problems["scalars"]
    cell = make_cell((N, N), tolerance=1e-2)
    np.testing.assert_allclose(
        nh.effective_tensor(cell, fields), nh.solve_cell(cell, fields).effective, rtol=1e-12, atol=1e-12
    )


def iterations(n, contrast, seeds=4, tolerance=1e-6):
    fields = jnp.stack([voronoi_field(seed, (n, n), (1.0, np.sqrt(contrast), contrast)) for seed in range(seeds)])
    counts = np.asarray(nh.solve_cell(make_cell((n, n), tolerance=tolerance), fields).stats["iterations"])
    return counts.mean(), counts.max()


@pytest.mark.slow
def test_iterations_do_not_grow_with_the_mesh():
    # The same Voronoi cells (same seeds) at four resolutions: dense transforms up to 64, fast ones at 128.
    means = [iterations(n, 10.0)[0] for n in (16, 32, 64, 128)]
    assert max(means) < 16
    assert means[-1] <= means[1] * 1.15 + 0.5, means


def test_iterations_grow_slower_than_the_root_of_the_contrast():
    means = {contrast: iterations(16, contrast)[0] for contrast in (4.0, 64.0, 1024.0)}
    # A factor 16 in contrast: conjugate gradients promise a factor 4.
    assert means[64.0] < 4 * means[4.0], means
    assert means[1024.0] < 4 * means[64.0], means


@pytest.mark.parametrize("kind", ["scalars", "tensors"])
def test_what_the_stats_say(problems, kind):
    fields = problems[kind][0][:4]
    cell = make_cell((N, N))
    solution = nh.solve_cell(cell, fields)
    assert set(solution.stats) == {"iterations", "residual", "error"}
    assert all(value.shape == (4, 2) for value in solution.stats.values())
    assert np.all(solution.result == nh.RESULTS.successful)
    assert np.nanmax(np.asarray(solution.stats["residual"])) < 1
    assert np.all(np.asarray(solution.stats["iterations"]) <= cell.max_iterations)
    homogeneous = nh.solve_cell(cell, jnp.full((1, N, N), 2.0))
    assert np.all(np.asarray(homogeneous.stats["iterations"]) == 0)
    np.testing.assert_allclose(homogeneous.stats["error"], 0, atol=100 * jnp.finfo(fields.dtype).eps)


def test_the_stats_of_a_laminate_are_numbers():
    # The load along the layers is zero but for rounding, and so is its energy.
    fields = scalar_fields()[2::5]
    stats = nh.solve_cell(make_cell((N, N)), fields).stats
    assert np.all(np.isfinite(stats["residual"]))
    assert np.all(np.asarray(stats["error"]) >= 0)
