"""Pictures of cells, of clouds of tensors and of fits.

All return Matplotlib figures made by pyplot; none shows, saves or closes them, or changes a global setting.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .tensors import component_names, unique_components

if TYPE_CHECKING:
    import matplotlib.figure

# Told apart by the colour-blind and in grey: the first three are Paul Tol's "high contrast".
_COLORS = ("#004488", "#DDAA33", "#BB5566", "#88CCEE", "#117733", "#999933", "#AA4499", "#DDDDDD")
_MEASURED, _FITTED, _MUTED = "#004488", "#DD7733", "#B8B8B8"
_PHASE_TOLERANCE = 1e-3


def plot_field(
    field: Any,
    *,
    lengths: Sequence[float | int] | None = None,
    labels: Sequence[str] | None = None,
    colorbar_label: str | None = None,
    max_cells: int = 6,
    ax: Any = None,
) -> "matplotlib.figure.Figure":
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
        ax: Matplotlib axes to draw a single cell into; default: a new figure.

    Returns:
        The figure; with `ax`, the one that it belongs to.

    Raises:
        ValueError: if the shape is none of these, a value is not finite, or `lengths` or `labels` do not fit; if
            `ax` is given with a batch.

    Example:
        >>> figure = plot_field(np.eye(3)[np.arange(64).reshape(8, 8) % 3])
    """
    import matplotlib.pyplot as plt

    cells, kind = _as_cells(field)
    cells = cells[:max_cells]
    lengths = (1.0, 1.0) if lengths is None else tuple(float(length) for length in lengths)
    if len(lengths) != 2 or not all(0 < length < np.inf for length in lengths):
        raise ValueError(f"lengths are the two positive edge lengths of the cell; got {lengths}.")
    if ax is not None and len(cells) > 1:
        raise ValueError(f"ax holds one cell, but field is a batch of {len(cells)}; pass one member, or no ax.")
    if ax is None:
        width, height = 2.2 * np.array(lengths) / max(lengths)
        size = (width * len(cells) + 1.9, height + 0.6)
        figure, (axes,) = _new_figure(1, len(cells), size, layout="compressed", sharey=True)
    else:
        figure, axes = ax.get_figure(root=True), [ax]

    image: dict[str, Any] = {"origin": "lower", "extent": (0, lengths[0], 0, lengths[1]), "interpolation": "nearest"}
    if kind == "phases":
        palette = _phase_colors(cells.shape[-1])
        cells = np.clip(cells @ palette, 0, 1)
    else:
        image |= {"norm": plt.Normalize(cells.min(), cells.max()), "cmap": "viridis"}
    for one, cell in zip(axes, cells, strict=True):
        drawn = one.imshow(np.swapaxes(cell, 0, 1), **image)
        one.set_xlabel("$x_1$")
        for axis, length in ((one.xaxis, lengths[0]), (one.yaxis, lengths[1])):
            ticks = [0, length / 2, length]
            axis.set_ticks(ticks, [f"{tick:.4g}" for tick in ticks])
    axes[0].set_ylabel("$x_2$")
    if kind == "phases":
        # In the margin of our own figure, or beside the axes of the caller.
        owner, place = (figure, "outside center right") if ax is None else (ax, "center left")
        _phase_legend(owner, place, palette, labels)
    else:
        figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02, aspect=16, label=colorbar_label or "")
    return figure


