"""Small models, cells, an emulator and a divergence for the tests of primitives, populations and handlers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.primitives import Messenger

import numpyro_homog as nh
from numpyro_homog.homogenization import AbstractCell

CELL = nh.CheckerboardCell()
TRUTH = {"mu": 0.3, "sigma": 0.5}


class RaisingCell(AbstractCell):
    """A cell that must never be computed; it tells the shape of its tensors, as all cells do."""

    def compute_effective(self, field, *, throw=True, progress=False):
        def fail(x):
            raise RuntimeError("the solver was called")

        return jax.pure_callback(fail, jax.ShapeDtypeStruct((*field.shape[:-1], 2, 2), field.dtype), field)


class CountingCell(AbstractCell):
    """The checkerboard, counting its true evaluations at run time, with a tangent that needs none."""

    counts: list

    def compute_effective(self, field, *, throw=True, progress=False):
        def count(x):
            self.counts.append(1)
            return np.asarray(x)

        @jax.custom_jvp
        def solve(s):
            s = jax.pure_callback(count, jax.ShapeDtypeStruct(s.shape, s.dtype), s, vmap_method="sequential")
            return CELL.compute_effective(s, throw=False)

        @solve.defjvp
        def _(primals, tangents):
            # As for a true cell: the value solves once, the tangent is an explicit function of it.
            value = solve(*primals)
            _, tangent = jax.jvp(lambda s: CELL.compute_effective(s, throw=False), primals, tangents)
            return value, tangent

        return solve(field)


class Answer(Messenger):
    """A toy emulator: answers every "homogenize" message by `fn(*inputs)` and counts its answers while tracing."""

    def __init__(self, fn=None, *, answer=lambda s: CELL.compute_effective(s, throw=False)):
        super().__init__(fn)
        self.answer, self.sites = answer, []

    def process_message(self, msg):
        if msg["type"] == "homogenize" and msg["value"] is None:
            self.sites.append(msg["site"])
            msg["value"] = self.answer(*msg["inputs"])


def checkerboards(num_specimens, cell=CELL):
    """Checkerboards with log-normal conductivities; the tensor K_eff, and nothing else, is measured."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        return nh.homogenize("K_eff", cell, jnp.exp(mu + sigma * z))


@functools.partial(jax.jit, static_argnums=(0, 1))
def measured_checkerboards(num_specimens, seed=0):
    """Tensors of `checkerboards` at TRUTH, shape (num_specimens, 2, 2)."""
    z = jax.random.normal(jax.random.key(seed), (num_specimens, 4))
    return nh.effective_tensor(CELL, jnp.exp(TRUTH["mu"] + TRUTH["sigma"] * z))


def energy_distance(x, y, *, rng_key):
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, smooth at zero; takes a key as every divergence does."""

    def mean_distance(a, b):
        return jnp.mean(jnp.sqrt(1e-12 + jnp.sum((a[:, None] - b[None]) ** 2, axis=-1)))

    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
