"""Pictures of images, and the planes and panels of those of local fields."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from ..grids import Grid
from ._style import (
    Figure,
    add_colorbar,
    draw_values,
    in_unit,
    new_figure,
    phase_colors,
    phase_legend,
    set_ticks,
    shown_once,
)

_MAX_LABELS = 8
Origin: TypeAlias = Literal["lower", "upper"]


def plot_image(
    values: Any,
    grid: Grid,
    *,
    labels: Sequence[str] | None = None,
    colorbar_label: str = "grey value",
    length_unit: str = "",
    position: float = 0.5,
    origin: Origin = "lower",
) -> Figure:
    """Draw an image: whole in two dimensions, three orthogonal slices in three.

    Integers with at most 8 different values 0, ..., 7 are labels of phases, drawn in the colours of `plot_field`; all
    else are grey values. The first of two axes points to the right, the second up.

    Args:
        values: labels or grey values, shape (*grid).
        grid: the voxels and lengths.
        labels: names of the phases for the legend, or none if empty; default: "phase 1", ...
        colorbar_label: what a grey value is, with its unit.
        length_unit: unit of the lengths, for the axes.
        position: where the slices of a three-dimensional image are, as a fraction of the lengths, in [0, 1].
        origin: "upper" turns the second axis down, as it runs in pictures that were loaded with axes="yx".

    Returns:
        The figure.

    Raises:
        ValueError: if the shape does not fit, there are too few or too many `labels`, or `position` is not in [0, 1].

    Example:
        >>> figure = plot_image(np.arange(12).reshape(3, 4) % 3, Grid((3, 4)))
    """
    values = np.asarray(values)
    if values.shape != grid.shape or grid.ndim < 2:
        raise ValueError(
            f"plot_image expects values on a grid of two or three axes; got {values.shape} on {grid.shape}."
        )
    planes = [Plane(grid, normal, position, length_unit) for normal in ((2, 1, 0) if grid.ndim == 3 else (None,))]
    figure, axes = new_panels(1, planes, origin)
    colors: dict[str, Any] = {"cmap": "gray", "vmin": values.min(), "vmax": values.max()}
    are_labels = np.issubdtype(values.dtype, np.integer) and values.min() >= 0 and values.max() < _MAX_LABELS
    if are_labels:
        palette = phase_colors(int(values.max()) + 1)
        values, colors = palette[values], {}
    for ax, plane in zip(axes[0], planes, strict=True):
        image = draw_values(ax, plane.cut(values), plane.lengths, **colors)
        plane.finish(ax, origin)
        ax.set_title(plane.name, fontsize="medium")
    if are_labels:
        phase_legend(figure, palette, labels)
    else:
        add_colorbar(image, axes[0], colorbar_label)
    return shown_once(figure)


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
