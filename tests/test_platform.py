"""What depends on the device; an accelerator is pretended."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import iid_field, make_cell
from toy_models import checkerboards

import numpyro_homog as nh
from numpyro_homog._platform import map_in_threads, num_workers, voxels_per_chunk
from numpyro_homog.population import Simulator


def loops(batch):
    """How many loops over chunks a batch is solved in."""
    cell, field = make_cell((8, 8)), iid_field(0, (8, 8), (1.0, 5.0), (batch,))
    program = jax.make_jaxpr(lambda field: nh.effective_tensor(cell, field, throw=False))(field)
    return str(program).count("scan[")


def test_an_accelerator_is_given_whole_batches():
    batch = 4 * voxels_per_chunk() // 64
    on_cores = loops(batch)
    with mock.patch("jax.default_backend", return_value="gpu"):
        assert loops(batch + 1) < on_cores
        assert num_workers() == 1


def test_an_accelerator_finds_the_same_tensors():
    cell, field = make_cell((8, 6)), iid_field(1, (8, 6), (1.0, 5.0), (3000,))  # more than a slice of cores
    with mock.patch("jax.default_backend", return_value="gpu"):
        found = nh.effective_tensor(cell, field)
    for member in (0, 1500, 2999):
        np.testing.assert_allclose(found[member], nh.effective_tensor(cell, field[member]), rtol=2e-6, atol=2e-6)


def test_an_accelerator_is_given_all_specimens_at_once():
    on_cores = Simulator(checkerboards, ["K_eff"], (100_000,)).chunk_size
    with mock.patch("jax.default_backend", return_value="gpu"):
        population = Simulator(checkerboards, ["K_eff"], (100_000,))
    assert on_cores < 5000 < population.chunk_size == 100_000


@pytest.mark.x64_only
def test_long_batches_have_the_precision_of_the_callers_context():
    # `jax.enable_x64` holds for one thread, and a long batch is solved by several.
    cell, field = make_cell((8, 6)), np.asarray(iid_field(2, (8, 6), (1.0, 5.0), (3000,)))
    with jax.enable_x64(False):
        assert nh.effective_tensor(cell, field).dtype == jnp.float32
    assert nh.effective_tensor(cell, field).dtype == jnp.float64


def test_threads_stop_when_nobody_listens():
    begun = []
    results = map_in_threads("test", begun.append, range(1000), 1)
    next(results)
    results.close()
    assert len(begun) < 1000
