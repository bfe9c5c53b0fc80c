"""Sums and differences over the corners of each voxel: the basis in which voxel stiffnesses are sparse.

In d dimensions the 2^d corner values of a voxel become 2^d modes, one for each subset of the axes: differences along
the axes of the subset, sums along the others. The empty subset is the sum of all corners, on which no stiffness acts.
"""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ._jax_fem import voxel_element
from ._law import AbstractLaw
from ._tensor_fields import Unknown

Modes = dict[tuple[int, ...], Array]  # by subset, each (batch, loads, components, *grid)
Forces = dict[tuple[tuple[int, ...], int], Array]  # by subset and component, whose axis has length one


def voxel_stiffness(spacing: tuple[float, ...], law: AbstractLaw, tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a voxel, shape (nodes, d), and its stiffness for each of some constant tensors (count, m, m).

    The stiffness is the integral of B' T B, shape (count, nodes, components, nodes, components).
    """
    gradients, weights, corners = voxel_element(spacing)
    shape = (len(corners), law.num_components(len(spacing)))
    strains = law.strain_operator(gradients)
    matrices = np.einsum("q,qmi,cmn,qnj->cij", weights, strains, tensors, strains)
    matrices = (matrices + np.swapaxes(matrices, 1, 2)) / 2
    matrices[np.abs(matrices) < 1e-14 * np.abs(matrices).max()] = 0.0
    return corners, matrices.reshape(-1, *shape, *shape)


def subsets(ndim: int) -> list[tuple[int, ...]]:
    """The modes in order: one where an axis belongs to the subset, else zero; the empty subset is the first."""
    return list(itertools.product((0, 1), repeat=ndim))


def mode_matrix(corners: np.ndarray) -> np.ndarray:
    """Modes of corner values as a matrix, shape (modes, nodes). Its square is 2^d."""
    differs = np.array(subsets(corners.shape[1]))
    return np.prod(np.where(differs[:, None], 2 * corners - 1, 1), axis=-1).astype(float)


def to_modes(padded: Unknown) -> Modes:
    """Modes of all voxels, (batch, loads, components, *(grid - 1)), of nodal values; without the empty subset.

    Differences come before sums, so that rounding errors are proportional to differences and not to values.
    """
    ndim = padded.ndim - 3
    found: dict[tuple[int | None, ...], Array] = {(None,) * ndim: padded}

    def reduce(state: tuple[int | None, ...]) -> Array:
        """Values with the axes reduced that are not None: 1 by a difference, 0 by a sum."""
        if state not in found:
            axis = max(range(ndim), key=lambda a: {None: 0, 1: 1, 0: 2}[state[a]])
            low, high = _neighbours(reduce((*state[:axis], None, *state[axis + 1 :])), axis)
            found[state] = high - low if state[axis] else low + high
        return found[state]

    return {subset: reduce(subset) for subset in subsets(ndim)[1:]}


def combine(weights: np.ndarray, modes: Modes) -> Forces:
    """Modal forces: sum over modes j and components l of weights[i, k, j, l] times mode j of component l."""
    order, forces = subsets(len(weights).bit_length() - 1), Forces()
    for i, k, j, l in zip(*np.nonzero(weights), strict=True):  # noqa: E741
        values = lax.slice_in_dim(modes[order[j]], int(l), int(l) + 1, axis=2)
        _accumulate(forces, (order[i], int(k)), float(weights[i, k, j, l]) * values)
    return forces


def nodal_forces(prepared: Array, modal: np.ndarray, modes: Modes) -> Unknown:
    """Forces on the nodes, of modes on the voxels -1 .. n - 1 along each axis: sum_c prepared_c modal_c modes."""
    shape, forces = tuple(n - 1 for n in prepared.shape[3:]), Forces()
    for c, matrix in enumerate(modal):
        coefficient = window(prepared, (c, *(0,) * len(shape)), (1, *shape))
        for key, force in combine(matrix, modes).items():
            _accumulate(forces, key, coefficient * force)
    zero = jnp.zeros_like(next(iter(forces.values())))
    rows = {s: [forces.get((s, k), zero) for k in range(modal.shape[2])] for s in subsets(len(shape))[1:]}
    joined = {s: jnp.concatenate(row, axis=2) for s, row in rows.items()}
    for axis in reversed(range(len(shape))):  # the transpose of `to_modes`, for the nodes that voxels surround
        before, joined = joined, Modes()
        for (*subset, differs), values in before.items():
            low, high = _neighbours(values, axis)
            _accumulate(joined, tuple(subset), low - high if differs else low + high)
    return joined[()]


def _accumulate(totals: dict, key: tuple, part: Array) -> None:
    """Add a part to the sum of this key."""
    totals[key] = totals[key] + part if key in totals else part


def _neighbours(values: Array, axis: int) -> tuple[Array, Array]:
    """All but the last and all but the first along an axis of the grid."""
    num = values.shape[3 + axis]
    return lax.slice_in_dim(values, 0, num - 1, axis=3 + axis), lax.slice_in_dim(values, 1, num, axis=3 + axis)


def add_halo(array: Array, ndim: int, before: int = 1) -> Array:
    """Periodic copies of one layer behind the last `ndim` axes, and before them."""
    return jnp.pad(array, [(0, 0)] * (array.ndim - ndim) + [(before, 1)] * ndim, mode="wrap")


def window(array: Array, start: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The part of the last axes that begins at `start` and has this shape."""
    lead = array.ndim - len(shape)
    stop = (*array.shape[:lead], *(i + n for i, n in zip(start, shape, strict=True)))
    return lax.slice(array, (*(0,) * lead, *start), stop)
