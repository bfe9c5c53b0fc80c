"""Pictures of the stress in an elastic cell."""

from typing import Any

import numpy as np

from ..grids import Grid
from ..homogenization import CellProblem, CellSolution, LinearElasticity
from ..homogenization._moduli import MANDEL_PAIRS
from ._planes import Origin, Plane, fields_of_one_cell, new_panels
from ._style import Figure, add_colorbar, draw_values, in_unit, shown_once


def plot_stresses(
    cell: CellProblem,
    field: Any,
    solution: CellSolution,
    *,
    strain: Any = None,
    length_unit: str = "",
    stress_unit: str = "",
    normal: int = 2,
    position: float = 0.5,
    origin: Origin = "lower",
) -> Figure:
    """Draw the components of stress in a solved elastic cell under a macroscopic strain.

    One panel for each component, tension red, and one for an invariant: von Mises' stress in space, in plane stress
    and, for a field of `Lame` moduli, in plane strain; else the largest shear stress in the plane, because mixtures and
    stiffnesses do not tell the stress across it. Means over the voxels; colours end at the 99.5th percentile.

    Args:
        cell: the cell problem on a grid, with `LinearElasticity`.
        field: the coefficient, without batch axes.
        solution: what `solve_cell(cell, field)` returned.
        strain: macroscopic strain, a symmetric matrix (d, d); default: one along the first axis.
        length_unit: unit of the lengths.
        stress_unit: unit of the moduli.
        normal: axis across the plane of a three-dimensional cell: 0, 1 or 2.
        position: where the plane is, as a fraction of the length, in [0, 1].
        origin: as in `plot_local_fields`.

    Raises:
        ValueError: if the cell is one-dimensional, on a mesh or not elastic; if `strain` is no symmetric matrix of its
            dimension; if `field` has batch axes or the solution is not finite.

    Example:
        >>> figure = plot_stresses(cell, field, solve_cell(cell, field), strain=1e-3 * np.eye(2), stress_unit="GPa")
    """
    grid = cell.grid
    if not isinstance(grid, Grid) or grid.ndim < 2 or not isinstance(cell.law, LinearElasticity):
        raise ValueError(
            "plot_stresses draws cells with LinearElasticity on grids of two or three axes; on a mesh draw components"
            " of local_fields by plot_mesh."
        )
    d = grid.ndim
    strain = np.diag([1.0] + [0.0] * (d - 1)) if strain is None else np.asarray(strain, float)
    if strain.shape != (d, d) or not np.allclose(strain, strain.T, rtol=1e-6, atol=0):
        raise ValueError(f"strain must be a symmetric matrix of shape ({d}, {d}); got {strain.tolist()}.")
    loads = np.array([strain[i, j] * (1.0 if i == j else np.sqrt(2.0)) for i, j in MANDEL_PAIRS[d]])
    parts = fields_of_one_cell("plot_stresses", cell, field, solution, d + 2)
    strains, stresses = (np.tensordot(loads, part, 1) for part in parts)
    drawn = [
        (f"stress {i + 1}{j + 1}", stresses[..., k] * (1.0 if i == j else np.sqrt(0.5)))
        for k, (i, j) in enumerate(MANDEL_PAIRS[d])
    ]
    name, invariant = _invariant(cell, field, strains, stresses)
    drawn.insert(3, (name, invariant))
    plane = Plane(grid, normal, position, length_unit)
    figure, axes = new_panels(2, [plane] * (2 * d - 2), origin)
    for ax, (label, values) in zip(axes.ravel(), drawn, strict=False):
        values, low = plane.cut(values), -1.0 if label != name else 0.0
        largest = np.quantile(np.abs(values), 0.995) or 1.0
        colors = {"cmap": "RdBu_r" if low else "viridis", "vmin": low * largest, "vmax": largest}
        image = draw_values(ax, values, plane.lengths, **colors)
        clipped = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        extend = clipped[bool(low and values.min() < -largest), bool(values.max() > largest)]
        add_colorbar(image, ax, extend=extend)
        ax.set_title(f"{label}{in_unit(stress_unit)}", fontsize="medium")
        plane.finish(ax, origin)
    for ax in axes.ravel()[len(drawn) :]:
        ax.set_axis_off()
    return shown_once(figure)


def _invariant(cell: Any, field: Any, strains: np.ndarray, stresses: np.ndarray) -> tuple[str, np.ndarray]:
    """Von Mises' stress where the stress across the plane is known, else the largest shear in it; with its name."""
    d, is_strain = cell.grid.ndim, cell.law.plane == "strain"
    normals = [stresses[..., i] for i in range(d)]
    if d == 2 and is_strain and not isinstance(field, tuple | list):
        radius = np.hypot((normals[0] - normals[1]) / 2, stresses[..., 2] / np.sqrt(2))
        return "largest shear stress in the plane", radius
    if d == 2:
        normals.append(np.asarray(field[0]) * strains[..., :2].sum(-1) if is_strain else np.zeros_like(normals[0]))
    mean = sum(normals) / 3
    deviator = sum((part - mean) ** 2 for part in normals) + (stresses[..., d:] ** 2).sum(-1)
    return "von Mises stress", np.sqrt(1.5 * deviator)
