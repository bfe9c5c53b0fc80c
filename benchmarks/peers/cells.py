"""The cells that every solver is given: sharp Voronoi cells on the torus."""

import numpy as np

#: Poisson's ratio of every phase of an elastic cell, whose field is Young's modulus
POISSON = 0.3


def weights(size: int) -> np.ndarray:
    """Weights (size, size) of the scalar whose gradient is timed, ``sum(weights * A)``."""
    return np.full((size, size), 0.3) + np.diag(np.linspace(0.7, 0.4, size))


#: those of conduction in the plane
WEIGHTS = weights(2)


def voronoi_cells(num_cells: int, n: int, contrast, seed: int, num_phases=3, ndim: int = 2) -> np.ndarray:
    """Conductivities (or Young's moduli) of periodic Voronoi cells, the same geometry for any ``n``.

    Args:
        num_cells: number of cells.
        n: voxels along each side.
        contrast: largest over smallest conductivity, a number or shape (num_cells,).
        seed: of the positions.
        num_phases: seeds per cell; conductivities are spaced geometrically from 1. A sequence is gone through in turn.
        ndim: 2 or 3.

    Returns:
        float64, shape (num_cells, n, n) or (num_cells, n, n, n); axis 0 is the first coordinate.
    """
    rng = np.random.default_rng(seed)
    phases = np.resize(num_phases, num_cells)
    positions = rng.uniform(size=(num_cells, phases.max(), ndim))
    centres = (np.arange(n) + 0.5) / n
    contrast = np.broadcast_to(np.asarray(contrast, float), (num_cells,))
    fields = np.empty((num_cells, *(n,) * ndim))
    for member, seeds in enumerate(positions):
        offsets = centres[:, None] - seeds[: phases[member]].T[:, None, :]  # (ndim, n, phases)
        offsets -= np.round(offsets)
        squared = np.zeros(phases[member])
        for along in offsets:
            squared = np.expand_dims(squared, -2) + along**2  # one grid axis more
        kappa = contrast[member] ** np.linspace(0.0, 1.0, phases[member])
        fields[member] = kappa[np.argmin(squared, axis=-1)]
    return fields


def mixed_contrasts(num_cells: int, low: float, high: float, seed: int) -> np.ndarray:
    """Contrasts spread log-uniformly between ``low`` and ``high``, shape (num_cells,)."""
    rng = np.random.default_rng(seed)
    return low * (high / low) ** rng.uniform(size=num_cells)


def cells_from(recipe: dict) -> np.ndarray:
    """The cells of a recipe with the arguments of ``voronoi_cells``, or its ``field``."""
    if "field" in recipe:
        return np.asarray(recipe["field"], float)
    contrast = recipe["contrast"]
    if isinstance(contrast, (list, tuple)):
        contrast = mixed_contrasts(recipe["num_cells"], *contrast, seed=recipe["seed"] + 1)
    shape = {key: recipe[key] for key in ("num_phases", "ndim") if key in recipe}
    return voronoi_cells(recipe["num_cells"], recipe["n"], contrast, recipe["seed"], **shape)
