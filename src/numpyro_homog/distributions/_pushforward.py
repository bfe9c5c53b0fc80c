"""Transforms without an inverse, for distributions that are pushforwards of noise."""

import inspect

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions.transforms import Transform

_ADVICE = (
    "it is the image of noise under a map without inverse. Fit its parameters by comparing populations "
    "(MinimumDistance, generalized_bayes), or make the noise itself the latent variable with "
    "`numpyro.handlers.reparam(config={site: TransformReparam()})`."
)


class PushforwardTransform(Transform):
    """A transform that cannot be inverted: the law of its image has no density.

    A subclass defines `domain`, `codomain`, `__call__` and `tree_flatten`, and, since `TransformedDistribution` knows
    nothing of a transform's own parameters, `forward_shape` and `inverse_shape` that broadcast their batch shapes.
    """

    def _inverse(self, y):
        if _numpyro_inspects():
            return jnp.broadcast_to(_nothing_of(self, y), self.inverse_shape(jnp.shape(y)))
        raise NotImplementedError(f"{type(self).__name__} cannot be inverted: {_ADVICE}")

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        """Raise: there is no density."""
        return without_density(self, y, self.codomain.event_dim)


def without_density(law: dist.Distribution | Transform, value: Array, event_dim: int) -> Array:
    """Raise, to those who ask a pushforward for its log density at `value`.

    NumPyro's `get_dependencies`, `get_model_relations` and `render_model` run log densities without computing them,
    only to see what they depend on. They get zeros that depend on the value and on the parameters.
    """
    if not _numpyro_inspects():
        raise NotImplementedError(f"{type(law).__name__} has no density: {_ADVICE}")
    shape = jnp.shape(value)
    return jnp.broadcast_to(_nothing_of(law, value), shape[: len(shape) - event_dim])


def _nothing_of(*trees):
    """Zero, computed from all leaves."""
    return 0.0 * sum(jnp.sum(jnp.asarray(leaf, float)) for leaf in jax.tree.leaves(trees))


def _numpyro_inspects():
    """Whether the call comes from `numpyro.infer.inspect`, and not from our own look at a population on the way."""
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == "numpyro.infer.inspect":
            return True
        if module.startswith("numpyro_homog.population"):
            return False
        frame = frame.f_back
    return False
