"""Cells to test the forward map with: reproducible fields, and a finite-element energy written a second time."""

import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh

# Batches of three on one grid: few compilations serve many tests.
SHAPE, LENGTHS = (6, 8), (1.0, 1.5)


def make_cell(shape, lengths=None, **options):
    return nh.CellProblem(nh.Grid(shape, lengths=lengths), nh.Conductivity(), nh.Periodic(), **options)


def iid_field(seed, shape, values, batch=()):
    """Voxels coloured independently with equal chances."""
    return jnp.asarray(np.random.default_rng(seed).choice(np.asarray(values, float), (*batch, *shape)))


def smooth_field(seed, shape, batch=()):
    """Log-uniform voxels, one decade: no two alike."""
    return jnp.asarray(10 ** np.random.default_rng(seed).uniform(0, 1, (*batch, *shape)))


def voronoi_labels(rng, shape, num_grains):
    """Index of the nearest of `num_grains` uniform seeds on the unit torus, at voxel centres."""
    centers = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij"), -1)
    distance = np.abs(centers[..., None, :] - rng.random((num_grains, len(shape))))
    return np.argmin(np.sum(np.minimum(distance, 1 - distance) ** 2, -1), -1)


def voronoi_field(seed, shape, values, batch=(), num_grains=8):
    """Voronoi cells coloured with `values` in turn."""
    rng = np.random.default_rng(seed)
    labels = [voronoi_labels(rng, shape, num_grains) for _ in range(int(np.prod(batch)))]
    return jnp.asarray(np.asarray(values, float)[np.array(labels) % len(values)].reshape(*batch, *shape))


def crystal(angles, principal):
    """Tensors of principal values `principal`, turned by `angles`: shape (*angles, 2, 2)."""
    c, s = np.cos(angles), np.sin(angles)
    frame = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    return np.einsum("...ij,j,...kj->...ik", frame, np.asarray(principal, float), frame)


def polycrystal(seed, shape, principal, batch=(), num_grains=6):
    """Voronoi grains of one crystal with random orientations: a field of tensors, shape (*batch, *shape, 2, 2)."""
    rng = np.random.default_rng(seed)
    labels = np.array([voronoi_labels(rng, shape, num_grains) for _ in range(int(np.prod(batch)))])
    tensors = crystal(rng.uniform(0, np.pi, (len(labels), num_grains)), principal)
    field = np.stack([tensors[b][labels[b]] for b in range(len(labels))])
    return jnp.asarray(field.reshape(*batch, *shape, 2, 2))


def random_spd(seed, shape, contrast=5.0):
    """Independent voxel tensors with eigenvalues in [1, contrast]: shape (*shape, 2, 2)."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, np.pi, shape)
    c, s = np.cos(angles), np.sin(angles)
    frame = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    values = rng.uniform(1, contrast, (*shape, 2))
    return jnp.asarray(np.einsum("...ij,...j,...kj->...ik", frame, values, frame))


def as_tensors(field, d=2):
    identity = jnp.eye(d, dtype=field.dtype)
    return field[..., None, None] * identity.reshape((1,) * field.ndim + (d, d))


def strains(corrector, spacing):
    """Unit strain plus corrector gradient at the 2 x 2 Gauss points of each pixel, by hand: (m, *grid, quads, 2)."""
    w = np.asarray(corrector, float)
    right, up = np.roll(w, -1, 1), np.roll(w, -1, 2)
    corner = np.roll(right, -1, 2)
    points = (0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12))
    quads = []
    for s in points:
        for t in points:
            dx = ((1 - t) * (right - w) + t * (corner - up)) / spacing[0]
            dy = ((1 - s) * (up - w) + s * (corner - right)) / spacing[1]
            quads.append(np.stack([dx, dy], -1))
    total = np.stack(quads, -2)
    return total + np.eye(2)[:, None, None, None, :]


def least_eigenvalues(tensors):
    return np.linalg.eigvalsh(np.asarray(tensors, float))[..., 0]


def dual_bound(cell, field):
    """Lower bound of the tensor from the resistivity: turn by 90 degrees, homogenize, invert, turn back (2D)."""
    resistance = nh.effective_tensor(cell, 1 / field)
    turn = jnp.asarray([[0.0, -1.0], [1.0, 0.0]], resistance.dtype)
    return jnp.linalg.inv(turn.T @ resistance @ turn)


FIELDS = {
    "isotropic": lambda seed, shape=SHAPE: smooth_field(seed, shape, (3,)),
    "tensors": lambda seed, shape=SHAPE: jnp.stack([random_spd(3 * seed + member, shape) for member in range(3)]),
}


def close(actual, desired, rtol):
    """Agreement relative to the largest component."""
    np.testing.assert_allclose(actual, desired, rtol=0, atol=rtol * np.max(np.abs(desired)))
