"""Regular voxel grids of a periodic cell."""

import math
import operator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Grid(eqx.Module):
    """A regular grid of voxels on the box [0, lengths_1] x ... x [0, lengths_d].

    A grid is static: it is hashable, holds no array, and may be closed over or passed through `jax.jit`.

    Args:
        shape: number of voxels along each axis, d = 1, 2 or 3 positive integers; a line of n voxels is `n` or `(n,)`.
        lengths: edge lengths of the cell, d positive numbers; default: 1 for each axis. The unit is the user's.

    Raises:
        TypeError: at construction, if more than `shape` is given without a name.
        ValueError: at construction, if `shape` or `lengths` is not as described.

    Example:
        >>> grid = Grid((32, 32))
        >>> grid.spacing
        (0.03125, 0.03125)
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    lengths: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, shape: Any, *_misplaced: Any, lengths: Any = None):
        if _misplaced:
            raise TypeError(_advice(shape, _misplaced))
        given = tuple(shape) if np.ndim(shape) else (shape,)
        try:
            self.shape = tuple(operator.index(n) for n in given)
        except TypeError:
            self.shape = ()
        if not 1 <= len(self.shape) <= 3 or min(self.shape) < 1:
            raise ValueError(f"Grid expects one, two or three positive integers as its shape; got {given}.")
        self.lengths = (1.0,) * self.ndim if lengths is None else tuple(map(float, np.atleast_1d(lengths)))
        if len(self.lengths) != self.ndim or not all(math.isfinite(length) and length > 0 for length in self.lengths):
            raise ValueError(
                f"Grid expects one positive finite length for each of the {self.ndim} axes of {self.shape}; got"
                f" {self.lengths}."
            )

    @property
    def ndim(self) -> int:
        """Number of space dimensions d."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of one voxel, in the unit of `lengths`."""
        return tuple(length / n for length, n in zip(self.lengths, self.shape, strict=True))

    @property
    def num_voxels(self) -> int:
        """Number of voxels of the cell."""
        return math.prod(self.shape)

    @property
    def voxel_volume(self) -> float:
        """Volume (area in 2D) of one voxel."""
        return math.prod(self.spacing)

    def centers(self, dtype: Any = None) -> Float[Array, "*grid d"]:
        """Coordinates of the voxel centres, shape (*shape, d), in the unit of `lengths`."""
        dtype = jnp.result_type(float) if dtype is None else dtype
        axes = [
            jnp.asarray((np.arange(n) + 0.5).astype(dtype) * np.asarray(h, dtype))
            for n, h in zip(self.shape, self.spacing, strict=True)
        ]
        return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)


def _advice(shape: Any, others: tuple) -> str:
    """What to write for `Grid(shape, *others)`: more axes, or lengths."""
    if np.ndim(shape) or any(map(np.ndim, others)):
        return f"Grid takes lengths by name: write Grid({shape}, lengths={others[0]})."
    axes = (shape, *others)
    return (
        f"Grid takes the voxels of all axes as one tuple: write Grid({axes}) for {len(axes)} axes, or"
        f" Grid({shape}, lengths={others[0]}) for a line of {shape} voxels."
    )


def block_means(fractions: Any, factors: tuple[int, ...]) -> Any:
    """Means over blocks of voxels, of fractions (*batch, *grid, J) in NumPy or JAX; `factors` divide the grid axes."""
    first = fractions.ndim - 1 - len(factors)
    split = [size for n, f in zip(fractions.shape[first:-1], factors, strict=True) for size in (n // f, f)]
    blocks = fractions.reshape(*fractions.shape[:first], *split, fractions.shape[-1])
    return blocks.mean(axis=tuple(first + 1 + 2 * i for i in range(len(factors))))
