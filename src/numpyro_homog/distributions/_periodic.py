"""Covariances on the torus."""

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from ._covariance import AbstractCovariance, box, hyper_parameters, trail


class AbstractPeriodicCovariance(AbstractCovariance):
    """Waves 1, sqrt(2) cos, sqrt(2) sin along each axis, with weights that are scaled to sum up to `variance`."""

    bounds = None
    pointwise_variance = None
    variance: eqx.AbstractVar[Float[Array, "*batch"]]

    @abc.abstractmethod
    def log_weights(self, squared: Float[Array, "*modes"]) -> Float[Array, "*batch_and_modes"]:
        """Logarithms of the weights of wave vectors with these squared lengths, up to a constant."""

    def frequencies(self, axis: int) -> tuple[float, Int[np.ndarray, " modes"]]:
        """A constant, and a cosine and a sine for each other frequency."""
        return 2 * np.pi / self.lengths[axis], np.arange(1, 2 * self.num_modes[axis]) // 2

    def spectrum(self) -> Float[Array, "*batch_and_modes"]:
        """In proportion to the weights, with sum `variance`."""
        weights = self.log_weights(self.squared_wave_vectors())
        return trail(self.variance, self.ndim) * jax.nn.softmax(weights, axis=tuple(range(-self.ndim, 0)))

    def modes(self, axis: int, x: Float[Array, "*points"]) -> Float[Array, "*points k"]:
        """1, sqrt(2) cos and sqrt(2) sin."""
        unit, k = self.frequencies(axis)
        phase = x[..., None] * unit * jnp.asarray(k, x.dtype)
        waves = jnp.where(np.arange(len(k)) % 2 == 1, jnp.cos(phase), jnp.sin(phase))
        return jnp.where(k == 0, jnp.ones_like(waves), jnp.sqrt(jnp.asarray(2, x.dtype)) * waves)

    def normalized(self) -> "AbstractPeriodicCovariance":
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

    def log_weights(self, squared: Float[Array, "*modes"]) -> Float[Array, "*batch_and_modes"]:
        """Of (2 nu / l^2 + |omega|^2)^-(nu + d/2)."""
        scale, nu = trail(self.length_scale, self.ndim), trail(self.smoothness, self.ndim)
        return -(nu + self.ndim / 2) * jnp.log1p(squared * scale**2 / (2 * nu))


class PeriodicSquaredExponential(AbstractPeriodicCovariance):
    """The squared exponential covariance on the torus: the sum over all images.

    In free space it is variance exp(-r^2 / (2 l^2)). The mode with wave vector omega = 2 pi k / L has a variance in
    proportion to exp(-l^2 |omega|^2 / 2), scaled so that the variance at each point is exact.

    Args:
        lengths, length_scale, variance, num_modes: as in `PeriodicMatern`.

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

    def log_weights(self, squared: Float[Array, "*modes"]) -> Float[Array, "*batch_and_modes"]:
        """Of exp(-l^2 |omega|^2 / 2)."""
        return -squared * trail(self.length_scale, self.ndim) ** 2 / 2
