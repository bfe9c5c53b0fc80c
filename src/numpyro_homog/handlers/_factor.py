"""A factor that is computed when its density is asked for; private to the package."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import constraints


def deferred_factor(name: str, log_factor_fn: Callable[[Any], Array], operands: Any) -> None:
    """The factor `log_factor_fn(operands)`, a scalar, of the model.

    It is traced at once, under the handlers that are active now, and computed by whoever takes the log density. Those
    who replay the model for its deterministic sites, as NumPyro does for each draw, pay nothing.

    Args:
        name: name of the site.
        log_factor_fn: function of the operands.
        operands: arrays, in any structure.
    """
    operands = jax.tree.map(jnp.asarray, operands)
    unit = DeferredUnit(eqx.filter_closure_convert(log_factor_fn, operands), operands)
    numpyro.sample(name, unit, obs=jnp.empty(0), infer={"is_auxiliary": True})


class DeferredUnit(dist.Distribution):
    """The law of nothing, as `Unit`, with the unnormalised density log_factor_fn(operands)."""

    arg_constraints: ClassVar[dict] = {}
    support = constraints.real_vector

    def __init__(self, log_factor_fn: Callable[[Any], Array], operands: Any):
        self.log_factor_fn, self.operands = log_factor_fn, operands
        super().__init__((), (0,), validate_args=False)

    def sample(self, key, sample_shape=()):
        """Nothing, shape (*sample_shape, 0)."""
        return jnp.empty((*sample_shape, 0))

    def log_prob(self, value, intermediates=None):
        """The factor."""
        return jnp.broadcast_to(self.log_factor_fn(self.operands), jnp.shape(value)[:-1])
