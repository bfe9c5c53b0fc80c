"""Volume fractions of lattices of cylinders and spheres in voxels."""

import itertools

import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh

LATTICES = {
    "square": [(0, 0)],
    "hexagonal": [(0, 0), (0.5, 0.5)],  # in a cell of 1 x sqrt(3)
    "simple cubic": [(0, 0, 0)],
    "body-centred": [(0, 0, 0), (0.5, 0.5, 0.5)],
    "face-centred": [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
}


def inclusions(lattice, fraction, n, factor=8):
    """Volume fraction of the inclusions in each voxel, by `factor` sub-voxels along each axis; and the grid."""
    centers = np.array(LATTICES[lattice])
    d = centers.shape[1]
    lengths = (1.0, np.sqrt(3)) if lattice == "hexagonal" else (1.0,) * d
    shape = (n, round(n * lengths[1])) + (n,) * (d - 2)
    share = fraction * np.prod(lengths) / len(centers)
    radius = np.sqrt(share / np.pi) if d == 2 else (3 * share / (4 * np.pi)) ** (1 / 3)
    axes = [(np.arange(m * factor) + 0.5) / (m * factor) for m in shape]
    fractions = np.zeros(shape)
    for center in centers:
        squares = []
        for axis, position, length in zip(axes, center, lengths, strict=True):
            distance = np.abs(axis - position)
            squares.append((length * np.minimum(distance, 1 - distance)) ** 2)
        for i in range(shape[0]):  # slab by slab: the fine image of a sphere would not fit
            slab = squares[0][i * factor : (i + 1) * factor]
            total = slab.reshape(-1, *(1,) * (d - 1))
            for a, square in enumerate(squares[1:]):
                total = total + square.reshape((1,) * (a + 1) + (-1,) + (1,) * (d - 2 - a))
            blocks = list(itertools.chain.from_iterable((m, factor) for m in shape[1:]))
            inside = (total < radius**2).reshape(factor, *blocks)
            fractions[i] += inside.mean((0, *range(2, 2 * d, 2)))
    return jnp.asarray(fractions), nh.Grid(shape, lengths=lengths)
