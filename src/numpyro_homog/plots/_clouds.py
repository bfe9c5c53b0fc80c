"""Pictures of clouds of tensors."""

from typing import Any

import numpy as np
from jaxtyping import Float

from ..tensors import component_names, unique_components
from ._style import FITTED, MEASURED, Figure, in_unit, new_figure, shown_once


def plot_cloud(
    measured: Any,
    fitted: Any = None,
    *,
    symbol: str = "K",
    unit: str = "",
    labels: tuple[str, str] = ("measured", "fitted"),
    max_points: int = 2000,
    fig: Any = None,
) -> Figure:
    """Draw clouds of effective tensors: scatter of each pair of components, histograms.

    Args:
        measured: symmetric tensors, shape (specimens, d, d).
        fitted: tensors to compare with, shape (any number, d, d).
        symbol: letter of the tensor in the labels of the axes.
        unit: unit of the components, for example "W/(m K)".
        labels: names of the two clouds.
        max_points: of a larger cloud the scatter shows evenly spaced members; the histograms count all.
        fig: Matplotlib figure or subfigure to draw into; default: a new figure. The whole figure is returned.

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
    names = [f"${symbol}_{{{name}}}${in_unit(unit)}" for name in component_names(np.shape(measured)[-1], "")]
    figure, axes = new_figure(p, p, (2.1 * p, 2.1 * p), fig=fig)
    size = float(np.clip(6000 / len(clouds[0]), 5, 16))
    limits = [_padded(np.concatenate([cloud[:, i] for cloud in clouds])) for i in range(p)]
    for i, j in np.ndindex(p, p):
        one = axes[i, j]
        if j > i:
            one.set_visible(False)
            continue
        for cloud, color, label in zip(clouds, (MEASURED, FITTED), labels, strict=False):
            first = color == MEASURED
            style: dict[str, Any] = {"color": color, "zorder": 3 if first else 2}
            if i == j:
                bins = min(40, 8 + len(clouds[0]) // 25)
                heights, edges = np.histogram(cloud[:, i], bins, limits[i], density=True)
                one.stairs(heights, edges, fill=first, alpha=0.3 if first else 1, lw=1.6, label=label, **style)
            else:
                points = cloud[:: max(1, -(-len(cloud) // max_points))]
                one.scatter(points[:, j], points[:, i], s=size, alpha=0.5, lw=0, rasterized=True, **style)
        one.spines[["top", "right"]].set_visible(False)
        one.locator_params(nbins=5)
        one.set(xlim=limits[j], xlabel=names[j] if i == p - 1 else "", ylabel=names[i] if j == 0 and i > 0 else "")
        if i == j:
            one.set_yticks([])
            one.spines["left"].set_visible(False)
        else:
            one.set_ylim(limits[i])
        one.tick_params(labelbottom=i == p - 1, labelleft=j == 0 and i > 0)
    figure.align_labels()
    if len(clouds) > 1:
        entries = axes[0, 0].get_legend_handles_labels()
        figure.legend(*entries, loc="upper right", frameon=False, bbox_to_anchor=(0.98, 0.98))
    return shown_once(figure.get_figure(root=True))


def _components(name: str, tensors: Any) -> Float[np.ndarray, "specimens components"]:
    tensors = np.asarray(tensors, float)
    if tensors.ndim != 3 or tensors.shape[1] != tensors.shape[2] or len(tensors) < 2:
        raise ValueError(f"{name} must have shape (specimens, d, d), at least 2 specimens; got {tensors.shape}.")
    components = np.asarray(unique_components(tensors))
    if not np.isfinite(components).all():
        raise ValueError(f"{name} has {np.sum(~np.isfinite(components).all(axis=1))} tensors that are not finite.")
    return components


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = values.min(), values.max()
    margin = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
    return low - margin, high + margin
