"""Batches, chunks, vmap and jit: a member never depends on its company."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import make_cell, random_spd, smooth_field, voronoi_field

import numpyro_homog as nh
from numpyro_homog._platform import num_workers, voxels_per_chunk
from numpyro_homog.homogenization import _host
from numpyro_homog.homogenization._batching import map_in_chunks

SHAPE = (8, 6)
CELL = make_cell(SHAPE)
CHUNK = voxels_per_chunk() // 48


@pytest.fixture
def rtol(x64):
    """Members go through the same arithmetic, but the compiler may order sums by the size of the batch."""
    return 1e-12 if x64 else 2e-6


def mixed_fields():
    """Contrasts 1 (no iteration), 2, 1e4 and 10, in this order."""
    fields = [voronoi_field(seed, SHAPE, (1.0, h)) for seed, h in enumerate((2.0, 1e4, 10.0))]
    return jnp.stack([jnp.full(SHAPE, 3.0), *fields])


@pytest.mark.x32
def test_finished_members_are_frozen(rtol):
    # A Krylov loop that goes on with finished members divides by rounding errors and corrupts them.
    fields = mixed_fields()
    together = nh.solve_cell(CELL, fields)
    for i, field in enumerate(fields):
        alone = nh.solve_cell(CELL, field)
        np.testing.assert_allclose(together.effective[i], alone.effective, rtol=rtol, atol=rtol)
        np.testing.assert_array_equal(together.stats["iterations"][i], alone.stats["iterations"])
    counts = np.asarray(together.stats["iterations"])
    assert np.all(counts[0] == 0)
    assert np.all(counts[2] > 1.2 * counts[1])  # members did stop at different times
    np.testing.assert_allclose(together.effective[0], 3 * np.eye(2), rtol=1e-6, atol=1e-6)


def test_load_cases_of_one_member_are_frozen_too(rtol):
    # Layers need no iteration along themselves, and a few across.
    field = jnp.broadcast_to(smooth_field(0, (8, 1)), SHAPE)
    counts = np.asarray(nh.solve_cell(CELL, field).stats["iterations"])
    assert counts[1] == 0 < counts[0]


@pytest.mark.x32
def test_the_order_of_a_batch_does_not_matter(rtol):
    fields = mixed_fields()
    order = jnp.asarray([2, 0, 3, 1])
    np.testing.assert_allclose(
        nh.effective_tensor(CELL, fields[order]), nh.effective_tensor(CELL, fields)[order], rtol=rtol, atol=rtol
    )


def test_a_bad_member_leaves_the_others_alone(rtol):
    fields = mixed_fields()
    clean = nh.effective_tensor(CELL, fields)
    for bad in (jnp.nan, jnp.inf, -1.0, 0.0):
        tensors = nh.effective_tensor(CELL, fields.at[1, 2, 3].set(bad), throw=False)
        np.testing.assert_array_equal(np.isnan(tensors).all((1, 2)), [False, True, False, False])
        keep = jnp.asarray([0, 2, 3])
        np.testing.assert_allclose(tensors[keep], clean[keep], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("batch", [CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_chunks_with_any_remainder(batch):
    # Sorted by contrast, padded, put back: a laminate tells which member it is.
    k = np.random.default_rng(0).uniform(1, 2, batch)
    layers = jnp.asarray(np.where(np.arange(8)[None] < 4, 1.0, k[:, None] ** 5))
    tensors = nh.effective_tensor(CELL, jnp.broadcast_to(layers[:, :, None], (batch, *SHAPE)))
    assert tensors.shape == (batch, 2, 2)
    np.testing.assert_allclose(tensors[:, 0, 0], 2 / (1 + k**-5), rtol=2e-6)
    np.testing.assert_allclose(tensors[:, 1, 1], (1 + k**5) / 2, rtol=2e-6)


@pytest.mark.slow
def test_derivatives_keep_the_order_of_chunks():
    batch = CHUNK + 5
    k = jnp.asarray(np.random.default_rng(0).uniform(1, 8, batch))

    def total(k):
        layers = jnp.where(jnp.arange(8)[None] < 4, 1.0, k[:, None])
        tensors = nh.effective_tensor(CELL, jnp.broadcast_to(layers[:, :, None], (batch, *SHAPE)))
        return jnp.sum(jnp.arange(1.0 * batch) * tensors[:, 0, 0])

    # d/dk of 2 / (1 + 1/k); the gradient has the square root of the tolerance.
    np.testing.assert_allclose(jax.grad(total)(k), np.arange(batch) * 2 / (1 + np.asarray(k)) ** 2, rtol=1e-4)


@pytest.mark.parametrize("batch", [(), (2, 3), *(pytest.param(b, marks=pytest.mark.slow) for b in ((1,), (1, 2, 1)))])
@pytest.mark.parametrize("kind", ["isotropic", "tensors"])
def test_any_number_of_batch_axes(batch, kind, rtol):
    fields = smooth_field(0, (*batch, *SHAPE)) if kind == "isotropic" else random_spd(0, (*batch, *SHAPE))
    tensors = nh.effective_tensor(CELL, fields)
    assert tensors.shape == (*batch, 2, 2)
    last = tuple(n - 1 for n in batch)
    np.testing.assert_allclose(tensors[last], nh.effective_tensor(CELL, fields[last]), rtol=rtol, atol=rtol)


def test_the_axes_of_a_solution():
    solution = nh.solve_cell(CELL, smooth_field(0, (2, 3, *SHAPE)))
    assert solution.effective.shape == (2, 3, 2, 2)
    assert solution.corrector.shape == (2, 3, 2, *SHAPE)
    assert solution.result._value.shape == (2, 3)
    assert all(value.shape == (2, 3, 2) for value in solution.stats.values())


def test_an_empty_batch_has_no_tensors():
    assert nh.effective_tensor(CELL, jnp.zeros((0, *SHAPE))).shape == (0, 2, 2)


def test_vmap_is_the_batch(rtol):
    fields = smooth_field(0, (2, 3, *SHAPE))
    batch = nh.effective_tensor(CELL, fields)
    one = lambda field: nh.effective_tensor(CELL, field)  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.vmap(one)))(fields), batch, rtol=rtol, atol=rtol)
    moved = jax.vmap(one, in_axes=2, out_axes=1)(jnp.moveaxis(fields[0], 0, 2))
    np.testing.assert_allclose(moved, jnp.moveaxis(batch[0], 0, 1), rtol=rtol, atol=rtol)


def test_vmap_over_a_scale_shares_the_field(rtol):
    field, scales = smooth_field(0, SHAPE), jnp.asarray([1.0, 2.0, 5.0])
    tensors = jax.vmap(lambda scale: nh.effective_tensor(CELL, scale * field))(scales)
    expected = scales[:, None, None] * nh.effective_tensor(CELL, field)[None]
    np.testing.assert_allclose(tensors, expected, rtol=10 * rtol, atol=10 * rtol)


def test_chunks_keep_their_size_under_vmap():
    seen = []

    def fn(arrays):
        seen.append(arrays.shape)
        return arrays + 1

    inner = lambda a, c: map_in_chunks(fn, a, c, 4)  # noqa: E731
    a = jnp.arange(30.0).reshape(5, 6)
    np.testing.assert_array_equal(jax.vmap(inner)(a, -a), a + 1)
    assert set(seen) == {(4,)}


def test_a_second_call_does_not_compile_again():
    traces = []

    @jax.jit
    def tensor(field):
        traces.append(field.shape)
        return nh.effective_tensor(make_cell((4, 3)), field)

    for seed in range(3):
        tensor(smooth_field(seed, (2, 4, 3)))
    assert len(traces) == 1


def test_equal_cells_share_one_compilation():
    # The eager path: a cell is hashed by value, so a rebuilt one finds the compiled program of the first.
    from numpyro_homog.homogenization import _cell

    field = smooth_field(0, (4, 3))
    nh.effective_tensor(make_cell((4, 3)), field)
    before = _cell._compute_effective._cache_size()
    for seed in range(3):
        nh.effective_tensor(make_cell((4, 3), (1, 1), tolerance=1e-6), smooth_field(seed, (4, 3)))
    assert _cell._compute_effective._cache_size() == before


def temporary_megabytes(fn, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.result_type(float)) for shape in shapes]
    return jax.jit(fn).lower(*arguments).compile().memory_analysis().temp_size_in_bytes / 2**20


@pytest.mark.slow
@pytest.mark.x64_only
def test_memory_of_a_large_batch_is_bounded():
    # 100,000 cells of 64 x 64: 3.1 GB of coefficients in 64 bits. Beside them the compiler keeps one copy for its loop
    # over chunks, and the solver what one chunk needs. Compiled, not run.
    cell = make_cell((64, 64))
    tensor = lambda fields: nh.effective_tensor(cell, fields, throw=False)  # noqa: E731
    small, large = (temporary_megabytes(tensor, (batch, 64, 64)) for batch in (100, 100_000))
    copy = 100_000 * 64 * 64 * 8 / 2**20
    assert large - small < copy + 100, (small, large)


@pytest.mark.parametrize("total", [9, 10, 11, 12])
def test_slices_of_a_long_batch_cover_it_once(total):
    # Outside of jit: slices of one size, the last one overlapping, from NumPy arrays that never become one JAX array.
    seen = []

    @jax.jit
    def double(cell, array):
        seen.append(array.shape)
        return 2 * array, array[:, 0]

    arrays = np.arange(3.0 * total).reshape(total, 3)
    with mock.patch.object(_host, "largest_slice", return_value=4):
        twice, first = _host.map_slices(double, CELL, arrays, (total,), smallest=1)
    np.testing.assert_array_equal(twice, 2 * arrays)
    np.testing.assert_array_equal(first, arrays[:, 0])
    assert len(seen) == 1
    assert seen[0][0] <= 4


def test_a_long_batch_of_several_axes_is_put_back_in_order():
    # More than two chunks per core, so that the eager path cuts it; a laminate tells which member it is.
    cores = num_workers()
    batch = (3, CHUNK * max(cores, 2))
    k = np.random.default_rng(1).uniform(1, 3, batch)
    layers = np.where(np.arange(8) < 4, 1.0, k[..., None])
    tensors = nh.effective_tensor(CELL, np.broadcast_to(layers[..., None], (*batch, *SHAPE)))
    np.testing.assert_allclose(tensors[..., 0, 0], 2 / (1 + 1 / k), rtol=2e-6)


@pytest.mark.slow
@pytest.mark.x64_only
def test_memory_of_tangents_is_that_of_one_chunk_when_fields_are_made_in_chunks():
    # What the estimator does: jacfwd inside lax.map over chunks; nothing grows with the population but the result.
    cell = make_cell((64, 64))
    masks = jnp.asarray(np.random.default_rng(0).random((2, 64, 64)))

    def population(kappa, scales):
        member = lambda s: nh.effective_tensor(cell, s * jnp.tensordot(kappa, masks, 1), throw=False)  # noqa: E731
        return jax.lax.map(member, scales, batch_size=4)

    tangents = jax.jacfwd(population)
    small, large = (temporary_megabytes(tangents, (2,), (batch,)) for batch in (100, 20_000))
    assert large - small < 20, (small, large)


def test_slices_of_tiny_members_are_bounded_too():
    seen = []

    @jax.jit
    def double(cell, array):
        seen.append(array.shape[0])
        return 2 * array

    arrays = np.arange(10_000.0)
    np.testing.assert_array_equal(_host.map_slices(double, CELL, arrays, (10_000,), smallest=30_000), 2 * arrays)
    assert seen == [2048]
