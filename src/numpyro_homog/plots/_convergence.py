"""Pictures of fits."""

from typing import Any

import numpy as np

from ._style import MEASURED, MUTED, Figure, new_figure, open_axes, shown_once


def plot_convergence(fit: Any, *, ylabel: str = "loss", ax: Any = None) -> Figure:
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
        ax = new_figure(1, 1, size)[1][0, 0]
    for start in sorted(range(len(losses)), key=lambda start: start == best):
        color, width, label = MUTED, 1.2, "other starts" if start == (best == 0) else None
        if start == best:
            color, width, label = MEASURED, 2.0, f"best of {len(losses)} starts"
        iterations = np.flatnonzero(finite[start])
        if len(iterations):
            ax.plot(iterations, losses[start, iterations], color=color, lw=width, label=label)
            ax.plot(iterations[-1], last[start], "o", color=color, ms=4.5)
    if (losses[finite] > 0).all():
        ax.set_yscale("log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="iteration", ylabel=ylabel)
    open_axes(ax, axis="y")
    handles, texts = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], texts[::-1], frameon=False, loc="upper right")
    if table:
        # Below the label of the axis, from the left edge of the axes.
        style: dict[str, Any] = {"va": "top", "family": "monospace", "fontsize": 7}
        ax.annotate(table, (0, 0), (0, -42), xycoords="axes fraction", textcoords="offset points", **style)
    return shown_once(ax.get_figure(root=True))
