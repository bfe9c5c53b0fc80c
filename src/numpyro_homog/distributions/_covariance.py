"""What a covariance of a Gaussian field is: a spectrum over products of one-dimensional modes. And sums of those."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from ._checks import broadcast_batches, float_arrays, require_positive

# Entries of the largest intermediate array of one chunk of points: 16 MiB in 32 bits.
_CHUNK_ENTRIES = 2**22


class AbstractCovariance(eqx.Module):
    """The covariance of a zero-mean Gaussian field with finitely many modes on a box.

    The field is u(x) = sum_k sqrt(lambda_k) xi_k prod_i e_i,k_i(x_i), with independent standard normal xi_k.

    To add one, subclass it as a frozen Equinox module with the fields below, and write `spectrum`, `modes` and
    the other abstract members. Hyper-parameters are arrays whose shapes broadcast to a batch shape.

    Attributes:
        lengths: edge lengths of the box, d = 1, 2 or 3 positive numbers.
        num_modes: number of frequencies along each axis, the constant included.
    """

    lengths: eqx.AbstractVar[tuple[float, ...]]
    num_modes: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abc.abstractmethod
    def bounds(self) -> tuple[tuple[float, float], ...] | None:
        """The interval of each axis in which points must lie, or None if the field goes on for ever."""

    @property
    @abc.abstractmethod
    def pointwise_variance(self) -> Float[Array, "*batch"] | None:
        """The variance to which the sum is rescaled at every point, (*batch), or None where the spectrum decides."""

    @abc.abstractmethod
    def frequencies(self, axis: int) -> tuple[float, Int[np.ndarray, " modes"]]:
        """The unit of the wave numbers of an axis, and how many units each mode of it has."""

    @abc.abstractmethod
    def spectrum(self) -> Float[Array, "*batch_and_modes"]:
        """The variances lambda_k of the coefficients, shape (*batch, K1, ..., Kd)."""

    @abc.abstractmethod
    def modes(self, axis: int, x: Float[Array, "*points"]) -> Float[Array, "*points k"]:
        """All modes of one axis at the coordinates x."""

    @abc.abstractmethod
    def normalized(self) -> "AbstractCovariance":
        """The same covariance with variance one at every point, and the same batch shape."""

    @property
    def mode_shape(self) -> tuple[int, ...]:
        """Number of modes along each axis: the event shape of the noise."""
        return tuple(len(self.frequencies(axis)[1]) for axis in range(self.ndim))

    @property
    def ndim(self) -> int:
        """Number of space dimensions d."""
        return len(self.lengths)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape to which the hyper-parameters broadcast."""
        return jnp.broadcast_shapes(*(leaf.shape for leaf in jax.tree.leaves(self)))

    @property
    def dtype(self) -> np.dtype:
        """The floating dtype of the hyper-parameters, and so of the field."""
        return jnp.result_type(*jax.tree.leaves(self))

    def squared_wave_vectors(self) -> Float[Array, "*modes"]:
        """Squared lengths of the wave vectors of all modes."""
        squares = [(unit * k) ** 2 for unit, k in map(self.frequencies, range(self.ndim))]
        return jnp.asarray(sum(np.meshgrid(*squares, indexing="ij")), self.dtype)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Float[Array, "*batch_and_points"]:
        """Covariance of u(x) and u(y), shape (*batch, *points), exact for the modes kept.

        Args:
            x: points, shape (*points, d).
            y: points that broadcast against x.
        """
        x, y = jnp.broadcast_arrays(jnp.asarray(x, self.dtype), jnp.asarray(y, self.dtype))
        spectrum, axes = self.spectrum(), range(self.ndim)
        entries = math.prod(spectrum.shape[:-1]) + 4 * sum(self.mode_shape)

        def products(a: Float[Array, "p d"], b: Float[Array, "p d"]) -> Float[Array, "*batch p"]:
            return sum_at_points(spectrum, [self.modes(i, a[:, i]) * self.modes(i, b[:, i]) for i in axes])

        def covariance(a: Float[Array, "p d"], b: Float[Array, "p d"]) -> Float[Array, "*batch p"]:
            values = products(a, b)
            if self.pointwise_variance is None:
                return values
            return self.pointwise_variance[..., None] * values / jnp.sqrt(products(a, a) * products(b, b))

        return in_chunks(covariance, entries, x, y)


