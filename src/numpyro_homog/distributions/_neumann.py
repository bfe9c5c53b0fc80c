"""Whittle-Matern covariance of a box with Neumann conditions."""

import math
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from ._checks import require
from ._covariance import AbstractCovariance, box, hyper_parameters, per_axis, trail


class NeumannMatern(AbstractCovariance):
    """The Whittle-Matern covariance (-Laplacian + tau^2)^-s, Neumann conditions on a box.

    u(x) = sum_k (pi^2 |k/L|^2 + tau^2)^(-s/2) xi_k prod_i e_k_i(x_i), where e_k(x) = sqrt(2/L) cos(pi k x / L),
    e_0 = sqrt(1/L). Away from the boundary this is the Matern covariance of smoothness s - d/2 and length scale
    sqrt(2 (s - d/2)) / tau; its range, where the correlation falls to about 0.14, is sqrt(8 (s - d/2)) / tau.

    At the boundary the variance doubles with each face, because the covariance is reflected there. With `variance`
    the field is divided by its own standard deviation, exactly, at every point; a `margin` of a range or more moves the
    reflections away.

    Args:
        lengths: edge lengths of the box, d = 1, 2 or 3 positive numbers. Points x lie in [0, lengths].
        tau: inverse length, > 0, shape (*batch).
        s: exponent, > d/2, shape (*batch).
        variance: the variance at every point, > 0, shape (*batch); default: that of the operator.
        num_modes: number of frequencies 0, 1, ... along each axis, one number or d of them. The finest wave has length
            2 L / (num_modes - 1); shorter ones are missing.
        margin: length by which the box of the operator exceeds `lengths` on each side, one number or d of them.

    Raises:
        ValueError: at construction, for hyper-parameters out of range or shapes that do not broadcast.

    Costs nothing by itself; see `GaussianField`.

    References:
        Lindgren, Rue and Lindstrom (2011), J. R. Stat. Soc. B 73, 423-498, section 2 and A.4 (boundary).

    Example:
        >>> covariance = nh.NeumannMatern((1.0, 1.0), tau=20.0, s=4.0, variance=1.0, num_modes=32, margin=0.25)
        >>> float(covariance(jnp.array([0.5, 0.5]), jnp.array([0.5, 0.5])))
        1.0
    """

    lengths: tuple[float, ...] = eqx.field(static=True)
    num_modes: tuple[int, ...] = eqx.field(static=True)
    margin: tuple[float, ...] = eqx.field(static=True)
    tau: Float[Array, "*#batch"]
    s: Float[Array, "*#batch"]
    variance: Float[Array, "*#batch"] | None

    def __init__(
        self,
        lengths: Sequence[float],
        tau: ArrayLike,
        s: ArrayLike,
        *,
        variance: ArrayLike | None = None,
        num_modes: int | Sequence[int] = 32,
        margin: float | Sequence[float] = 0.0,
    ):
        self.lengths, self.num_modes = box(lengths, num_modes)
        self.margin = per_axis("margin", margin, len(self.lengths))
        if not all(math.isfinite(m) and m >= 0 for m in self.margin):
            raise ValueError(f"margin must be finite and not negative; got {self.margin}.")
        half = len(self.lengths) / 2
        expected = f"above d/2 = {half}, else the field is no function"
        require(lambda s: (s > half) & np.isfinite(s), "s", s, expected)
        scale = 1.0 if variance is None else variance
        self.tau, self.s, scale = hyper_parameters(tau=tau, s=s, variance=scale)
        self.variance = None if variance is None else scale

    @property
    def bounds(self) -> tuple[tuple[float, float], ...] | None:
        """The box with its margin."""
        return tuple((-m, length + m) for length, m in zip(self.lengths, self.margin, strict=True))

    @property
    def pointwise_variance(self) -> Float[Array, "*#batch"] | None:
        """The prescribed variance."""
        return self.variance

    def frequencies(self, axis: int) -> tuple[float, Int[np.ndarray, " modes"]]:
        """One mode for each frequency, on the box with its margin."""
        return np.pi / self._sizes()[axis], np.arange(self.num_modes[axis])

    def spectrum(self) -> Float[Array, "*batch_and_modes"]:
        """(pi^2 |k/L|^2 + tau^2)^-s / volume, relative to the mode k = 0 if a variance is prescribed."""
        tau, s, squared = trail(self.tau, self.ndim), trail(self.s, self.ndim), self.squared_wave_vectors()
        if self.variance is None:
            return (squared + tau**2) ** -s / math.prod(self._sizes())
        return (1 + squared / tau**2) ** -s * jnp.ones_like(trail(self.variance, self.ndim))

    def modes(self, axis: int, x: Float[Array, "*points"]) -> Float[Array, "*points k"]:
        """1 and sqrt(2) cos(pi k x / L), on the box with its margin."""
        unit, k = self.frequencies(axis)
        phase = (x + self.margin[axis]) * unit
        amplitude = jnp.asarray(np.where(k == 0, 1.0, np.sqrt(2.0)), x.dtype)
        return amplitude * jnp.cos(phase[..., None] * jnp.asarray(k, x.dtype))

    def normalized(self) -> "NeumannMatern":
        """The same covariance with variance one at every point."""
        one = jnp.ones((), self.dtype) if self.variance is None else jnp.ones_like(self.variance)
        return eqx.tree_at(lambda c: c.variance, self, one, is_leaf=lambda leaf: leaf is None)

    def _sizes(self) -> list[float]:
        return [length + 2 * margin for length, margin in zip(self.lengths, self.margin, strict=True)]
