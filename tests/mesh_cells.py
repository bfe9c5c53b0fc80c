"""Meshes to test with, of all element types: boxes cut into cells, and a circle in a square, followed by its elements.

A mesh is made of blocks: lattices of three nodes along each axis, of which each element type takes what it needs.
"""

import itertools

import numpy as np

import numpyro_homog as nh

SQUARE = [(0, 0), (2, 0), (2, 2), (0, 2)]
CUBE = [(*corner, z) for z in (0, 2) for corner in SQUARE]
EDGES = {
    "TRI": [(0, 1), (1, 2), (2, 0)],
    "QUAD": [(0, 1), (1, 2), (2, 3), (3, 0)],
    "TET": [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)],
    "HEX": [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)],
}
# The path along the axes in each order: six tetrahedra of a cube, alike on opposite faces.
PATHS = [np.cumsum([np.zeros(3, int), *(2 * np.eye(3, dtype=int)[list(order)])], axis=0)
         for order in itertools.permutations(range(3))]  # fmt: skip
PATHS = [path if np.linalg.det(path[1:]) > 0 else path[[0, 2, 1, 3]] for path in PATHS]
CORNERS = {
    "TRI": [[SQUARE[0], SQUARE[1], SQUARE[2]], [SQUARE[0], SQUARE[2], SQUARE[3]]],
    "QUAD": [SQUARE],
    "TET": PATHS,
    "HEX": [CUBE],
}
FIRST_ORDER = {"TRI3", "QUAD4", "TET4", "HEX8"}
KINDS = {2: ["TRI3", "TRI6", "QUAD4", "QUAD8"], 3: ["TET4", "TET10", "HEX8", "HEX20"]}


def mesh_of_blocks(blocks, kind, labels):
    """Mesh of blocks (count, 3, ..., 3, d), merging nodes that coincide; labels has one entry for each block."""
    blocks, d = np.asarray(blocks), np.shape(blocks)[-1]
    shape = kind.rstrip("0123456789")
    elements, phases = [], []
    for corners in CORNERS[shape]:
        offsets = np.array(corners)
        if kind not in FIRST_ORDER:
            offsets = np.concatenate([offsets, [(offsets[a] + offsets[b]) // 2 for a, b in EDGES[shape]]])
        elements.append(blocks[(slice(None), *offsets.T)])
        phases.append(labels)
    nodes = np.concatenate(elements)
    rounded = np.round(nodes.reshape(-1, d), 9) + 0.0
    _, first, number = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return nh.Mesh(nodes.reshape(-1, d)[first], number.reshape(nodes.shape[:2]), kind, labels=np.concatenate(phases))


def box_mesh(shape, kind, lengths=None, move=None):
    """A box of cells; labels number the cells row by row; `move` maps points (..., d) of the unit box."""
    d = len(shape)
    blocks = []
    for cell in np.ndindex(*shape):
        lattice = np.stack(np.meshgrid(*([np.arange(3) / 2] * d), indexing="ij"), -1)
        blocks.append((lattice + cell) / np.array(shape))
    blocks = np.array(blocks)
    blocks = blocks if move is None else move(blocks)
    return mesh_of_blocks(blocks * np.ones(d) * (1 if lengths is None else lengths), kind, np.arange(len(blocks)))


def warp(amount):
    """Moves the nodes of a unit box, and not its faces; bends elements of second order."""

    def move(points):
        bump = np.prod(np.sin(np.pi * points) ** 2, axis=-1, keepdims=True)
        return points + amount * bump * np.cos(3 * points[..., ::-1] + 1)

    return move


def circle_mesh(fraction, num, kind):
    """A circle (label 1) of this area in the unit square, with 4 num elements around it, from five curved patches."""
    radius = np.sqrt(fraction / np.pi)
    core, layers = 0.45 * radius, max(2, num // 2)
    turns = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in np.arange(4) * np.pi / 2]

    def ring(inner, outer):
        across, along = np.linspace(0, 1, 2 * layers + 1)[:, None, None], np.linspace(-1, 1, 2 * num + 1)
        patch = (1 - across) * inner(along) + across * outer(along)
        return [patch @ turn.T for turn in turns]

    def square(half):
        return lambda s: half * np.stack([np.ones_like(s), s], -1)

    def circle(s):
        return radius * np.stack([np.cos(np.pi * s / 4), np.sin(np.pi * s / 4)], -1)

    side = np.linspace(-core, core, 2 * num + 1)
    patches = [(np.stack(np.meshgrid(side, side, indexing="ij"), -1), 1)]
    patches += [(patch, 1) for patch in ring(square(core), circle)]
    patches += [(patch, 0) for patch in ring(circle, square(0.5))]
    blocks, labels = [], []
    for patch, label in patches:
        for i, j in np.ndindex((len(patch) - 1) // 2, (patch.shape[1] - 1) // 2):
            blocks.append(patch[2 * i : 2 * i + 3, 2 * j : 2 * j + 3])
            labels.append(label)
    return mesh_of_blocks(np.array(blocks) + 0.5, kind, np.array(labels))
