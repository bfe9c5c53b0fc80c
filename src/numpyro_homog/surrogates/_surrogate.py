"""What a surrogate is: the conditional density of a specimen's tensor."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractSurrogate(eqx.Module):
    """The law of the effective tensor of one specimen, given low-dimensional inputs of its cell.

    All methods take the inputs as arrays whose batch axes broadcast with each other and with those of the tensors,
    and are differentiable in everything. To add one, subclass it as an Equinox module with these methods;
    `fit_surrogate` then trains it.
    """

    @abc.abstractmethod
    def log_prob(self, tensors: Float[Array, "*batch d d"], *inputs: Array) -> Float[Array, "*shape"]:
        """Log density of the unique components of symmetric positive definite tensors."""

    @abc.abstractmethod
    def sample(self, rng_key: Array, *inputs: Array) -> Float[Array, "*shape d d"]:
        """One tensor for each member of the batch; smooth in the inputs while the key is held."""

    @abc.abstractmethod
    def mean(self, *inputs: Array) -> Float[Array, "*shape d d"]:
        """Expected tensor."""

    @abc.abstractmethod
    def standardize(self, tensors: Float[Array, "*batch d d"], *inputs: Array) -> Float[Array, "*shape components"]:
        """Residuals that are independent and standard normal, up to their tails, where the surrogate is right."""


class Ensemble(AbstractSurrogate):
    """Several surrogates of one kind in equal parts: a mixture, whose spread of means tells what was not learned.

    Args:
        members: a surrogate whose arrays have the members along a first axis, as `eqx.filter_vmap` makes them.
    """

    members: AbstractSurrogate

    def log_prob(self, tensors, *inputs):
        each = self._each(lambda member: member.log_prob(tensors, *inputs))
        return jax.scipy.special.logsumexp(each, axis=0) - jnp.log(len(each))

    def sample(self, rng_key, *inputs):
        """Each tensor by a member of its own."""
        pick_key, rng_key = jax.random.split(rng_key)
        each = self._each(lambda member: member.sample(rng_key, *inputs))
        chosen = jax.random.randint(pick_key, each.shape[1:-2], 0, len(each))
        return jnp.take_along_axis(each, chosen[None, ..., None, None], axis=0)[0]

    def mean(self, *inputs):
        return jnp.mean(self._each(lambda member: member.mean(*inputs)), axis=0)

    def standardize(self, tensors, *inputs):
        """Those of the members on average."""
        return jnp.mean(self._each(lambda member: member.standardize(tensors, *inputs)), axis=0)

    def uncertainty(self, *inputs: Array) -> Float[Array, "*shape"]:
        """Relative standard deviation of the mean between members, in its trace."""
        traces = jnp.trace(self._each(lambda member: member.mean(*inputs)), axis1=-2, axis2=-1)
        return jnp.std(traces, axis=0, ddof=1) / jnp.mean(traces, axis=0)

    def _each(self, fn):
        return eqx.filter_vmap(fn)(self.members)
