"""Colours, figures, axes and legends that the plots share."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import matplotlib.figure

# Told apart by the colour-blind and in grey: the first three are Paul Tol's "high contrast".
COLORS = ("#004488", "#DDAA33", "#BB5566", "#88CCEE", "#117733", "#999933", "#AA4499", "#DDDDDD")
MEASURED, FITTED, MUTED = "#004488", "#DD7733", "#B8B8B8"
Figure: TypeAlias = "matplotlib.figure.Figure"


def new_figure(
    num_rows: int, num_columns: int, size: Any, *, layout: str = "constrained", fig: Any = None, **options: Any
) -> tuple[Any, Any]:
    """A figure and its axes, an array of two dimensions."""
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=size, layout=layout) if fig is None else fig
    return fig, fig.subplots(num_rows, num_columns, squeeze=False, **options)


def axes_of(ax: Any, size: Any) -> Any:
    """The axes of the caller, or those of a new figure."""
    return new_figure(1, 1, size)[1][0, 0] if ax is None else ax


def shown_once(figure: Any) -> Any:
    """The figure, which a notebook shows once: where it is the value of a cell, and else at the end of the cell.

    Its inline backend shows all figures of pyplot at the end of a cell, also one that it has just shown as the value.
    """
    import matplotlib

    if "inline" in (matplotlib.get_backend(auto_select=False) or ""):
        figure._ipython_display_ = functools.partial(_display, figure)  # IPython looks for this method
    return figure


def _display(figure: Any) -> None:
    import matplotlib.pyplot as plt
    from IPython.display import display

    plt.close(figure)  # out of pyplot's list; the figure itself stays as it is
    vars(figure).pop("_ipython_display_", None)
    display(figure)


def in_unit(unit: str) -> str:
    """The end of a label with a unit."""
    return f" [{unit}]" if unit else ""


def draw_values(ax: Any, values: np.ndarray, lengths: Sequence[float | int], **options: Any) -> Any:
    """An array as a picture, its first axis to the right, the second up."""
    options |= {"origin": "lower", "extent": (0, lengths[0], 0, lengths[1]), "interpolation": "nearest"}
    return ax.imshow(np.swapaxes(values, 0, 1), **options)


def set_ticks(ax: Any, lengths: Sequence[float | int]) -> None:
    """Ticks at the ends and in the middle of both axes."""
    for axis, length in zip((ax.xaxis, ax.yaxis), lengths, strict=True):
        axis.set_ticks([0, length / 2, length], [f"{tick:.4g}" for tick in (0, length / 2, length)])


def add_colorbar(drawn: Any, axes: Any, label: str = "", **options: Any) -> None:
    """A colour bar beside one of the axes or several."""
    drawn.get_figure(root=True).colorbar(drawn, ax=axes, fraction=0.05, pad=0.02, aspect=16, label=label, **options)


def open_axes(ax: Any, **grid: Any) -> None:
    """Axes of curves: a light grid behind them, open above and to the right."""
    ax.grid(color="0.92", lw=0.8, **grid)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def phase_colors(num_phases: int) -> Float[np.ndarray, "phases 3"]:
    """One colour for each phase, shape (num_phases, 3)."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if num_phases <= len(COLORS):
        return np.array([to_rgb(color) for color in COLORS[:num_phases]])
    return colormaps["viridis"](np.linspace(0, 1, num_phases))[:, :3]


def phase_legend(owner: Any, palette: Float[np.ndarray, "phases 3"], labels: Sequence[str] | None) -> None:
    """Legend of the phases, in the margin of a figure or beside axes."""
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

    labels = [f"phase {j + 1}" for j in range(len(palette))] if labels is None else list(labels)
    if labels and len(labels) != len(palette):
        raise ValueError(f"field has {len(palette)} phases, but there are {len(labels)} labels.")
    if labels:
        handles = [Patch(color=color, label=label) for color, label in zip(palette, labels, strict=True)]
        beside = isinstance(owner, Axes)
        place = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if beside else {"loc": "outside center right"}
        owner.legend(handles=handles, frameon=False, handlelength=1, handleheight=1, **place)
