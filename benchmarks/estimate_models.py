"""Data and models of the estimator benchmark: periodic cells of three phases (theory, section 5.1)."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from benchmarks.store import cached_array

KAPPA = (1.0, 5.0, 10.0)
DELAYS = (0.0, 0.1, 0.05)
SEED = 20262
CHUNK = 50


def simulate(index: int, num_specimens: int, n: int) -> np.ndarray:
    """Data set `index`: tensors of sharp cells on an n x n grid, shape (num_specimens, 2, 2); cached."""
    grid = nh.Grid((n, n))
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic(), tolerance=1e-5)
    cells = nh.LaguerreTessellation(grid, jnp.array(DELAYS), sharp=True)
    kappa = jnp.array(KAPPA)

    @jax.jit
    def draw(key):
        return cells.sample(key, (CHUNK,)) @ kappa

    def make():
        keys = jax.random.split(jax.random.fold_in(jax.random.key(SEED), index), -(-num_specimens // CHUNK))
        return np.concatenate([np.asarray(nh.effective_tensor(cell, draw(key))) for key in keys])[:num_specimens]

    return cached_array(f"estimate_{index}_{num_specimens}_{n}", make)


def make_model(n: int):
    """The model of the README on an n x n grid."""
    cell = nh.CellProblem(nh.Grid((n, n)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)
    log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)
    kappa_prior = dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()])

    def model(num_specimens):
        delay = numpyro.sample("delay", dist.Normal(0.0, 0.1).expand([2]).to_event(1))
        kappa = numpyro.sample("kappa", kappa_prior)
        with numpyro.plate("specimens", num_specimens):
            phases = numpyro.sample("phases", nh.LaguerreTessellation(cell.grid, jnp.append(0.0, delay)))
            nh.homogenize("K_eff", cell, nh.mix(phases, kappa))

    return model


def make_relaxed_model(n: int, softness: float = 0.005):
    """The paper's model: softmax of the distances, arithmetic mixing, free labels."""
    cell = nh.CellProblem(nh.Grid((n, n)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)
    centers = cell.grid.centers()

    def model(num_specimens):
        delay = numpyro.sample("delay", dist.Uniform(-0.05, 0.05).expand([2]).to_event(1).mask(False))
        log_kappa = numpyro.sample("log_kappa", dist.Normal(1.15, 1.07).expand([3]).to_event(1))
        with numpyro.plate("specimens", num_specimens):
            seeds = numpyro.sample("seeds", dist.Uniform(0.0, 1.0).expand([3, 2]).to_event(2))
            offset = jnp.abs(centers[:, :, None] - seeds[..., None, None, :, :])
            offset = jnp.minimum(offset, 1 - offset)
            distance = jnp.sqrt(jnp.sum(offset**2, axis=-1) + 1e-12)
            phases = jax.nn.softmax(-(distance + jnp.append(0.0, delay)) / softness, axis=-1)
            nh.homogenize("K_eff", cell, jnp.sum(phases * jnp.exp(log_kappa), axis=-1))

    return model


def errors(kappa, delay) -> dict[str, float]:
    """Relative errors (2-norm) after sorting the phases by conductivity and fixing the first delay at zero."""
    kappa = np.asarray(kappa, float)
    order = np.argsort(kappa)
    delays = np.append(0.0, np.asarray(delay, float))[order]
    delays = delays - delays[0]
    return {
        "kappa": float(np.linalg.norm(kappa[order] - KAPPA) / np.linalg.norm(KAPPA)),
        "delays": float(np.linalg.norm(delays - DELAYS) / np.linalg.norm(DELAYS)),
    }
