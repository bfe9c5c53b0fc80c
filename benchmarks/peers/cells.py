"""The cells that every solver is given: sharp Voronoi cells on the torus."""

import numpy as np

#: weights of the scalar whose gradient is timed, ``sum(WEIGHTS * A)``
WEIGHTS = np.array([[1.0, 0.3], [0.3, 0.7]])


def voronoi_cells(num_cells: int, n: int, contrast, seed: int, num_phases: int = 3) -> np.ndarray:
    """Conductivities of periodic Voronoi cells, the same geometry for any ``n``.

    Args:
        num_cells: number of cells.
        n: voxels along each side.
        contrast: largest over smallest conductivity, a number or shape (num_cells,).
        seed: of the positions.
        num_phases: seeds per cell; conductivities are spaced geometrically from 1.

    Returns:
        float64, shape (num_cells, n, n); axis 0 is the first coordinate.
    """
    rng = np.random.default_rng(seed)
    positions = rng.uniform(size=(num_cells, num_phases, 2))
    centres = (np.arange(n) + 0.5) / n
    exponents = np.linspace(0.0, 1.0, num_phases)
    kappa = np.broadcast_to(np.asarray(contrast, float), (num_cells,))[:, None] ** exponents
    fields = np.empty((num_cells, n, n))
    for member, seeds in enumerate(positions):
        offsets = centres[:, None] - seeds.T[:, None, :]  # (2, n, phases)
        offsets -= np.round(offsets)
        squared = offsets[0][:, None] ** 2 + offsets[1][None, :] ** 2
        fields[member] = kappa[member][np.argmin(squared, axis=-1)]
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
    return voronoi_cells(recipe["num_cells"], recipe["n"], contrast, recipe["seed"])
