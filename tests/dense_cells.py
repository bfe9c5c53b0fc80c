"""Effective tensors of small voxel cells a second time: dense matrices, any dimension, law and boundary."""

import itertools

import numpy as np

PAIRS = {1: [(0, 0)], 2: [(0, 0), (1, 1), (0, 1)], 3: [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]}


def mandel_strain(gradient):
    """Mandel components (m, ...) of a displacement gradient (d, d, ...)."""
    d = len(gradient)
    rows = [gradient[i, i] if i == j else (gradient[i, j] + gradient[j, i]) / np.sqrt(2) for i, j in PAIRS[d]]
    return np.array(rows)


def strain_matrices(spacing, vector):
    """Strain matrix (m, nodes * components) at each Gauss point of a voxel, in the order of `itertools.product`."""
    d = len(spacing)
    corners = list(itertools.product((0, 1), repeat=d))
    matrices = []
    for point in itertools.product((0.5 - np.sqrt(1 / 12), 0.5 + np.sqrt(1 / 12)), repeat=d):
        gradients = np.zeros((len(corners), d))
        for a, corner in enumerate(corners):
            values = [x if c else 1 - x for x, c in zip(point, corner, strict=True)]
            for i in range(d):
                slope = (1 if corner[i] else -1) / spacing[i]
                gradients[a, i] = slope * np.prod([v for j, v in enumerate(values) if j != i])
        if not vector:
            matrices.append(gradients.T)
            continue
        columns = []
        for a, k in itertools.product(range(len(corners)), range(d)):
            gradient = np.zeros((d, d))
            gradient[k] = gradients[a]
            columns.append(mandel_strain(gradient))
        matrices.append(np.array(columns).T)
    return matrices


def dense_effective(stiffness, lengths, boundary, *, vector):
    """Effective tensor of one cell with voxel tensors `stiffness` (*grid, m, m); boundary "Periodic" and so on."""
    shape, d = stiffness.shape[:-2], stiffness.ndim - 2
    spacing = [length / n for length, n in zip(lengths, shape, strict=True)]
    components = d if vector else 1
    nodes = [n + 1 for n in shape]
    number = np.arange(np.prod(nodes)).reshape(nodes)
    strain = strain_matrices(spacing, vector)
    weight = np.prod(spacing) / len(strain)
    size = number.size * components
    matrix, force = np.zeros((size, size)), np.zeros((size, stiffness.shape[-1]))
    mean = np.zeros((stiffness.shape[-1],) * 2)
    functional = np.zeros((d * components, size))  # integral of the gradient
    gradient_only = strain_matrices(spacing, False)
    for voxel in np.ndindex(*shape):
        own = [number[tuple(np.add(voxel, corner))] for corner in itertools.product((0, 1), repeat=d)]
        dofs = np.array([node * components + k for node in own for k in range(components)])
        tensor = stiffness[voxel]
        for b, g in zip(strain, gradient_only, strict=True):
            matrix[np.ix_(dofs, dofs)] += weight * b.T @ tensor @ b
            force[dofs] -= weight * b.T @ tensor
            for k, i in itertools.product(range(components), range(d)):
                functional[k * d + i, dofs[k::components]] += weight * g[i]
        mean += np.prod(spacing) * tensor
    if boundary == "Periodic":
        index = np.stack(np.meshgrid(*(np.arange(n) % (n - 1) for n in nodes), indexing="ij"), -1).reshape(-1, d)
        masters = np.ravel_multi_index(index.T, shape)
        fold = np.zeros((size, int(np.prod(shape)) * components))
        for k in range(components):
            fold[np.arange(number.size) * components + k, masters * components + k] = 1
    elif boundary == "Affine":
        inner = number[(slice(1, -1),) * d].reshape(-1)
        keep = np.array([node * components + k for node in inner for k in range(components)], int)
        fold = np.eye(size)[:, keep]
    else:
        _, _, rows = np.linalg.svd(functional)
        fold = rows[len(functional) :].T
    reduced, load = fold.T @ matrix @ fold, fold.T @ force
    corrector = fold @ np.linalg.lstsq(reduced, load, rcond=1e-12)[0]
    return (mean - corrector.T @ matrix @ corrector) / np.prod(lengths)
