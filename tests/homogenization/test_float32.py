"""32-bit arithmetic against 64 bits: what it holds, and that it says so where it does not.

In a 64-bit run the fields are rounded to 32 bits and compared with the 64-bit solution of the same rounded field. In a
32-bit run there is nothing to compare with but identities.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import as_tensors, make_cell, voronoi_field

import numpyro_homog as nh

N = 16
# Relative error of the diagonal that rounding leaves, measured on these cells (twice the worst, a digit).
FLOORS = {10.0: 1e-6, 100.0: 1e-6, 1000.0: 2e-6}
TOLERANCE = 1e-7


def fields(contrast):
    """Cells whose values are 32-bit numbers, in both precisions."""
    single = voronoi_field(0, (N, N), (1.0, np.sqrt(contrast), contrast), (6,)).astype(jnp.float32)
    return single, single.astype(jnp.result_type(float))


def relative_error(tensors, exact):
    exact = np.asarray(exact, float)
    diagonal = np.sqrt(exact[:, [0], [0]] * exact[:, [1], [1]])[:, :, None]
    return np.max(np.abs(np.asarray(tensors, float) - exact) / diagonal)


@pytest.fixture(scope="module")
def exact():
    """64-bit tensors by contrast and scale of the field."""
    cell = make_cell((N, N), tolerance=1e-13)
    return lambda contrast: nh.effective_tensor(cell, fields(contrast)[1])


@pytest.mark.x64_only
@pytest.mark.parametrize("contrast", FLOORS)
def test_the_floor_of_the_tensor(contrast, exact):
    single, _ = fields(contrast)
    tensors = nh.effective_tensor(make_cell((N, N), tolerance=TOLERANCE), single)
    assert tensors.dtype == jnp.float32
    assert relative_error(tensors, exact(contrast)) < FLOORS[contrast]


@pytest.mark.x64_only
def test_the_floor_of_the_tensor_of_a_tensor_field(exact):
    tensors = nh.effective_tensor(make_cell((N, N), tolerance=TOLERANCE), as_tensors(fields(100.0)[0]))
    assert relative_error(tensors, exact(100.0)) < FLOORS[100.0]


@pytest.mark.slow
@pytest.mark.x64_only
def test_gradients_agree_to_the_root_of_the_tolerance():
    single, double = (field[0] for field in fields(10.0))
    loose, tight = (make_cell((N, N), tolerance=tolerance) for tolerance in (1e-6, 1e-13))
    expected = jax.grad(lambda k: nh.effective_tensor(tight, k)[0, 0])(double)
    actual = jax.grad(lambda k: nh.effective_tensor(loose, k)[0, 0])(single)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


@pytest.mark.x64_only
@pytest.mark.parametrize("contrast", [1e4, 1e6, 1e8])
def test_beyond_the_floor_a_solve_is_accurate_or_flagged(contrast, exact):
    # What is reported as certified at 1e-6 must be right to 1e-6, with a factor 3 for rounding.
    single, _ = fields(contrast)
    solution = nh.solve_cell(make_cell((N, N)), single, throw=False)
    kept = ~np.isnan(np.asarray(solution.effective)).any((1, 2))
    if kept.any():
        assert relative_error(solution.effective[kept], exact(contrast)[kept]) < 3e-6


@pytest.mark.x64_only
@pytest.mark.parametrize("scale", [1e-20, 1e-12, 1e-9, 1e9, 1e20])
def test_units_do_not_matter(scale, exact):
    # Permeabilities in square metres are 1e-12 and less; squares of such fields leave the range of 32 bits.
    single, _ = fields(10.0)
    tensors = nh.effective_tensor(make_cell((N, N)), (single * np.float32(scale)).astype(jnp.float32), throw=False)
    assert relative_error(np.asarray(tensors, float) / float(np.float32(scale)), exact(10.0)) < 3e-6


@pytest.mark.x64_only
@pytest.mark.parametrize("height", [1e6, 1e-2, 1e-4])
def test_flat_cells_are_accurate_or_flagged(height):
    lengths = (height, height) if height > 1 else (1.0, height)
    single, double = fields(10.0)
    expected = nh.effective_tensor(make_cell((N, N), lengths, tolerance=1e-12), double)
    tensors = nh.solve_cell(make_cell((N, N), lengths, max_iterations=200), single, throw=False).effective
    kept = ~np.isnan(np.asarray(tensors)).any((1, 2))
    if kept.any():
        # Flat cells lose digits: 1e-4 is what 1e-2 of aspect ratio may cost.
        assert relative_error(tensors[kept], expected[kept]) < 1e-4


@pytest.mark.x32
def test_laminates_of_contrast_1000_in_this_precision(eps):
    k = jnp.where(jnp.arange(N) % 4 == 0, 1000.0, 1.0).astype(jnp.result_type(float))
    tensor = nh.effective_tensor(make_cell((N, N), tolerance=max(1e-12, eps)), jnp.broadcast_to(k[:, None], (N, N)))
    expected = np.diag([1 / np.mean(1 / np.asarray(k, float)), np.mean(np.asarray(k, float))])
    np.testing.assert_allclose(np.diagonal(tensor), np.diagonal(expected), rtol=max(1e-10, 20 * eps))


@pytest.mark.x64_only
@pytest.mark.parametrize("contrast", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("kind", ["scalars", *(pytest.param(k, marks=pytest.mark.slow) for k in ("tensors", "lame"))])
def test_the_certified_error_includes_rounding(kind, contrast):
    """A constant field had an error of zero, and came out above the arithmetic mean."""
    n = 24
    single = 0.7 * voronoi_field(0, (n, n), (1.0, np.sqrt(contrast), contrast), (2,)).astype(jnp.float32)
    law = nh.LinearElasticity() if kind == "lame" else nh.Conductivity()
    make = {"scalars": lambda k: k, "tensors": as_tensors, "lame": lambda k: (1.3 * k, k)}[kind]
    coarse, exact = (
        nh.solve_cell(nh.CellProblem(nh.Grid((n, n)), law, nh.Periodic(), tolerance=t), make(field))
        for t, field in ((1e-4, single), (1e-13, single.astype(float)))
    )
    found, true = (np.diagonal(np.asarray(solution.effective, float), axis1=1, axis2=2) for solution in (coarse, exact))
    assert np.all(np.abs(found / true - 1) <= np.asarray(coarse.stats["error"]))
    assert np.all(coarse.stats["error"] > 0)
