"""Phases cut out of one Gaussian field by thresholds."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from numpyro_homog.grids import Grid

from ._checks import float_arrays, require, require_positive
from ._covariance import AbstractCovariance
from ._gaussian_field import GaussianField
from ._pushforward import PushforwardTransform, without_density


class ThresholdTransform(PushforwardTransform):
    """Normal scores (*batch, *points) -> phases (*batch, *points, J)."""

    def __init__(self, fractions: Float[Array, "*batch phases"], temperature: Array | None, num_axes: int):
        self.fractions = fractions
        self.temperature = temperature
        self.num_axes = num_axes

    def __call__(self, x):
        """Compare with the thresholds; computed in the dtype of the fractions."""
        scores = jnp.asarray(x, self.fractions.dtype)[..., None]
        temperature = None if self.temperature is None else self._over_sites(self.temperature[..., None])
        return _phases(scores, self._over_sites(self.fractions), temperature)

    def _over_sites(self, parameter):
        return parameter.reshape(parameter.shape[:-1] + (1,) * self.num_axes + parameter.shape[-1:])

    def _batch(self, shape):
        softness = () if self.temperature is None else self.temperature.shape
        return jnp.broadcast_shapes(shape, self.fractions.shape[:-1], softness)

    @property
    def domain(self):
        """Any scores."""
        return constraints.independent(constraints.real, self.num_axes)

    @property
    def codomain(self):
        """Points of the simplex, one for each point in space."""
        return constraints.independent(constraints.simplex, self.num_axes)

    def forward_shape(self, shape):
        """(*batch, *points) -> (*batch, *points, J), broadcast against the batches of the parameters."""
        cut = len(shape) - self.num_axes
        return (*self._batch(shape[:cut]), *shape[cut:], self.fractions.shape[-1])

    def inverse_shape(self, shape):
        """(*batch, *points, J) -> (*batch, *points), broadcast against the batches of the parameters."""
        cut = len(shape) - 1 - self.num_axes
        return (*self._batch(shape[:cut]), *shape[cut:-1])

    def tree_flatten(self):
        """Fractions and temperature are data."""
        return (self.fractions, self.temperature), (("fractions", "temperature"), {"num_axes": self.num_axes})

    def eq(self, other, static=False):
        """Equality of type, number of axes, fractions and temperature."""
        if not isinstance(other, ThresholdTransform) or self.num_axes != other.num_axes:
            return False
        return eqx.tree_equal((self.fractions, self.temperature), (other.fractions, other.temperature))


@jax.jit
def _phases(scores, fractions, temperature):
    """Scores (..., 1) and parameters that broadcast against them -> phases (..., J)."""
    thresholds = _thresholds(fractions)
    if temperature is None:
        return jax.nn.one_hot(jnp.sum(scores >= thresholds, axis=-1), fractions.shape[-1], dtype=scores.dtype)
    below = ndtr((jnp.sqrt(1 + temperature**2) * thresholds - scores) / temperature)
    ends = jnp.zeros_like(below[..., :1]), jnp.ones_like(below[..., :1])
    return jnp.diff(jnp.concatenate([ends[0], below, ends[1]], axis=-1), axis=-1)


def _thresholds(fractions):
    """Normal quantiles of the cumulative fractions, from whichever tail is the smaller one; shape (*batch, J - 1)."""
    info = jnp.finfo(fractions.dtype)
    below = jnp.cumsum(fractions, axis=-1)[..., :-1]
    above = jnp.cumsum(fractions[..., ::-1], axis=-1)[..., -2::-1]
    tail = jnp.clip(jnp.minimum(below, above), info.tiny, 0.5)  # an absent phase gets a threshold never reached
    return jnp.where(below < above, ndtri(tail), -ndtri(tail))


class ThresholdedGaussianField(dist.TransformedDistribution):
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

    arg_constraints: ClassVar = {"fractions": constraints.simplex}
    pytree_data_fields = ()

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
            require_positive("temperature", temperature)
        if fractions.ndim < 1 or fractions.shape[-1] < 2:
            raise ValueError(
                f"fractions has shape {fractions.shape}; one volume fraction for each phase is expected on the last "
                "axis, (*batch, J) with J >= 2."
            )
        require(
            lambda f: np.all(f >= 0, axis=-1) & (np.abs(np.sum(f, axis=-1) - 1) < 1e-5),
            "fractions",
            fractions,
            "not negative with sum one along the last axis; divide them by their sum",
        )
        transform = ThresholdTransform(fractions, temperature, len(field.event_shape))
        super().__init__(field.normalized(), [transform], validate_args=validate_args)

    @property
    def fractions(self) -> Float[Array, "*batch phases"]:
        """Mean volume fractions, shape (*batch, J)."""
        return self.transforms[-1].fractions

    @property
    def temperature(self) -> Array | None:
        """Width of the smoothed steps; None if the phases are sharp."""
        return self.transforms[-1].temperature

    @property
    def reparametrized_params(self) -> list[str]:
        """Arguments with a path derivative: none, if the phases are sharp."""
        return [] if self.temperature is None else ["covariance", "fractions", "temperature"]

    @property
    def has_rsample(self) -> bool:
        """Whether samples can be differentiated: not if the phases are sharp."""
        return self.temperature is not None

    def rsample(self, key, sample_shape=()):
        """Sample with path derivatives.

        Raises:
            NotImplementedError: if the phases are sharp.
        """
        if not self.has_rsample:
            raise NotImplementedError("sharp phases have no path derivatives; pass a `temperature`.")
        return self.sample(key, sample_shape)

    def log_prob(self, value, intermediates=None):
        """Raise: the law has no density."""
        return without_density(self, value, self.event_dim)
