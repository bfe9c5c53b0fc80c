"""From grey values to labels, and from labels to volume fractions of phases."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from ..grids import block_means


def segment(
    values: Real[np.ndarray, "*grid"], thresholds: float | int | Sequence[float | int]
) -> Int[np.ndarray, "*grid"]:
    """Label voxels by their grey value: 0 below the first threshold, then 1, and so on.

    Label j means thresholds[j - 1] <= value < thresholds[j]. Noise is not treated; filter the grey values before, for
    example by scipy.ndimage.median_filter.

    Args:
        values: grey values, shape (*grid).
        thresholds: one or more numbers, in increasing order, in the unit of `values`.

    Returns:
        Labels 0, ..., len(thresholds), shape (*grid).

    Raises:
        ValueError: if there are no thresholds, or they are not finite or not increasing; if a value is not finite.

    Example:
        >>> segment(np.array([[10, 90], [200, 100]]), [50, 100])
        array([[0, 1],
               [2, 2]])
    """
    limits = np.atleast_1d(np.asarray(thresholds, dtype=float))
    if limits.ndim != 1 or not limits.size or not np.isfinite(limits).all() or (np.diff(limits) <= 0).any():
        raise ValueError(f"thresholds must be one or more finite numbers in increasing order; got {thresholds}.")
    if not np.isfinite(values).all():
        raise ValueError(f"The image has {np.sum(~np.isfinite(values))} values that are not finite.")
    return np.digitize(values, limits)


def phases_from_labels(labels: Shaped[np.ndarray, "*grid"], num_phases: int) -> Float[np.ndarray, "*grid phases"]:
    """Volume fractions from labels: 1 for the phase of the voxel, 0 for all others.

    Args:
        labels: whole numbers 0, ..., num_phases - 1, or a mask of two phases, shape (*grid).
        num_phases: number of phases J.

    Returns:
        Fractions for `mix`, shape (*grid, J), in JAX's default floating-point dtype.

    Raises:
        ValueError: if a label is not whole or out of range.

    Costs J floating-point numbers for each voxel; `coarsen` first where that is too much.

    Example:
        >>> phases_from_labels(np.array([[0, 2]]), 3).tolist()
        [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
            raise ValueError("labels must be whole numbers; grey values become labels by segment(values, thresholds).")
        labels = labels.astype(np.int64)
    found = np.unique(labels)
    if found[0] < 0 or found[-1] >= num_phases:
        shown = ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")
        raise ValueError(
            f"labels must be 0, ..., {num_phases - 1} for {num_phases} phases; the image has {shown}. "
            "np.unique(labels, return_inverse=True)[1] numbers them from 0; grey values become labels by segment."
        )
    fractions = np.zeros((*labels.shape, num_phases), dtype=jnp.result_type(float))
    np.put_along_axis(fractions, labels[..., None].astype(np.int64), 1, axis=-1)
    return fractions


def coarsen(
    fractions: Float[np.ndarray, "*grid phases"], factor: int | Sequence[int]
) -> Float[np.ndarray, "*coarse phases"]:
    """Average volume fractions over blocks of voxels, which become those of a coarser grid.

    A coarse cell costs a fraction of the solve, and `mix` gives the shared voxels an anisotropic coefficient, which
    keeps most of the accuracy. Features thinner than a block are smeared.

    Args:
        fractions: volume fractions, shape (*grid, J).
        factor: voxels per block, a divisor of the grid along each axis: one number, or one for each axis.

    Returns:
        Fractions on the coarse grid, shape (*grid / factor, J).

    Raises:
        ValueError: if a factor is not a positive divisor.

    Example:
        >>> coarsen(phases_from_labels(np.array([[0, 1], [1, 1]]), 2), 2).tolist()
        [[[0.25, 0.75]]]
    """
    shape = fractions.shape[:-1]
    factors = (factor,) * len(shape) if isinstance(factor, int) else tuple(factor)
    if len(factors) != len(shape) or any(f < 1 or n % f for n, f in zip(shape, factors, strict=True)):
        raise ValueError(
            f"factor must divide the grid {shape} along each axis; got {factor}. Crop the image first, for example "
            "values[: n // factor * factor]."
        )
    return block_means(fractions, factors)
