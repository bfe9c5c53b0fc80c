"""Pictures of plane meshes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..meshes import Mesh
from ._style import Figure, add_colorbar, axes_of, phase_colors, phase_legend, shown_once


def plot_mesh(
    mesh: Mesh,
    values: Any = None,
    *,
    labels: Sequence[str] | None = None,
    colorbar_label: str = "",
    edges: bool = True,
    ax: Any = None,
) -> Figure:
    """Draw a plane mesh: its phases, or one value for each element.

    Elements of second order are drawn with the edges between their corners and mid-side nodes.

    Args:
        mesh: the mesh, two-dimensional.
        values: scalars, shape (num_elements,), such as a coefficient or a component of `local_fields`; default: the
            phases of `mesh.labels`.
        labels: names of the phases for the legend, or none if empty; default: `mesh.tags`, or "phase 1", ...
        colorbar_label: what the values are, with their unit.
        edges: draw the edges of the elements.
        ax: Matplotlib axes to draw into, whose figure is returned; default: a new figure.

    Raises:
        ValueError: if the mesh is not two-dimensional, if `values` has another shape or is not finite, or if `labels`
            do not fit.

    Example:
        >>> mesh = Mesh([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]], "TRI3", labels=[0, 1])
        >>> figure = plot_mesh(mesh)
    """
    from matplotlib.collections import PolyCollection

    if mesh.ndim != 2:
        raise ValueError(f"plot_mesh draws plane meshes; this one has {mesh.ndim} dimensions.")
    values = None if values is None else np.asarray(values, float)
    if values is not None and values.shape != (mesh.num_elements,):
        raise ValueError(f"values must have one entry for each of {mesh.num_elements} elements; got {values.shape}.")
    if values is not None and not np.isfinite(values).all():
        raise ValueError(f"values has {np.sum(~np.isfinite(values))} entries that are not finite.")
    ax = axes_of(ax, 3.2 * np.array(mesh.lengths) / max(mesh.lengths) + (1.6, 0.6))
    num_nodes = mesh.elements.shape[1]
    # Corners come first; along the outline the nodes of the sides are between them.
    around = np.arange(num_nodes) if num_nodes < 6 else np.arange(num_nodes).reshape(2, -1).T.ravel()
    color, width = ("#00000066", 0.3) if edges else ("face", 0.1)
    outlines = PolyCollection(mesh.points[mesh.elements][:, around], edgecolors=color, linewidths=width)
    ax.add_collection(outlines)
    if values is None:
        palette = phase_colors(len(mesh.tags))
        if labels is None and mesh.tags != tuple(range(len(mesh.tags))):
            labels = [tag if isinstance(tag, str) else f"tag {tag}" for tag in mesh.tags]
        outlines.set_facecolor(palette[mesh.labels])
        phase_legend(ax, palette, labels)
    else:
        outlines.set_array(values)
        add_colorbar(outlines, ax, colorbar_label)
    (left, bottom), (width, height) = mesh.lower, mesh.lengths
    ax.set(xlim=(left, left + width), ylim=(bottom, bottom + height), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    return shown_once(ax.get_figure(root=True))
