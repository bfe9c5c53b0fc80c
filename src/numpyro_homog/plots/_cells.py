"""Pictures of two-dimensional cells, and of images: slices in three dimensions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..grids import Grid
from ._planes import Origin, Plane, new_panels
from ._style import Figure, add_colorbar, draw_values, new_figure, phase_colors, phase_legend, set_ticks, shown_once

_PHASE_TOLERANCE = 1e-3
_MAX_LABELS = 8


def plot_field(
    field: Any,
    *,
    lengths: Sequence[float | int] | None = None,
    labels: Sequence[str] | None = None,
    colorbar_label: str | None = None,
    max_cells: int = 6,
    ax: Any = None,
) -> Figure:
    """Draw two-dimensional cells: phases, scalars, or the mean tr(k)/d of a tensor field.

    What is drawn follows from the shape; non-negative values that sum to 1 over the last axis are volume fractions of
    phases, whose colours are blended. The first grid axis points to the right, the second up. The cells of a batch
    stand in a row and share their colours.

    Args:
        field: scalars (n1, n2), phases (n1, n2, num_phases) or tensors (n1, n2, 2, 2), or a batch of them with one
            more axis in front.
        lengths: edge lengths of the cell, two positive numbers; default: 1 and 1.
        labels: names of the phases for the legend, or none if empty; default: "phase 1", ...
        colorbar_label: what a scalar or tensor field is, with its unit.
        max_cells: of a larger batch only the first ones are drawn.
        ax: Matplotlib axes to draw a single cell into, whose figure is returned; default: a new figure.

    Raises:
        ValueError: if the shape is none of these, a value is not finite, or `lengths` or `labels` do not fit; if
            `ax` is given with a batch.

    Example:
        >>> figure = plot_field(np.eye(3)[np.arange(64).reshape(8, 8) % 3])
    """
    from matplotlib.colors import Normalize

    cells, are_phases = _as_cells(field)
    cells = cells[:max_cells]
    lengths = (1.0, 1.0) if lengths is None else tuple(float(length) for length in lengths)
    if len(lengths) != 2 or not all(0 < length < np.inf for length in lengths):
        raise ValueError(f"lengths are the two positive edge lengths of the cell; got {lengths}.")
    if ax is not None and len(cells) > 1:
        raise ValueError(f"ax holds one cell, but field is a batch of {len(cells)}; pass one member, or no ax.")
    if ax is None:
        width, height = 2.2 * np.array(lengths) / max(lengths)
        size = (width * len(cells) + 1.9, height + 0.6)
        figure, (axes,) = new_figure(1, len(cells), size, layout="compressed", sharey=True)
    else:
        figure, axes = ax.get_figure(root=True), [ax]

    colors: dict[str, Any] = {}
    if are_phases:
        palette = phase_colors(cells.shape[-1])
        cells = np.clip(cells @ palette, 0, 1)
    else:
        colors = {"norm": Normalize(cells.min(), cells.max()), "cmap": "viridis"}
    for one, cell in zip(axes, cells, strict=True):
        drawn = draw_values(one, cell, lengths, **colors)
        one.set_xlabel("$x_1$")
        set_ticks(one, lengths)
    axes[0].set_ylabel("$x_2$")
    if are_phases:
        phase_legend(figure if ax is None else ax, palette, labels)
    else:
        add_colorbar(drawn, axes, colorbar_label or "")
    return shown_once(figure)


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


def _as_cells(field: Any) -> tuple[np.ndarray, bool]:
    """The batch of scalar (batch, n1, n2) or phase (batch, n1, n2, num_phases) cells, and whether they are phases."""
    field = np.asarray(field, dtype=float)
    if not field.size:
        raise ValueError(f"field is empty: its shape is {field.shape}.")
    if not np.isfinite(field).all():
        raise ValueError(f"field has {np.sum(~np.isfinite(field))} values that are not finite.")
    sums_to_one = (
        field.ndim in (3, 4) and field.min() > -_PHASE_TOLERANCE and np.abs(field.sum(-1) - 1).max() < _PHASE_TOLERANCE
    )
    if sums_to_one and field.shape[-1] > 1:
        return field.reshape(-1, *field.shape[-3:]), True
    if field.ndim in (2, 3):
        return field.reshape(-1, *field.shape[-2:]), False
    if field.ndim in (4, 5) and field.shape[-2:] == (2, 2):
        return np.trace(field, axis1=-2, axis2=-1).reshape(-1, *field.shape[-4:-2]) / 2, False
    raise ValueError(
        "plot_field expects scalars (n1, n2), phases (n1, n2, num_phases) that sum to 1, or tensors (n1, n2, 2, 2), "
        f"with at most one batch axis in front; got shape {field.shape}."
    )
