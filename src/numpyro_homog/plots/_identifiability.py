"""Pictures of predicted errors."""

from typing import Any

import numpy as np

from ._style import COLORS, MUTED, Figure, new_figure, open_axes, shown_once


def plot_identifiability(
    report: Any,
    *,
    num_data: tuple[int, int] = (100, 100_000),
    num_simulated: int | None = None,
    target: float = 0.05,
    ax: Any = None,
) -> Figure:
    """Draw the predicted relative errors against the number of specimens.

    Args:
        report: what `identifiability` returns. Parameters without a finite error are in the legend only.
        num_data: least and greatest number of measured specimens.
        num_simulated: number of simulated specimens; default: so many that their noise does not count.
        target: relative error that is marked, with the number of specimens for it, 0.05 for 5 %.
        ax: Matplotlib axes to draw into; default: a new figure.

    Returns:
        The figure; with `ax`, the one that it belongs to.

    Raises:
        ValueError: if the range is not increasing and positive, or `target` is not positive.

    Example:
        >>> figure = plot_identifiability(report, target=0.02)
    """
    least, most = num_data
    if not 0 < least < most:
        raise ValueError(f"num_data is a range (least, greatest) of positive numbers; got {num_data}.")
    needed = report.specimens_for(target)
    if ax is None:
        ax = new_figure(1, 1, (5.2, 3.6))[1][0, 0]
    sizes = np.unique(np.geomspace(least, most, 40).round().astype(int))
    errors = [report.relative_errors(int(size), num_simulated) for size in sizes]
    for number, (name, size) in enumerate(needed.items()):
        color = COLORS[number % len(COLORS)]
        curve = np.array([100 * error[name] for error in errors])
        if not np.isfinite(curve).all():
            ax.plot([], [], color=color, lw=2, label=f"{name}: no finite error")
            continue
        goal = f": N = {size:,} for {100 * target:.2g} %" if num_simulated is None else ""
        ax.plot(sizes, curve, color=color, lw=2, label=name + goal)
        if num_simulated is None and least <= size <= most:
            ax.plot(size, 100 * target, "o", color=color, ms=5)
    ax.axhline(100 * target, color=MUTED, lw=1, ls="--", zorder=0)
    ax.set(xscale="log", yscale="log", xlim=(least, most))
    ax.set(xlabel="measured specimens N", ylabel="predicted relative error [%]")
    open_axes(ax, which="major")
    ax.legend(frameon=False)
    return shown_once(ax.get_figure(root=True))
