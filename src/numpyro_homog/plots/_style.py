"""Colours, figures and legends that the plots share."""

import functools

import numpy as np

# Told apart by the colour-blind and in grey: the first three are Paul Tol's "high contrast".
COLORS = ("#004488", "#DDAA33", "#BB5566", "#88CCEE", "#117733", "#999933", "#AA4499", "#DDDDDD")
MEASURED, FITTED, MUTED = "#004488", "#DD7733", "#B8B8B8"


def new_figure(num_rows, num_columns, size, *, layout="constrained", sharey=False, width_ratios=None, fig=None):
    """A figure and its axes, an array of two dimensions."""
    import matplotlib.pyplot as plt

    if fig is None:
        fig = plt.figure(figsize=size, layout=layout)
    return fig, fig.subplots(num_rows, num_columns, squeeze=False, sharey=sharey, width_ratios=width_ratios)


def shown_once(figure):
    """The figure, which a notebook shows once: where it is the value of a cell, and else at the end of the cell.

    Its inline backend shows all figures of pyplot at the end of a cell, also one that it has just shown as the value.
    """
    import matplotlib

    if "inline" in (matplotlib.get_backend(auto_select=False) or ""):
        figure._ipython_display_ = functools.partial(_display, figure)  # IPython looks for this method
    return figure


def _display(figure):
    import matplotlib.pyplot as plt
    from IPython.display import display

    plt.close(figure)  # out of pyplot's list; the figure itself stays as it is
    vars(figure).pop("_ipython_display_", None)
    display(figure)


def phase_colors(num_phases):
    """One colour for each phase, shape (num_phases, 3)."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if num_phases <= len(COLORS):
        return np.array([to_rgb(color) for color in COLORS[:num_phases]])
    return colormaps["viridis"](np.linspace(0, 1, num_phases))[:, :3]


def phase_legend(owner, place, palette, labels):
    """Legend of the phases, in the margin of a figure or beside axes."""
    from matplotlib.patches import Patch

    labels = [f"phase {j + 1}" for j in range(len(palette))] if labels is None else list(labels)
    if labels and len(labels) != len(palette):
        raise ValueError(f"field has {len(palette)} phases, but there are {len(labels)} labels.")
    if labels:
        handles = [Patch(color=color, label=label) for color, label in zip(palette, labels, strict=True)]
        anchor = None if place.startswith("outside") else (1.02, 0.5)
        owner.legend(handles=handles, loc=place, bbox_to_anchor=anchor, frameon=False, handlelength=1, handleheight=1)
