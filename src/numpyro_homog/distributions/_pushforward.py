"""Transforms without an inverse, for distributions that are pushforwards of noise."""

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
        raise NotImplementedError(f"{type(self).__name__} cannot be inverted: {_ADVICE}")

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        """Raise: there is no density."""
        raise NotImplementedError(no_density(type(self).__name__))


def no_density(name: str) -> str:
    """What to tell those who ask the pushforward `name` for a density."""
    return f"{name} has no density: {_ADVICE}"
