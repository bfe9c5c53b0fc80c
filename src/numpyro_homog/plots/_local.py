"""Pictures of local fields: potential and flux in a conducting cell, stress in an elastic one."""

from typing import Any

import numpy as np

from ..grids import Grid
from ..homogenization import CellProblem, CellSolution, LinearElasticity, local_fields
from ..homogenization._moduli import MANDEL_PAIRS
from ._planes import Origin, Plane, new_panels
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
    _, flux = _fields_of_one_cell("plot_local_fields", cell, field, solution, grid.ndim + 1)
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
    parts = _fields_of_one_cell("plot_stresses", cell, field, solution, d + 2)
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


def _fields_of_one_cell(
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