def per_axis(name: str, value: Any, d: int) -> tuple:
    """One value for each of d axes."""
    values = (value,) * d if np.ndim(value) == 0 else tuple(value)
    if len(values) != d:
        raise ValueError(f"{name} must be one number or one for each of the {d} axes; got {values}.")
    return values


def box(lengths: float | Sequence[float], num_modes: int | Sequence[int]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Lengths and numbers of modes, checked."""
    lengths = tuple(float(length) for length in np.atleast_1d(lengths))
    if not 1 <= len(lengths) <= 3 or not all(math.isfinite(length) and length > 0 for length in lengths):
        raise ValueError(f"lengths must be one, two or three positive numbers, such as grid.lengths; got {lengths}.")
    num_modes = per_axis("num_modes", num_modes, len(lengths))
    if any(int(n) != n or n < 1 for n in num_modes):
        raise ValueError(f"num_modes must be positive integers, one or {len(lengths)}; got {num_modes}.")
    return lengths, tuple(int(n) for n in num_modes)


def hyper_parameters(**values: ArrayLike) -> list[Array]:
    """The values as arrays of one floating dtype, if they are positive and their shapes broadcast."""
    arrays = dict(zip(values, float_arrays(*values.values()), strict=True))
    require_positive(**arrays)
    broadcast_batches(**{name: array.shape for name, array in arrays.items()})
    return list(arrays.values())


def trail(parameter: Array, num_axes: int) -> Array:
    """A parameter (*batch) with axes of size one behind."""
    return parameter.reshape(parameter.shape + (1,) * num_axes)


def sum_on_grid(coefficients: Float[Array, "*modes"], modes: list[Float[Array, "_ _"]]) -> Float[Array, "*values"]:
    """Coefficients (*batch, K1, ..., Kd) and modes (n_i, K_i) of each axis -> values (*batch, n1, ..., nd)."""
    for axis_modes in modes:
        coefficients = jnp.tensordot(coefficients, axis_modes, axes=((coefficients.ndim - len(modes),), (1,)))
    return coefficients


def sum_at_points(coefficients: Float[Array, "*modes"], modes: list[Float[Array, "_ _"]]) -> Float[Array, "*values"]:
    """Coefficients (*batch, K1, ..., Kd) and modes (p, K_i) at the points -> values (*batch, p)."""
    values = jnp.tensordot(coefficients, modes[-1], axes=((coefficients.ndim - 1,), (1,)))
    for axis_modes in modes[-2::-1]:
        values = jnp.einsum("...kp,pk->...p", values, axis_modes)
    return values


def in_chunks(
    function: Callable[..., Float[Array, "*batch p"]],
    num_entries: int,
    *points: Float[Array, "*points d"],
) -> Float[Array, "*batch_and_points"]:
    """`function` of the points, (p, d) -> (*batch, p), applied to chunks of them: result (*batch, *points).

    The memory of a chunk is bounded, in derivatives too, where chunks are computed again; `num_entries` is the size of
    intermediate arrays for one point.
    """
    shape, d = points[0].shape[:-1], points[0].shape[-1]
    num = math.prod(shape)
    flat = [array.reshape(num, d) for array in points]
    num_chunks = math.ceil(num * num_entries / _CHUNK_ENTRIES)
    if num_chunks <= 1:
        values = function(*flat)
    else:
        size = math.ceil(num / min(num_chunks, num))
        num_chunks = math.ceil(num / size)
        padding = ((0, num_chunks * size - num), (0, 0))
        chunks = [jnp.pad(array, padding, mode="edge").reshape(num_chunks, size, d) for array in flat]
        values = jax.lax.map(lambda chunk: jax.checkpoint(function)(*chunk), tuple(chunks))
        values = jnp.moveaxis(values, 0, -2)
        values = values.reshape(*values.shape[:-2], num_chunks * size)[..., :num]
    return values.reshape(*values.shape[:-1], *shape)
