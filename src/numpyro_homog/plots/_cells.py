"""Pictures of two-dimensional cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._style import Figure, add_colorbar, draw_values, new_figure, phase_colors, phase_legend, set_ticks, shown_once

_PHASE_TOLERANCE = 1e-3


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
