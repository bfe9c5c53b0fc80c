"""Pictures of the stress in an elastic cell."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..grids import Grid
from ..homogenization import CellProblem, CellSolution, LinearElasticity, local_fields
from ._local import _finish, _in, _panels, _plane, _slice
from ._style import shown_once

if TYPE_CHECKING:
    import matplotlib.figure

_PAIRS = {2: ((0, 0), (1, 1), (0, 1)), 3: ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))}


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
    origin: Literal["lower", "upper"] = "lower",
) -> "matplotlib.figure.Figure":
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
        normal: axis across the plane that is drawn of a three-dimensional cell: 0, 1 or 2.
        position: where that plane is, as a fraction of the length, in [0, 1].
        origin: "upper" turns the second axis down, as it runs in pictures that were loaded with axes="yx".

    Returns:
        The figure.

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
    corrector = np.asarray(solution.corrector)
    if corrector.ndim != grid.ndim + 2:
        raise ValueError(
            f"plot_stresses draws one cell, but the solution is a batch {corrector.shape}; take a member of the field"
            " and solve it."
        )
    if not np.isfinite(corrector).all():
        raise ValueError("The solution is not finite: solve_cell failed, and its result says why.")
    loads = _mandel(np.diag([1.0] + [0.0] * (grid.ndim - 1)) if strain is None else strain, grid.ndim)
    strains, stresses = (np.tensordot(loads, np.asarray(part), 1) for part in local_fields(cell, field, solution))
    weights = np.where(np.arange(len(loads)) < grid.ndim, 1.0, np.sqrt(0.5))
    invariant, name = _invariant(cell, field, strains, stresses)
    plane = _plane(grid, None if grid.ndim == 2 else normal, position)
    drawn = [(f"stress {i + 1}{j + 1}", stresses[..., k] * weights[k]) for k, (i, j) in enumerate(_PAIRS[grid.ndim])]
    drawn.insert(grid.ndim, (name, invariant))
    if grid.ndim == 2:
        drawn.append(drawn.pop(2))
    num_columns = 4 if grid.ndim == 3 else 2
    figure, axes = _panels(2, [plane] * num_columns, origin)
    for ax, (label, values) in zip(axes.ravel(), drawn, strict=False):
        _draw(figure, ax, _slice(values, plane), plane, f"{label}{_in(stress_unit)}", signed=label != name)
        _finish(ax, plane, length_unit, origin)
    for ax in axes.ravel()[len(drawn) :]:
        ax.set_axis_off()
    if grid.ndim == 3:
        figure.suptitle(f"on the plane {plane.name(length_unit)}", fontsize="medium")
    return shown_once(figure)


def _mandel(strain, d):
    """Mandel components of a strain."""
    strain = np.asarray(strain, float)
    if strain.shape != (d, d) or not np.allclose(strain, strain.T, rtol=1e-6, atol=0):
        raise ValueError(f"strain must be a symmetric matrix of shape ({d}, {d}); got {strain.tolist()}.")
    return np.array([strain[i, j] * (1.0 if i == j else np.sqrt(2.0)) for i, j in _PAIRS[d]])


def _invariant(cell, field, strains, stresses):
    """Von Mises' stress where the stress across the plane is known, else the largest shear in it; and its name."""
    d = cell.grid.ndim
    if d == 2 and cell.law.plane == "strain" and not isinstance(field, tuple | list):
        radius = np.hypot((stresses[..., 0] - stresses[..., 1]) / 2, stresses[..., 2] / np.sqrt(2))
        return radius, "largest shear stress in the plane"
    normals = [stresses[..., i] for i in range(d)]
    if d == 2:
        held = cell.law.plane == "strain"
        normals.append(np.asarray(field[0]) * strains[..., :2].sum(-1) if held else np.zeros_like(normals[0]))
    mean = sum(normals) / 3
    deviator = sum((part - mean) ** 2 for part in normals) + (stresses[..., d:] ** 2).sum(-1)
    return np.sqrt(1.5 * deviator), "von Mises stress"


def _draw(figure, ax, values, plane, label, *, signed):
    largest = np.quantile(np.abs(values), 0.995) or 1.0
    clipped = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    image = ax.imshow(
        values.T,
        origin="lower",
        extent=(0, plane.lengths[0], 0, plane.lengths[1]),
        cmap="RdBu_r" if signed else "viridis",
        vmin=-largest if signed else 0.0,
        vmax=largest,
        interpolation="nearest",
    )
    extend = clipped[bool(signed and values.min() < -largest), bool(values.max() > largest)]
    figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02, aspect=16, extend=extend)
    ax.set_title(label, fontsize="medium")
