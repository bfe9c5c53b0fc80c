"""Pictures of potential and flux in a conducting cell."""

from typing import Any

import numpy as np

from ..grids import Grid
from ..homogenization import CellProblem, CellSolution
from ._planes import Origin, Plane, fields_of_one_cell, new_panels
from ._style import Figure, add_colorbar, draw_values, in_unit, shown_once


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
    origin: Origin = "lower",
) -> Figure:
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

    Raises:
        ValueError: if the cell is one-dimensional, on a mesh or its unknown a vector; if `field` has batch axes or does
            not fit; if the solution is not finite; if `normal` or `position` is out of range.

    Example:
        >>> figure = plot_local_fields(cell, field, solve_cell(cell, field), flux_unit="W/(m K)")
    """
    grid = cell.grid
    if not isinstance(grid, Grid) or grid.ndim < 2 or cell.law.num_components(grid.ndim) != 1:
        raise ValueError(
            "plot_local_fields draws a potential on a grid in two or three dimensions; draw an elastic cell by"
            " plot_stresses, and components of other fields by plot_field, plot_image or plot_mesh."
        )
    plane = Plane(grid, normal, position, length_unit)
    _, flux = fields_of_one_cell("plot_local_fields", cell, field, solution, grid.ndim + 1)
    nodes = [plane.cut_nodes(part) for part in np.asarray(solution.corrector)]
    fluxes = [plane.cut(-part) for part in flux]
    magnitudes = [np.linalg.norm(drawn, axis=-1) for drawn in fluxes]
    size = max(np.abs(drawn).max() for drawn in nodes) or 1.0
    # Corners of phases are hot spots, which would darken all else.
    largest = max(np.quantile(drawn, 0.995) for drawn in magnitudes)
    clipped = "max" if max(drawn.max() for drawn in magnitudes) > largest else "neither"
    figure, axes = new_panels(2, [plane] * grid.ndim, origin)
    x, y = (np.linspace(0, length, n + 1) for length, n in zip(plane.lengths, plane.shape, strict=True))
    coordinates = dict(zip(plane.axes, np.meshgrid(x, y, indexing="ij"), strict=True))
    for m, (above, below) in enumerate(axes.T):
        colors = above.pcolormesh(x, y, nodes[m].T, shading="gouraud", cmap="RdBu_r", vmin=-size, vmax=size)
        potential = nodes[m] + coordinates.get(m, 0.0)
        step = grid.lengths[m] / 14
        levels = np.arange(np.floor(potential.min() / step), potential.max() / step + 1) * step
        above.contour(x, y, potential.T, levels=levels, colors="k", linewidths=0.7, linestyles="solid")
        above.set_title(f"unit gradient along $x_{m + 1}$", fontsize="medium")
        heat = draw_values(below, magnitudes[m], plane.lengths, cmap="viridis", vmin=0, vmax=largest)
        if m != plane.normal and largest > 0 and min(plane.shape) > 1:
            width = 0.25 + np.clip(magnitudes[m].T / largest, 0, 1) ** 0.5  # wider where more flows
            centers = ((edges[:-1] + edges[1:]) / 2 for edges in (x, y))
            along = (fluxes[m][..., axis].T for axis in plane.axes)
            below.streamplot(*centers, *along, color="w", linewidth=width, density=0.9, arrowsize=0.7)
        for ax in (above, below):
            plane.finish(ax, origin)
    add_colorbar(colors, axes[0], f"corrector{in_unit(length_unit)}\nand isolines of {quantity}")
    label = f"flux per unit gradient{in_unit(flux_unit)}\nand streamlines"
    add_colorbar(heat, axes[1], label, extend=clipped)
    return shown_once(figure)
