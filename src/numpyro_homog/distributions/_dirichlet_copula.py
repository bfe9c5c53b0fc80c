"""Random fields of phase fractions with Dirichlet marginals."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._checks import float_arrays, require_phases, require_positive
from ._covariance import AbstractCovariance, trail
from ._gamma_quantile import log_gamma_quantile
from ._gaussian_field import GaussianField, field_values, noise, require_field
from ._pushforward import AbstractPushforward, parameter


def _phases_of(
    noise: Array, concentration: Float[Array, "*batch J"], points: Grid | Array, covariance: AbstractCovariance
) -> Float[Array, "*batch_and_points J"]:
    """Coefficients (*batch, J, *modes) of J fields -> fractions (*batch, *points, J), in the concentration's dtype."""
    noise = jnp.moveaxis(noise, -1 - covariance.ndim, 0)
    scores = field_values(noise, points, covariance).astype(concentration.dtype)
    batch = noise.shape[1 : noise.ndim - covariance.ndim]
    alpha = jnp.moveaxis(jnp.broadcast_to(concentration, (*batch, concentration.shape[-1])), -1, 0)
    return _fractions(trail(alpha, scores.ndim - alpha.ndim), scores)


@jax.jit
def _fractions(alpha: Float[Array, "J *ones"], scores: Float[Array, "J *values"]) -> Float[Array, "*values J"]:
    """Phases first -> phases last, by normalised gamma quantiles, in logarithms."""
    return jnp.moveaxis(jax.nn.softmax(log_gamma_quantile(alpha, scores), axis=0), 0, -1)


class DirichletCopulaField(AbstractPushforward):
    """Phase fractions, Dirichlet at every point and correlated by Gaussian fields.

    phi_j(x) = g_j / sum_k g_k, where g_j(x) is the gamma quantile of shape alpha_j at the probability
    Phi(u_j(x) / sd(x)), and u_1, ..., u_J are independent copies of the Gaussian `field`. At each point phi(x) is
    Dirichlet(alpha) exactly, alpha being the `concentration`; each component alone has a beta distribution.

    Everything is computed with logarithms: no fraction is lost before it underflows itself, for shapes down to 0.05
    in 32 bits. Samples are differentiable once in concentration, hyper-parameters and points.

    It is a pushforward: `log_prob` raises, and `TransformReparam` exposes the noise.

    Args:
        concentration: alpha, shape (*batch, J), J >= 2, > 0. Its dtype is that of the samples, and its batch shape
            broadcasts against that of the field.
        field: the Gaussian field, with its points; its variance does not matter.
        validate_args: check values at sample sites (NumPyro's convention).

    Raises:
        ValueError: at construction, for a concentration that is not as described (if its values are known).
        TypeError: at construction, if `field` is no `GaussianField`.

    Costs J fields, and one gamma quantile for each fraction: a few iterations with tens of terms.

    References:
        Nelsen (2006), An Introduction to Copulas, section 2.9; Figurnov, Mohamed and Mnih (2018), NeurIPS, equation 5
        (implicit derivative).

    Example:
        >>> field = nh.GaussianField(nh.Grid((64, 64)), nh.PeriodicMatern((1.0, 1.0), 0.1, 1.5))
        >>> phases = nh.DirichletCopulaField(jnp.array([0.5, 1.0, 2.0]), field).sample(jax.random.key(0))
        >>> phases.shape
        (64, 64, 3)
    """

    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}
    concentration = parameter("concentration", "The parameters of the Dirichlet distribution, shape (*batch, J).")

    def __init__(self, concentration: ArrayLike, field: GaussianField, *, validate_args: bool | None = None):
        field = require_field(field)
        (concentration,) = float_arrays(concentration)
        advice = " For one correlated number use GaussianCopulaField."
        require_phases("concentration", concentration, "one positive number for each phase", 2, advice)
        require_positive(concentration=concentration)
        covariance, num_phases = field.covariance.normalized(), concentration.shape[-1]
        super().__init__(
            noise(covariance, (num_phases,)),
            _phases_of,
            {"concentration": concentration, "points": field.points, "covariance": covariance},
            batch_shape=jnp.broadcast_shapes(concentration.shape[:-1], field.batch_shape),
            event_shape=(*field.event_shape, num_phases),
            paths={"concentration": True, "field": True},
            validate_args=validate_args,
        )
