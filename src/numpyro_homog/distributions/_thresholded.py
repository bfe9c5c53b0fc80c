"""Phases cut out of one Gaussian field by thresholds."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._checks import float_arrays, require, require_phases, require_positive
from ._covariance import AbstractCovariance
from ._gaussian_field import GaussianField
from ._pushforward import AbstractPushforward, parameter


def _cut(scores: Array, fractions: Array, temperature: Array | None, *, num_axes: int) -> Float[Array, "*points J"]:
    """Normal scores (*batch, *points) -> phases (*batch, *points, J), in the dtype of the fractions."""
    axes = tuple(range(-1 - num_axes, -1))
    width = None if temperature is None else jnp.expand_dims(temperature[..., None], axes)
    return _phases(scores.astype(fractions.dtype)[..., None], jnp.expand_dims(fractions, axes), width)


@jax.jit
def _phases(scores: Array, fractions: Array, temperature: Array | None) -> Float[Array, "*points J"]:
    """Scores (..., 1) and parameters that broadcast against them -> phases (..., J)."""
    # Normal quantiles of the cumulative fractions, from the smaller tail; that of an absent phase is never reached.
    below = jnp.cumsum(fractions, axis=-1)[..., :-1]
    above = jnp.cumsum(fractions[..., ::-1], axis=-1)[..., -2::-1]
    tail = ndtri(jnp.clip(jnp.minimum(below, above), jnp.finfo(fractions.dtype).tiny, 0.5))
    thresholds = jnp.where(below < above, tail, -tail)
    if temperature is None:
        return jax.nn.one_hot(jnp.sum(scores >= thresholds, axis=-1), fractions.shape[-1], dtype=scores.dtype)
    shares = ndtr((jnp.sqrt(1 + temperature**2) * thresholds - scores) / temperature)
    return jnp.diff(shares, axis=-1, prepend=0.0, append=1.0)


class ThresholdedGaussianField(AbstractPushforward):
    """Phases between level sets of one Gaussian field, with given mean volume fractions.

    With u(x) the field divided by its standard deviation, x belongs to phase j where t[j-1] <= u(x) < t[j], and t[j] is
    the normal quantile of f_1 + ... + f_j, f being the `fractions`. Phase j thus touches phases j - 1 and j + 1 only.
    The fraction of one sample fluctuates about f.

    Samples are one-hot by default: sharp, and without derivatives. With a `temperature` T the step is replaced by a
    normal distribution function of width T (in standard deviations of u) about t[j] sqrt(1 + T^2), which leaves the
    mean fractions exact and makes samples differentiable. What remains is grey interfaces: the variance of a phase of
    one half falls from 1/4 to arcsin(1 / (1 + T^2)) / (2 pi), about 1/4 - 0.225 T, and effective properties follow.

    It is a pushforward: `log_prob` raises, and `TransformReparam` exposes the noise.

    Args:
        points: a `Grid`, which means its voxel centres, or coordinates of shape (*points, d).
        covariance: of the field, see `GaussianField`; its variance does not matter.
        fractions: mean volume fractions of the phases, shape (*batch, J), J >= 2, >= 0, with sum one. Their dtype is
            that of the samples.
        temperature: width T of the steps, > 0, shape (*batch); None for sharp phases.
        validate_args: check values at sample sites (NumPyro's convention).

    Raises:
        ValueError: at construction, for fractions or a temperature that are not as described (if their values are
            known), or for what `GaussianField` refuses.

    Costs the field.

    References:
        Cahn (1965), J. Chem. Phys. 42, 93-99; Torquato (2002), Random Heterogeneous Materials, section 8.3.

    Example:
        >>> grid = nh.Grid((64, 64))
        >>> covariance = nh.PeriodicSquaredExponential(grid.lengths, 0.05)
        >>> law = nh.ThresholdedGaussianField(grid, covariance, jnp.array([0.3, 0.7]), temperature=0.05)
        >>> law.sample(jax.random.key(0)).shape
        (64, 64, 2)
    """

    arg_constraints: ClassVar = {
        "fractions": constraints.simplex,
        "points": constraints.dependent(is_discrete=False),
        "covariance": constraints.dependent(is_discrete=False),
    }
    no_path = "sharp phases have none; pass a `temperature`."
    points = property(lambda law: law.transforms[0].params["points"], doc="The points, or the grid.")
    covariance = property(lambda law: law.transforms[0].params["covariance"], doc="The covariance, with variance one.")
    fractions = parameter("fractions", "Mean volume fractions, shape (*batch, J).")
    temperature = parameter("temperature", "Width of the smoothed steps; None if the phases are sharp.")

    def __init__(
        self,
        points: Grid | ArrayLike,
        covariance: AbstractCovariance,
        fractions: ArrayLike,
        *,
        temperature: ArrayLike | None = None,
        validate_args: bool | None = None,
    ):
        field = GaussianField(points, covariance)
        if temperature is None:
            (fractions,) = float_arrays(fractions)
        else:
            fractions, temperature = float_arrays(fractions, temperature)
            require_positive(temperature=temperature)
        require_phases("fractions", fractions, "one volume fraction for each phase", 2)
        require(
            lambda f: np.all(f >= 0, axis=-1) & (np.abs(np.sum(f, axis=-1) - 1) < 1e-5),
            "fractions",
            fractions,
            "not negative with sum one along the last axis; divide them by their sum",
        )
        super().__init__(
            field.normalized(),
            _cut,
            {"fractions": fractions, "temperature": temperature},
            options={"num_axes": len(field.event_shape)},
            batch_shape=jnp.broadcast_shapes(
                fractions.shape[:-1], jnp.shape(0.0 if temperature is None else temperature)
            ),
            event_shape=(*field.event_shape, fractions.shape[-1]),
            paths=dict.fromkeys((*field.reparametrized_params, "fractions", "temperature"), temperature is not None),
            validate_args=validate_args,
        )
