"""Pictures of images and of local fields: slices in three dimensions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..grids import Grid
from ..homogenization import CellProblem, CellSolution, local_fields
from ._style import new_figure, phase_colors, phase_legend, shown_once

if TYPE_CHECKING:
    import matplotlib.figure

_MAX_LABELS = 8


def plot_image(
    values: Any,
    grid: Grid,
    *,
    labels: Sequence[str] | None = None,
    colorbar_label: str = "grey value",
    length_unit: str = "",
    position: float = 0.5,
    origin: Literal["lower", "upper"] = "lower",
) -> "matplotlib.figure.Figure":
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
    planes = [_plane(grid, normal, position) for normal in ((None,) if grid.ndim == 2 else (2, 1, 0))]
    are_labels = np.issubdtype(values.dtype, np.integer) and values.min() >= 0 and values.max() < _MAX_LABELS
    figure, axes = _panels(1, planes, origin)
    for ax, plane in zip(axes[0], planes, strict=True):
        drawn = _slice(values, plane)
        options = {"origin": "lower", "extent": (0, plane.lengths[0], 0, plane.lengths[1]), "interpolation": "nearest"}
        if are_labels:
            palette = phase_colors(int(values.max()) + 1)
            ax.imshow(palette[np.swapaxes(drawn, 0, 1)], **options)
        else:
            image = ax.imshow(drawn.T, cmap="gray", vmin=values.min(), vmax=values.max(), **options)
        _finish(ax, plane, length_unit, origin)
        if grid.ndim == 3:
            ax.set_title(plane.name(length_unit), fontsize="medium")
    if are_labels:
        phase_legend(figure, "outside center right", palette, labels)
    else:
        figure.colorbar(image, ax=axes[0].tolist(), fraction=0.05, pad=0.02, aspect=16, label=colorbar_label)
    return shown_once(figure)


def plot_local_fields(
    cell: CellProblem,
    field: Any,
    solution: CellSolution,
    *,
    quantity: str = "temperature",
    length_unit: str = "",
    flux_unit: str = "",
    normal: int = 2,
    position: float = 0.5,
    origin: Literal["lower", "upper"] = "lower",
) -> "matplotlib.figure.Figure":
    """Draw corrector and flux of a solved conduction problem, one column for each load case.

    Above: the corrector w_m in colour and isolines of the potential x_m + w_m, at equal steps. Below: the magnitude of
    the flux and streamlines of q = -k grad (x_m + w_m), from high potential to low, wider where more flows; the colours
    end at the 99.5th percentile. In three dimensions all is drawn on a plane, with the streamlines of the components
    in it, and none for the load case across it.

    Args:
        cell: the cell problem; its law has one unknown, as `Conductivity` has.
        field: the coefficient, without batch axes.
        solution: what `solve_cell(cell, field)` returned.
        quantity: name of the potential, for the titles.
        length_unit: unit of the lengths and of the corrector.
        flux_unit: unit of the coefficient, which is that of the flux for a gradient of one.
        normal: axis across the plane of a three-dimensional cell: 0, 1 or 2.
        position: where the plane is, as a fraction of the length, in [0, 1].
        origin: "upper" turns the second axis down, as it runs in pictures that were loaded with axes="yx".

    Returns:
        The figure.

    Raises:
        ValueError: if the cell is one-dimensional or its unknown a vector; if `field` has batch axes or does not fit;
            if the solution is not finite; if `normal` or `position` is out of range.

    Example:
        >>> figure = plot_local_fields(cell, field, solve_cell(cell, field), flux_unit="W/(m K)")
    """
    grid = cell.grid
    corrector = np.asarray(solution.corrector)
    if grid.ndim < 2 or cell.law.num_components(grid.ndim) != 1:
        raise ValueError(
            "plot_local_fields draws a potential in two or three dimensions; draw an elastic cell by plot_stresses, and"
            " components of other fields, such as those of local_fields, by plot_field or plot_image."
        )
    if corrector.ndim != grid.ndim + 1:
        raise ValueError(
            f"plot_local_fields draws one cell, but the solution is a batch {corrector.shape}; take a member."
        )
    if not np.isfinite(corrector).all():
        raise ValueError("The solution is not finite: solve_cell failed, and its result says why.")
    flux = -np.asarray(local_fields(cell, field, solution).flux)
    plane = _plane(grid, None if grid.ndim == 2 else normal, position)
    loads = range(grid.ndim)
    nodes = [_slice(corrector[m], plane, nodes=True) for m in loads]
    fluxes = [_slice(flux[m], plane) for m in loads]
    magnitudes = [np.linalg.norm(drawn, axis=-1) for drawn in fluxes]
    size = max(np.abs(drawn).max() for drawn in nodes) or 1.0
    # Corners of phases are hot spots, which would darken all else.
    largest = max(np.quantile(drawn, 0.995) for drawn in magnitudes)
    clipped = "max" if max(drawn.max() for drawn in magnitudes) > largest else "neither"
    figure, axes = _panels(2, [plane] * grid.ndim, origin)
    x, y = (np.linspace(0, length, n + 1) for length, n in zip(plane.lengths, plane.shape, strict=True))
    for m, (above, below) in enumerate(axes.T):
        colors = above.pcolormesh(x, y, nodes[m].T, shading="gouraud", cmap="RdBu_r", vmin=-size, vmax=size)
        potential = nodes[m] + _coordinate(grid, m, plane, x, y)
        step = grid.lengths[m] / 14
        levels = np.arange(np.floor(potential.min() / step), potential.max() / step + 1) * step
        above.contour(x, y, potential.T, levels=levels, colors="k", linewidths=0.7, linestyles="solid")
        above.set_title(f"unit gradient along $x_{m + 1}$", fontsize="medium")
        extent = (0, plane.lengths[0], 0, plane.lengths[1])
        heat = below.imshow(
            magnitudes[m].T,
            origin="lower",
            extent=extent,
            cmap="viridis",
            vmin=0,
            vmax=largest,
            interpolation="nearest",
        )
        if m != plane.normal and largest > 0 and min(plane.shape) > 1:
            _streamlines(below, plane, fluxes[m][..., plane.axes], magnitudes[m] / largest)
        for ax in (above, below):
            _finish(ax, plane, length_unit, origin)
    rows = (
        (colors, f"corrector{_in(length_unit)}\nand isolines of {quantity}", "neither"),
        (heat, f"flux per unit gradient{_in(flux_unit)}\nand streamlines", clipped),
    )
    for row, (drawn, label, extend) in zip(axes, rows, strict=True):
        figure.colorbar(drawn, ax=row.tolist(), fraction=0.05, pad=0.02, aspect=16, label=label, extend=extend)
    if grid.ndim == 3:
        figure.suptitle(f"on the plane {plane.name(length_unit)}", fontsize="medium")
    return shown_once(figure)


class _Plane:
    """A plane of a grid: its two axes, and the voxel it cuts on the third."""

    def __init__(self, grid, normal, position):
        self.normal = normal
        self.axes = [axis for axis in range(grid.ndim) if axis != normal]
        self.shape = [grid.shape[axis] for axis in self.axes]
        self.lengths = [grid.lengths[axis] for axis in self.axes]
        self.index, self.place = 0, 0.0
        if normal is not None:
            self.index = min(int(position * grid.shape[normal]), grid.shape[normal] - 1)
            self.place = (self.index + 0.5) * grid.spacing[normal]

    def name(self, unit):
        return f"$x_{self.normal + 1} = {self.place:.6g}$" + (f" {unit}" if unit else "")


def _plane(grid, normal, position):
    if not 0 <= position <= 1:
        raise ValueError(f"position is a fraction of the length, in [0, 1]; got {position}.")
    if normal is not None and normal not in range(grid.ndim):
        raise ValueError(f"normal is the axis across the plane: 0, 1 or 2; got {normal}.")
    return _Plane(grid, normal, position)


def _slice(values, plane, *, nodes=False):
    """Values on a plane, first of its two axes first; of nodes also those of the far edges, which may be periodic."""
    if plane.normal is not None:
        taken = np.take(values, plane.index, plane.normal)
        if nodes:  # between two layers of nodes, where the plane of voxel centres is
            taken = (taken + np.take(values, (plane.index + 1) % values.shape[plane.normal], plane.normal)) / 2
        values = taken
    if not nodes:
        return values
    return np.pad(values, [(0, n + 1 - m) for n, m in zip(plane.shape, values.shape, strict=True)], mode="wrap")


def _coordinate(grid, axis, plane, x, y):
    """The coordinate along an axis at the nodes of a plane."""
    if axis == plane.normal:
        return np.zeros((len(x), len(y)))
    return np.broadcast_to(x[:, None] if axis == plane.axes[0] else y, (len(x), len(y)))


def _panels(num_rows, planes, origin):
    """A figure of rows of panels, one column for each plane, in one scale."""
    if origin not in ("lower", "upper"):
        raise ValueError(f"origin must be 'lower' or 'upper'; got {origin!r}.")
    longest = max(max(plane.lengths) for plane in planes)
    widths = [plane.lengths[0] / longest for plane in planes]
    height = max(plane.lengths[1] / longest for plane in planes)
    size = (2.6 * sum(widths) + 0.5 * len(planes) + 1.4, num_rows * (2.6 * height + 0.7))
    return new_figure(num_rows, len(planes), size, layout="compressed", width_ratios=widths)


def _finish(ax, plane, length_unit, origin):
    for axis, which, length, label in zip(
        (ax.xaxis, ax.yaxis), plane.axes, plane.lengths, (ax.set_xlabel, ax.set_ylabel), strict=True
    ):
        ticks = [0, length / 2, length]
        axis.set_ticks(ticks, [f"{tick:.4g}" for tick in ticks])
        label(f"$x_{which + 1}${_in(length_unit)}")
    ax.set_xlim(0, plane.lengths[0])
    ax.set_ylim((0, plane.lengths[1]) if origin == "lower" else (plane.lengths[1], 0))
    ax.set_aspect("equal")


def _streamlines(ax, plane, flux, strength):
    """Streamlines of the components in the plane, wider where more flows; `strength` is about one at most."""
    x, y = (np.linspace(0.5, n - 0.5, n) * length / n for n, length in zip(plane.shape, plane.lengths, strict=True))
    width = 0.25 + np.clip(strength, 0, 1) ** 0.5
    ax.streamplot(x, y, flux[..., 0].T, flux[..., 1].T, color="w", linewidth=width.T, density=0.9, arrowsize=0.7)


def _in(unit):
    return f" [{unit}]" if unit else ""
