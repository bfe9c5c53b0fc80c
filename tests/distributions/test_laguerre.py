"""LaguerreTessellation as a NumPyro distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer import Predictive
from numpyro.infer.reparam import TransformReparam
from numpyro.infer.util import log_density

import numpyro_homog as nh
from numpyro_homog.distributions import LaguerreTessellation, SquaredDistance

GRID = nh.Grid((8, 8))
KEY = jax.random.key(0)
DELAYS = jnp.array([0.0, 0.1, 0.05])


def model(num_specimens):
    delay = numpyro.sample("delay", dist.Normal(0.0, 0.1).expand([2]).to_event(1))
    with numpyro.plate("specimens", num_specimens):
        numpyro.sample("phases", LaguerreTessellation(GRID, jnp.append(0.0, delay)))


@pytest.mark.slow
def test_shapes():
    law = LaguerreTessellation(GRID, jnp.zeros((6, 3)))
    assert law.batch_shape == (6,)
    assert law.event_shape == (8, 8, 3)
    assert law.base_dist.batch_shape == (6,)
    assert law.base_dist.event_shape == (3, 2)
    assert law.sample(KEY, (2,)).shape == (2, 6, 8, 8, 3)
    assert law.expand((5, 6)).sample(KEY).shape == (5, 6, 8, 8, 3)
    assert bool(jnp.all(law.support(law.sample(KEY))))


@pytest.mark.parametrize("sharp", [False, True])
def test_jit_vmap_and_pytree(sharp):
    law = LaguerreTessellation(GRID, DELAYS, sharp=sharp, distance=SquaredDistance())
    leaves, structure = jax.tree.flatten(law)
    again = jax.tree.unflatten(structure, leaves)
    assert again.transforms[0] == law.transforms[0]
    assert again.reparametrized_params == law.reparametrized_params
    sample = jax.jit(lambda law, key: law.sample(key))
    np.testing.assert_array_equal(sample(law, KEY), sample(again, KEY))
    batch = jax.vmap(lambda w: LaguerreTessellation(GRID, w))(jnp.zeros((4, 3)))
    assert batch.delays.shape == (4, 3)
    keys = jax.random.split(KEY, 4)
    assert jax.vmap(lambda law, key: law.sample(key))(batch, keys).shape == (4, 8, 8, 3)


def test_members_of_a_batch_follow_their_own_delays():
    law = LaguerreTessellation(GRID, jnp.array([[0.0, 5.0], [5.0, 0.0]]))
    np.testing.assert_allclose(law.sample(KEY).mean((1, 2)), jnp.eye(2), atol=1e-6)


@pytest.mark.slow
def test_predictive_and_reparam():
    draws = Predictive(model, num_samples=3)(KEY, num_specimens=4)
    assert draws["phases"].shape == (3, 4, 8, 8, 3)
    exposed = handlers.reparam(model, config={"phases": TransformReparam()})
    trace = handlers.trace(handlers.seed(exposed, KEY)).get_trace(4)
    assert trace["phases_base"]["value"].shape == (4, 3, 2)
    assert trace["phases"]["type"] == "deterministic"
    values = {name: trace[name]["value"] for name in ("delay", "phases_base")}
    assert np.isfinite(log_density(exposed, (4,), {}, values)[0])


def test_reparametrization_is_told_truthfully():
    smooth, sharp = (LaguerreTessellation(GRID, DELAYS, sharp=sharp) for sharp in (False, True))
    assert smooth.has_rsample
    assert smooth.reparametrized_params == ["delays"]
    assert not sharp.has_rsample
    assert sharp.reparametrized_params == []
    assert not sharp.expand((2,)).has_rsample
    with pytest.raises(NotImplementedError):
        sharp.rsample(KEY)


@pytest.mark.slow
@pytest.mark.x64_only
def test_path_derivative_agrees_with_common_random_numbers():
    def volume(t):
        return LaguerreTessellation(GRID, DELAYS + t * jnp.array([0.0, 1.0, 0.0])).rsample(KEY, (50,))[..., 1].mean()

    step = 1e-5
    difference = (volume(step) - volume(-step)) / (2 * step)
    assert float(jax.grad(volume)(0.0)) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.slow
def test_sharp_samples_are_one_hot_and_the_limit_of_fine_fractions():
    sharp = LaguerreTessellation(GRID, DELAYS, sharp=True).sample(KEY, (20,))
    assert set(np.unique(sharp)) == {0.0, 1.0}
    errors = []
    for n in (8, 32, 128):
        grid = nh.Grid((n, n))
        difference = LaguerreTessellation(grid, DELAYS).sample(KEY, (20,)) - LaguerreTessellation(
            grid, DELAYS, sharp=True
        ).sample(KEY, (20,))
        errors.append(float(jnp.abs(difference).mean()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.x32
@pytest.mark.parametrize("shape", [(40,), (10, 12, 14)])
def test_cells_in_any_dimension(shape):
    """Volumes are those of sharp cells on a finer grid, voxel by voxel but for the bend of an interface."""
    fine = nh.Grid(tuple(4 * n for n in shape))
    smooth = LaguerreTessellation(nh.Grid(shape), DELAYS).sample(KEY, (2,))
    assert smooth.shape == (2, *shape, 3)
    sharp = LaguerreTessellation(fine, DELAYS, sharp=True).sample(KEY, (2,))
    coarse = np.stack([nh.coarsen(np.asarray(cell), 4) for cell in sharp])
    assert np.abs(smooth - coarse).mean() < 0.01
    space = tuple(range(1, len(shape) + 1))
    np.testing.assert_allclose(smooth.mean(space), coarse.mean(space), atol=5e-3)


def test_density_is_refused_with_advice():
    law = LaguerreTessellation(GRID, DELAYS)
    with pytest.raises(NotImplementedError, match="TransformReparam"):
        law.log_prob(law.sample(KEY))
    with pytest.raises(NotImplementedError, match="inverted"):
        law.transforms[0].inv(law.sample(KEY))


def test_bad_delays_are_refused():
    with pytest.raises(ValueError, match="delays"):
        LaguerreTessellation(GRID, jnp.array([0.0, jnp.nan]), validate_args=True)
    with pytest.raises(ValueError, match="one start time per phase"):
        LaguerreTessellation(GRID, jnp.zeros(()))
    with pytest.raises(ValueError, match="J >= 1"):
        LaguerreTessellation(GRID, jnp.zeros((3, 0)))


def test_dtype_follows_the_delays(x64):
    for dtype in (jnp.float32, jnp.float64) if x64 else (jnp.float32,):
        assert LaguerreTessellation(GRID, DELAYS.astype(dtype)).sample(KEY).dtype == dtype
    assert LaguerreTessellation(GRID, jnp.array([0, 1])).sample(KEY).dtype == jnp.result_type(float)
