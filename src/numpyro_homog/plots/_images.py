"""Pictures of images: slices in three dimensions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..grids import Grid
from ._planes import Origin, Plane, new_panels
from ._style import Figure, add_colorbar, draw_values, phase_colors, phase_legend, shown_once

_MAX_LABELS = 8


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
