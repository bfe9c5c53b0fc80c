"""Pictures of fits and of predicted errors."""

from typing import Any

import numpy as np

from ._style import COLORS, MEASURED, MUTED, Figure, axes_of, open_axes, shown_once


def plot_convergence(fit: Any, *, ylabel: str = "loss", ax: Any = None) -> Figure:
    """Draw the loss of each start against the iteration, the best start highlighted.

    Args:
        fit: losses, shape (num_starts, num_iterations), or the result of a fit, which holds them as `losses`; a start
            that ended early is padded with NaN. The table of `basins` of a result is printed below the curves (not
            with `ax`), and the best start is the first of its first basin; else the one that ends with the least loss.
        ylabel: label of the axis of the losses; it is logarithmic if all losses are positive.
        ax: Matplotlib axes to draw into, whose figure is returned; default: a new figure.

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
    lines = table.splitlines()
    # Wide enough for the table: a letter of 7 points is 0.0585 inches wide, up to 0.065 when rounded to pixels.
    ax = axes_of(ax, (max([5.2, *(0.9 + 0.066 * len(line) for line in lines)]), 3.4 + 0.13 * len(lines)))
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
        place: dict[str, Any] = {"xytext": (0, -42), "xycoords": "axes fraction", "textcoords": "offset points"}
        ax.annotate(table, (0, 0), va="top", family="monospace", fontsize=7, **place)
    return shown_once(ax.get_figure(root=True))


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
        ax: Matplotlib axes to draw into, whose figure is returned; default: a new figure.

    Raises:
        ValueError: if the range is not increasing and positive, or `target` is not positive.

    Example:
        >>> figure = plot_identifiability(report, target=0.02)
    """
    least, most = num_data
    if not 0 < least < most:
        raise ValueError(f"num_data is a range (least, greatest) of positive numbers; got {num_data}.")
    needed = report.specimens_for(target)
    ax = axes_of(ax, (5.2, 3.6))
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
