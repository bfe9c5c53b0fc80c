"""Sums and differences over the corners of each voxel: the basis in which voxel stiffnesses are sparse.

In d dimensions the 2^d corner values of a voxel become 2^d modes, one for each subset of the axes: differences along
the axes of the subset, sums along the others. The empty subset is the sum of all corners, on which no stiffness acts.
"""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._jax_fem import voxel_element
from ._law import AbstractLaw

Modes = dict[tuple[int, ...], Array]


def voxel_stiffness(spacing: tuple[float, ...], law: AbstractLaw, tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a voxel, shape (nodes, d), and its stiffness for each of some constant tensors (count, m, m).

    The stiffness is the integral of B' T B, shape (count, nodes, components, nodes, components).
    """
    element = voxel_element(spacing)
    shape = (len(element.corners), law.num_components(len(spacing)))
    strains = law.strain_operator(element.gradients)
    matrices = np.einsum("q,qmi,cmn,qnj->cij", element.weights, strains, tensors, strains)
    matrices = (matrices + np.swapaxes(matrices, 1, 2)) / 2
    matrices[np.abs(matrices) < 1e-14 * np.abs(matrices).max()] = 0.0
    return element.corners, matrices.reshape(-1, *shape, *shape)


def mode_matrix(corners: np.ndarray) -> np.ndarray:
    """Modes of corner values as a matrix, shape (modes, nodes); the first mode is the sum. Its square is 2^d."""
    subsets = np.array(list(itertools.product((0, 1), repeat=corners.shape[1])))
    return np.prod(np.where(subsets[:, None], 2 * corners - 1, 1), axis=-1).astype(float)


def to_modes(padded: Float[Array, "*nodes"], ndim: int) -> Modes:
    """Modes of all voxels, shape (..., *(grid - 1)) each, of nodal values (..., *grid); without the sum of all.

    Differences come before sums, so that rounding errors are proportional to differences and not to values.
    """
    found: dict[tuple[int | None, ...], Array] = {(None,) * ndim: padded}

    def reduce(state):
        """Values with the axes reduced that are not None: 1 by a difference, 0 by a sum."""
        if state not in found:
            number = max(range(ndim), key=lambda a: {None: 0, 1: 1, 0: 2}[state[a]])
            low, high = _neighbours(reduce((*state[:number], None, *state[number + 1 :])), padded.ndim - ndim + number)
            found[state] = high - low if state[number] else low + high
        return found[state]

    return {subset: reduce(subset) for subset in itertools.product((0, 1), repeat=ndim) if any(subset)}


def from_modes(modes: Modes, ndim: int) -> Float[Array, "*nodes"]:
    """Nodal values of modal forces: the transpose of `to_modes`, for the nodes that voxels surround."""
    for number in reversed(range(ndim)):
        joined: Modes = {}
        for (*subset, differs), values in modes.items():
            low, high = _neighbours(values, values.ndim - ndim + number)
            part = low - high if differs else low + high
            joined[tuple(subset)] = joined[tuple(subset)] + part if tuple(subset) in joined else part
        modes = joined
    return modes[()]


def combine(weights: np.ndarray, modes: Modes) -> list[list[Array | None]]:
    """Modal forces: sum over modes j and components l of weights[i, k, j, l] times mode j of component l.

    Modes have the components on the axis before the grid. Rows by mode i and component k, each with one component on
    its axis; None where all weights vanish.
    """
    num_components, num_modes = weights.shape[1], weights.shape[0]
    ndim = num_modes.bit_length() - 1
    subsets = list(itertools.product((0, 1), repeat=ndim))

    def row(i, k):
        total = None
        for j, l in zip(*np.nonzero(weights[i, k]), strict=True):  # noqa: E741
            values = modes[subsets[j]]
            axis = values.ndim - ndim - 1
            term = float(weights[i, k, j, l]) * lax.slice_in_dim(values, int(l), int(l) + 1, axis=axis)
            total = term if total is None else total + term
        return total

    return [[row(i, k) for k in range(num_components)] for i in range(num_modes)]


def gather(rows: list[list[Array | None]], axis: int) -> Modes:
    """Modal forces by subset from rows by mode and component, components joined along `axis`."""
    ndim = len(rows).bit_length() - 1
    like = next(entry for row in rows for entry in row if entry is not None)
    filled = [[jnp.zeros_like(like) if entry is None else entry for entry in row] for row in rows]
    subsets = itertools.product((0, 1), repeat=ndim)
    return {s: jnp.concatenate(row, axis=axis) for s, row in zip(subsets, filled, strict=True) if any(s)}


def _neighbours(values, axis):
    num = values.shape[axis]
    return lax.slice_in_dim(values, 0, num - 1, axis=axis), lax.slice_in_dim(values, 1, num, axis=axis)


def add_halo(array: Array, ndim: int) -> Array:
    """Periodic copies of one layer on both sides of the last `ndim` axes."""
    for axis in range(array.ndim - ndim, array.ndim):
        first = lax.slice_in_dim(array, 0, 1, axis=axis)
        last = lax.slice_in_dim(array, array.shape[axis] - 1, array.shape[axis], axis=axis)
        array = lax.concatenate([last, array, first], axis)
    return array


def window(array: Array, start: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The part of the last axes that begins at `start` and has this shape."""
    lead = array.ndim - len(shape)
    stop = (*array.shape[:lead], *(i + n for i, n in zip(start, shape, strict=True)))
    return lax.slice(array, (*(0,) * lead, *start), stop)
