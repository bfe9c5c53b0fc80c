"""Covariances on the torus."""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ._covariance import AbstractCovariance, box, hyper_parameters, squared_frequencies, trail


class AbstractPeriodicCovariance(AbstractCovariance):
    """Waves 1, sqrt(2) cos, sqrt(2) sin along each axis, with weights that are scaled to sum up to `variance`."""

    variance: eqx.AbstractVar[Float[Array, "*batch"]]

    @abc.abstractmethod
    def log_weights(self, squared: Array) -> Array:
        """Logarithms of the weights of wave vectors with these squared lengths, up to a constant."""

    @property
    def mode_shape(self) -> tuple[int, ...]:
        """A constant, and a cosine and a sine for each other frequency."""
        return tuple(2 * n - 1 for n in self.num_modes)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...] | None:
        """None: the torus has no boundary."""
        return None

    @property
    def pointwise_variance(self) -> Array | None:
        """None: the spectrum is scaled."""
        return None

    def spectrum(self):
        """In proportion to the weights, with sum `variance`."""
        numbers = [(np.arange(n) + 1) // 2 for n in self.mode_shape]
        squared = squared_frequencies([2 * np.pi / length for length in self.lengths], numbers, self.dtype)
        shares = jax.nn.softmax(self.log_weights(squared), axis=tuple(range(-self.ndim, 0)))
        return trail(self.variance, self.ndim) * shares

    def modes(self, axis, x):
        """1, sqrt(2) cos and sqrt(2) sin."""
        k = np.arange(self.mode_shape[axis])
        phase = x[..., None] * (2 * np.pi / self.lengths[axis]) * jnp.asarray((k + 1) // 2, x.dtype)
        waves = jnp.sqrt(jnp.asarray(2, x.dtype)) * jnp.where(k % 2 == 1, jnp.cos(phase), jnp.sin(phase))
        return jnp.where(k == 0, jnp.ones_like(waves), waves)

    def normalized(self):
        """The same covariance with variance one."""
        return eqx.tree_at(lambda c: c.variance, self, jnp.ones_like(self.variance))


class PeriodicMatern(AbstractPeriodicCovariance):
    """The Matern covariance on the torus: the sum over all periodic images.

    In free space it is variance 2^(1-nu)/Gamma(nu) (sqrt(2 nu) r/l)^nu K_nu(sqrt(2 nu) r/l), with nu the smoothness and
    l the length scale. The mode with wave vector omega = 2 pi k / L has a variance in proportion to
    (2 nu / l^2 + |omega|^2)^-(nu + d/2). The modes kept are scaled so that the variance at each point is exact.

    Args:
        lengths: periods, d = 1, 2 or 3 positive numbers: the lengths of the grid, for a periodic cell.
        length_scale: l, in the unit of `lengths`, > 0, shape (*batch).
        smoothness: nu, > 0, shape (*batch): the field has derivatives of orders below nu.
        variance: the variance at every point, > 0, shape (*batch).
        num_modes: number of frequencies 0, 1, ... along each axis, one number or d of them; with sines and cosines
            2 num_modes - 1 modes. The finest wave has length L / (num_modes - 1); shorter ones are missing.

    Raises:
        ValueError: at construction, for hyper-parameters out of range or shapes that do not broadcast.

    Costs nothing by itself; see `GaussianField`.

    References:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, equations 4.14 and 4.15.

    Example:
        >>> covariance = nh.PeriodicMatern((1.0, 1.0), 0.1, 1.5, num_modes=24)
        >>> float(covariance(jnp.zeros(2), jnp.zeros(2)))
        1.0
    """

    lengths: tuple[float, ...] = eqx.field(static=True)
    num_modes: tuple[int, ...] = eqx.field(static=True)
    length_scale: Float[Array, "*#batch"]
    smoothness: Float[Array, "*#batch"]
    variance: Float[Array, "*#batch"]

    def __init__(
        self,
        lengths: Sequence[float],
        length_scale: ArrayLike,
        smoothness: ArrayLike,
        *,
        variance: ArrayLike = 1.0,
        num_modes: int | Sequence[int] = 32,
    ):
        self.lengths, self.num_modes = box(lengths, num_modes)
        self.length_scale, self.smoothness, self.variance = hyper_parameters(
            length_scale=length_scale, smoothness=smoothness, variance=variance
        )

    def log_weights(self, squared):
        """Of (2 nu / l^2 + |omega|^2)^-(nu + d/2)."""
        scale, nu = trail(self.length_scale, self.ndim), trail(self.smoothness, self.ndim)
        return -(nu + self.ndim / 2) * jnp.log1p(squared * scale**2 / (2 * nu))


class PeriodicSquaredExponential(AbstractPeriodicCovariance):
    """The squared exponential covariance on the torus: the sum over all images.

    In free space it is variance exp(-r^2 / (2 l^2)). The mode with wave vector omega = 2 pi k / L has a variance in
    proportion to exp(-l^2 |omega|^2 / 2), scaled so that the variance at each point is exact.

    Args:
        lengths: periods, d = 1, 2 or 3 positive numbers: the lengths of the grid, for a periodic cell.
        length_scale: l, in the unit of `lengths`, > 0, shape (*batch).
        variance: the variance at every point, > 0, shape (*batch).
        num_modes: number of frequencies along each axis, as in `PeriodicMatern`.

    Raises:
        ValueError: at construction, for hyper-parameters out of range or shapes that do not broadcast.

    Costs nothing by itself; see `GaussianField`. Few modes do: beyond omega = 4 / l nothing is left.

    References:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, section 4.2.1.

    Example:
        >>> covariance = nh.PeriodicSquaredExponential((1.0,), 0.1, num_modes=16)
        >>> round(float(covariance(jnp.zeros(1), jnp.full(1, 0.1))), 4)
        0.6065
    """

    lengths: tuple[float, ...] = eqx.field(static=True)
    num_modes: tuple[int, ...] = eqx.field(static=True)
    length_scale: Float[Array, "*#batch"]
    variance: Float[Array, "*#batch"]

    def __init__(
        self,
        lengths: Sequence[float],
        length_scale: ArrayLike,
        *,
        variance: ArrayLike = 1.0,
        num_modes: int | Sequence[int] = 32,
    ):
        self.lengths, self.num_modes = box(lengths, num_modes)
        self.length_scale, self.variance = hyper_parameters(length_scale=length_scale, variance=variance)

    def log_weights(self, squared):
        """Of exp(-l^2 |omega|^2 / 2)."""
        return -squared * trail(self.length_scale, self.ndim) ** 2 / 2
