"""A factor of a model that is computed by whoever takes the log density."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, ArrayLike
from numpyro.distributions import constraints

from ..population import HideSpecimens, ParameterSpace


def add_factor(
    name: str, log_factor_fn: Callable[[dict[str, Array]], Array], parameters: ParameterSpace, hidden: HideSpecimens
) -> None:
    """Give a model without specimens the factor `log_factor_fn(params)`, a scalar, as the site `name`.

    It is traced at once, under the handlers that are active now, and computed by whoever takes the log density. Those
    who replay the model for its deterministic sites, as NumPyro does for each draw, pay nothing.

    Args:
        name: name of the site.
        log_factor_fn: function of the values of the parameters by name.
        parameters: the parameters.
        hidden: the model, which has just run.
    """
    if numpyro.get_mask() is False:
        return  # as in Predictive: the density is not asked for
    # A `param` of the model is passed on too; what an outer reparam has sampled on its way is not.
    own = parameters.keys() | {name for name, fn in hidden.distributions.items() if fn is None}
    operands = {name: jnp.asarray(value) for name, value in hidden.values.items() if name in own}
    unit = DeferredUnit(eqx.filter_closure_convert(log_factor_fn, operands), operands)
    numpyro.sample(name, unit, obs=jnp.empty(0), infer={"is_auxiliary": True})


class DeferredUnit(dist.Distribution):
    """The law of nothing, as `Unit`, with the unnormalised density log_factor_fn(operands)."""

    arg_constraints: ClassVar[dict] = {}
    support = constraints.real_vector

    def __init__(self, log_factor_fn: Callable[[Any], Array], operands: Any):
        self.log_factor_fn, self.operands = log_factor_fn, operands
        super().__init__((), (0,), validate_args=False)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Nothing, shape (*sample_shape, 0)."""
        return jnp.empty((*sample_shape, 0))

    def log_prob(self, value: ArrayLike, intermediates: Any = None) -> Array:
        """The factor."""
        return jnp.broadcast_to(self.log_factor_fn(self.operands), jnp.shape(value)[:-1])