def plot_cloud(
    measured: Any,
    fitted: Any = None,
    *,
    symbol: str = "K",
    unit: str = "",
    labels: tuple[str, str] = ("measured", "fitted"),
    max_points: int = 2000,
    fig: Any = None,
) -> "matplotlib.figure.Figure":
    """Draw clouds of effective tensors: scatter of each pair of components, histograms.

    Args:
        measured: symmetric tensors, shape (specimens, d, d).
        fitted: tensors to compare with, shape (any number, d, d).
        symbol: letter of the tensor in the labels of the axes.
        unit: unit of the components, for example "W/(m K)".
        labels: names of the two clouds.
        max_points: of a larger cloud the scatter shows evenly spaced members; the histograms count all.
        fig: Matplotlib figure or subfigure to draw into; default: a new figure.

    Returns:
        The figure.

    Raises:
        ValueError: if the tensors are not as described or not finite, or a cloud has fewer than 2.

    Example:
        >>> figure = plot_cloud(load_example("laguerre_plates"), unit="W/(m K)")
    """
    clouds = [_components("measured", measured)]
    if fitted is not None:
        clouds.append(_components("fitted", fitted))
        if clouds[0].shape[1] != clouds[1].shape[1]:
            raise ValueError(f"measured and fitted have {clouds[0].shape[1]} and {clouds[1].shape[1]} components.")
    p = clouds[0].shape[1]
    d = round((np.sqrt(8 * p + 1) - 1) / 2)
    names = [f"${symbol}_{{{name[1:]}}}$" + (f" [{unit}]" if unit else "") for name in component_names(d)]
    figure, axes = _new_figure(p, p, (2.1 * p, 2.1 * p), fig=fig)
    size = float(np.clip(6000 / len(clouds[0]), 5, 16))
    limits = [_padded(np.concatenate([cloud[:, i] for cloud in clouds])) for i in range(p)]
    styles: tuple[dict[str, Any], ...] = ({"color": _MEASURED, "zorder": 3}, {"color": _FITTED, "zorder": 2})
    for i, j in np.ndindex(p, p):
        one = axes[i, j]
        if j > i:
            one.set_visible(False)
            continue
        for cloud, style, label in zip(clouds, styles, labels, strict=False):
            if i == j:
                edges = np.histogram_bin_edges(clouds[0][:, i], bins=min(40, 8 + len(clouds[0]) // 25), range=limits[i])
                heights, _ = np.histogram(cloud[:, i], edges, density=True)
                first = cloud is clouds[0]
                one.stairs(heights, edges, fill=first, alpha=0.3 if first else 1, lw=1.6, label=label, **style)
            else:
                points = cloud[:: max(1, -(-len(cloud) // max_points))]
                one.scatter(points[:, j], points[:, i], s=size, alpha=0.5, lw=0, rasterized=True, **style)
        one.spines[["top", "right"]].set_visible(False)
        one.locator_params(nbins=5)
        one.set_xlim(limits[j])
        if i == j:
            one.set_yticks([])
            one.spines["left"].set_visible(False)
        else:
            one.set_ylim(limits[i])
        one.tick_params(labelbottom=i == p - 1, labelleft=j == 0 and i > 0)
        if i == p - 1:
            one.set_xlabel(names[j])
        if j == 0 and i > 0:
            one.set_ylabel(names[i])
    figure.align_labels()
    if len(clouds) > 1:
        handles, texts = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="upper right", frameon=False, bbox_to_anchor=(0.98, 0.98))
    return figure.get_figure(root=True)


def plot_convergence(fit: Any, *, ylabel: str = "loss", ax: Any = None) -> "matplotlib.figure.Figure":
    """Draw the loss of each start against the iteration, the best start highlighted.

    Args:
        fit: losses, shape (num_starts, num_iterations), or the result of a fit, which holds them as `losses`; a start
            that ended early is padded with NaN. The table of `basins` of a result is printed below the curves (not
            with `ax`), and the best start is the first of its first basin; else the one that ends with the least loss.
        ylabel: label of the axis of the losses; it is logarithmic if all losses are positive.
        ax: Matplotlib axes to draw into; default: a new figure.

    Returns:
        The figure; with `ax`, the one that it belongs to.

    Raises:
        ValueError: if the losses are not of this shape, or no start has a finite one.

    Example:
        >>> figure = plot_convergence(np.geomspace(1, [[1e-3], [1e-1]], 20, axis=-1))
    """
    losses = np.asarray(getattr(fit, "losses", fit), dtype=float)
    if losses.ndim != 2 or not np.isfinite(losses).any():
        raise ValueError(
            "plot_convergence expects finite losses of shape (num_starts, num_iterations), padded with NaN; "
            f"got shape {losses.shape}{' without a finite value' * (losses.ndim == 2)}."
        )
    finite = np.isfinite(losses)
    last = np.array([row[keep][-1] if keep.any() else np.inf for row, keep in zip(losses, finite, strict=True)])
    basins: Any = getattr(fit, "basins", ())
    best = int(basins[0].starts[0] if len(basins) else np.argmin(last))
    table = str(basins) if len(basins) and ax is None else ""
    if ax is None:
        lines = table.splitlines()
        # Wide enough for the table: a letter of 7 points is 0.0585 inches wide, up to 0.065 when rounded to pixels.
        size = (max([5.2, *(0.9 + 0.066 * len(line) for line in lines)]), 3.4 + 0.13 * len(lines))
        ax = _new_figure(1, 1, size)[1][0, 0]
    for start in sorted(range(len(losses)), key=lambda start: start == best):
        iterations = np.flatnonzero(finite[start])
        if not len(iterations):
            continue
        color, width = (_MEASURED, 2.0) if start == best else (_MUTED, 1.2)
        label = f"best of {len(losses)} starts" if start == best else ("other starts" if start == (best == 0) else None)
        ax.plot(iterations, losses[start, iterations], color=color, lw=width, label=label)
        ax.plot(iterations[-1], last[start], "o", color=color, ms=4.5)
    if (losses[finite] > 0).all():
        ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("iteration")
    ax.set_ylabel(ylabel)
    ax.grid(axis="y", color="0.92", lw=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    handles, texts = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], texts[::-1], frameon=False, loc="upper right")
    if table:
        # Below the label of the axis, from the left edge of the axes.
        style: dict[str, Any] = {"va": "top", "family": "monospace", "fontsize": 7}
        ax.annotate(table, (0, 0), (0, -42), xycoords="axes fraction", textcoords="offset points", **style)
    return ax.get_figure(root=True)


def _new_figure(num_rows, num_columns, size, *, layout="constrained", sharey=False, fig=None):
    """A figure and its axes, an array of two dimensions."""
    import matplotlib.pyplot as plt

    if fig is None:
        fig = plt.figure(figsize=size, layout=layout)
    return fig, fig.subplots(num_rows, num_columns, squeeze=False, sharey=sharey)


def _as_cells(field):
    """The batch of scalar (batch, n1, n2) or phase (batch, n1, n2, num_phases) cells, and which of the two it is."""
    field = np.asarray(field, dtype=float)
    if not field.size:
        raise ValueError(f"field is empty: its shape is {field.shape}.")
    if not np.isfinite(field).all():
        raise ValueError(f"field has {np.sum(~np.isfinite(field))} values that are not finite.")
    sums_to_one = (
        field.ndim in (3, 4) and field.min() > -_PHASE_TOLERANCE and np.abs(field.sum(-1) - 1).max() < _PHASE_TOLERANCE
    )
    if sums_to_one and field.shape[-1] > 1:
        return field.reshape(-1, *field.shape[-3:]), "phases"
    if field.ndim in (2, 3):
        return field.reshape(-1, *field.shape[-2:]), "scalar"
    if field.ndim in (4, 5) and field.shape[-2:] == (2, 2):
        return np.trace(field, axis1=-2, axis2=-1).reshape(-1, *field.shape[-4:-2]) / 2, "tensor"
    raise ValueError(
        "plot_field expects scalars (n1, n2), phases (n1, n2, num_phases) that sum to 1, or tensors (n1, n2, 2, 2), "
        f"with at most one batch axis in front; got shape {field.shape}."
    )


def _phase_colors(num_phases):
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if num_phases <= len(_COLORS):
        return np.array([to_rgb(color) for color in _COLORS[:num_phases]])
    return colormaps["viridis"](np.linspace(0, 1, num_phases))[:, :3]


def _phase_legend(owner, place, palette, labels):
    from matplotlib.patches import Patch

    labels = [f"phase {j + 1}" for j in range(len(palette))] if labels is None else list(labels)
    if labels and len(labels) != len(palette):
        raise ValueError(f"field has {len(palette)} phases, but there are {len(labels)} labels.")
    if labels:
        handles = [Patch(color=color, label=label) for color, label in zip(palette, labels, strict=True)]
        anchor = None if place.startswith("outside") else (1.02, 0.5)
        owner.legend(handles=handles, loc=place, bbox_to_anchor=anchor, frameon=False, handlelength=1, handleheight=1)


def _components(name, tensors):
    tensors = jnp.asarray(tensors)
    if tensors.ndim != 3 or tensors.shape[1] != tensors.shape[2] or len(tensors) < 2:
        raise ValueError(f"{name} must have shape (specimens, d, d), at least 2 specimens; got {tensors.shape}.")
    components = np.asarray(unique_components(tensors), dtype=float)
    if not np.isfinite(components).all():
        raise ValueError(f"{name} has {np.sum(~np.isfinite(components).all(axis=1))} tensors that are not finite.")
    return components


def _padded(values):
    low, high = values.min(), values.max()
    margin = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
    return low - margin, high + margin
