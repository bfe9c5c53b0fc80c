"""Planes of cells on grids, and the panels that show them."""

from typing import Any, Literal, TypeAlias

import numpy as np

from ..grids import Grid
from ..homogenization import CellProblem, CellSolution, local_fields
from ._style import in_unit, new_figure, set_ticks

Origin: TypeAlias = Literal["lower", "upper"]


class Plane:
    """A plane of a grid: its two axes, and the voxel that it cuts on the third, the `normal`, if there is one."""

    def __init__(self, grid: Grid, normal: int | None, position: float, unit: str):
        if not 0 <= position <= 1:
            raise ValueError(f"position is a fraction of the length, in [0, 1]; got {position}.")
        if grid.ndim == 3 and normal not in range(3):
            raise ValueError(f"normal is the axis across the plane: 0, 1 or 2; got {normal}.")
        self.normal, self.name, self.unit = (normal if grid.ndim == 3 else None), "", unit
        self.axes = [axis for axis in range(grid.ndim) if axis != self.normal]
        self.shape = [grid.shape[axis] for axis in self.axes]
        self.lengths = [grid.lengths[axis] for axis in self.axes]
        if self.normal is not None:
            self.index = min(int(position * grid.shape[self.normal]), grid.shape[self.normal] - 1)
            place = (self.index + 0.5) * grid.spacing[self.normal]
            self.name = f"$x_{self.normal + 1} = {place:.6g}$" + (f" {unit}" if unit else "")

    def cut(self, values: Any) -> np.ndarray:
        """Values in the voxels of the plane, first of its two axes first."""
        return values if self.normal is None else np.take(values, self.index, self.normal)

    def cut_nodes(self, values: np.ndarray) -> np.ndarray:
        """Values at the nodes, also of the far edges, which may be periodic; the mean of the two layers beside it."""
        if self.normal is not None:
            after = (self.index + 1) % values.shape[self.normal]
            values = (np.take(values, self.index, self.normal) + np.take(values, after, self.normal)) / 2
        return np.pad(values, [(0, n + 1 - m) for n, m in zip(self.shape, values.shape, strict=True)], mode="wrap")

    def finish(self, ax: Any, origin: str) -> None:
        """Labels, ticks and limits."""
        (first, second), (width, height) = (f"$x_{axis + 1}${in_unit(self.unit)}" for axis in self.axes), self.lengths
        set_ticks(ax, self.lengths)
        limits = (0, height) if origin == "lower" else (height, 0)
        ax.set(xlabel=first, ylabel=second, xlim=(0, width), ylim=limits, aspect="equal")


def new_panels(num_rows: int, planes: list[Plane], origin: str) -> tuple[Any, Any]:
    """A figure of rows of panels, one column for each plane, in one scale."""
    if origin not in ("lower", "upper"):
        raise ValueError(f"origin must be 'lower' or 'upper'; got {origin!r}.")
    longest = max(max(plane.lengths) for plane in planes)
    widths = [plane.lengths[0] / longest for plane in planes]
    height = max(plane.lengths[1] / longest for plane in planes)
    size = (2.6 * sum(widths) + 0.5 * len(planes) + 1.4, num_rows * (2.6 * height + 0.7))
    figure, axes = new_figure(num_rows, len(planes), size, layout="compressed", width_ratios=widths)
    if num_rows > 1 and planes[0].name:
        figure.suptitle(f"on the plane {planes[0].name}", fontsize="medium")
    return figure, axes


def fields_of_one_cell(
    caller: str, cell: CellProblem, field: Any, solution: CellSolution, num_axes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients and fluxes of one solved cell, the axes of whose corrector are `num_axes`."""
    shape = solution.corrector.shape
    if len(shape) != num_axes:
        raise ValueError(
            f"{caller} draws one cell, but the solution is a batch {shape}; take a member of the field and solve it."
        )
    if solution.loads is not None:
        raise ValueError(
            f"{caller} draws all unit strains, but the solution has those of loads={list(solution.loads)} only: call"
            " solve_cell without `loads`."
        )
    if not np.isfinite(solution.corrector).all():
        raise ValueError("The solution is not finite: solve_cell failed, and its result says why.")
    gradient, flux = local_fields(cell, field, solution)
    return np.asarray(gradient), np.asarray(flux)
