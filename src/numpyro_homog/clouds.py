"""Compared sites as one cloud of points: tensors to unique components, each divided by its spread in the data."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from ._tracing import early
from .tensors import component_names, unique_components

_TENSOR_SIZES = (1, 2, 3, 6)  # of conductivities, and of stiffnesses as Mandel matrices


def component_cloud(values: Float[Array, "specimens ..."]) -> Float[Array, "specimens components"]:
    """Vector of the components of each specimen: unique ones of tensors, all entries of anything else.

    Args:
        values: shape (N, *batch, d, d) with d = 1, 2 or 3 for symmetric tensors, or stiffnesses as Mandel matrices with
            d = 3 in the plane, 6 in space; (N,), (N, p) and others are raveled.

    Returns:
        Components, shape (N, p), in the unit of the values.
    """
    values = jnp.asarray(values)
    if _is_tensor(values.shape[1:]):
        values = unique_components(values)
    return values.reshape(values.shape[0], -1)


class CloudScale:
    """How compared sites become the points of a cloud: made from the data, used for data and simulations alike.

    Each component is divided by its standard deviation in the data. Components without spread are dropped, with a
    warning; several keys are concatenated.

    Args:
        data: key -> measured values, shape (N, *event), at least two specimens, the same number for all keys.

    Attributes:
        keys: the compared keys.
        num_specimens: number N of measured specimens.
        names: name of each component of the cloud, "K_eff[K11]".
        scales: standard deviation of each component in the data, shape (p,), in the unit of the values.

    Raises:
        ValueError: if there are no data, fewer than two specimens, different numbers of them, values that are not
            finite or not numbers, a tensor that is not symmetric, or no component with spread.

    Example:
        >>> scale = CloudScale({"K_eff": measured})
        >>> scale.cloud({"K_eff": simulated}).shape
        (4000, 3)
    """

    def __init__(self, data: Any):
        if not isinstance(data, Mapping) or not data:
            raise ValueError('The data are a dictionary from compared sites to measured values: {"K_eff": measured}.')
        self.keys = tuple(data)
        arrays = {key: _checked(key, value) for key, value in data.items()}
        sizes = {key: array.shape[0] for key, array in arrays.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"Compared sites are measured on the same specimens, but the numbers differ: {sizes}.")
        self.num_specimens = sizes[self.keys[0]]
        if self.num_specimens < 2:
            raise ValueError(
                "The data hold one specimen only: a distribution cannot be seen. Pass two at the very least."
            )
        self.event_shapes = {key: array.shape[1:] for key, array in arrays.items()}

        self._kept, scales, names, dropped = {}, [], [], []
        for key, array in arrays.items():
            components = _numpy_components(array)
            deviation = components.std(axis=0, dtype=float)
            precision = np.finfo(array.dtype).eps if array.dtype.kind == "f" else np.finfo(float).eps
            kept = deviation > 100 * precision * np.max(np.abs(components), initial=0.0)
            labels = _labels(key, array.shape[1:])
            self._kept[key] = np.flatnonzero(kept)
            scales.append(deviation[kept])
            names += [label for label, keep in zip(labels, kept, strict=True) if keep]
            dropped += [label for label, keep in zip(labels, kept, strict=True) if not keep]
        if not names:
            raise ValueError(
                "All specimens in the data are identical (zero standard deviation): there is no distribution to"
                " compare. Use a model of one specimen with an ordinary likelihood instead."
            )
        if dropped:
            warnings.warn(f"Components without spread in the data are dropped: {dropped}.", UserWarning, stacklevel=2)
        self.names = tuple(names)
        self.scales = np.concatenate(scales)
        self._data = arrays

    def data_cloud(self) -> Float[Array, "specimens components"]:
        """Cloud of the data, shape (N, p), dimensionless."""
        return early(lambda: self.cloud({key: jnp.asarray(array) for key, array in self._data.items()}))

    def cloud(self, values: Mapping[str, Any]) -> Float[Array, "specimens components"]:
        """Cloud of simulated or measured values.

        Args:
            values: key -> values, shape (M, *event) with the event shape of the data.

        Returns:
            Points, shape (M, p), dimensionless. Differentiable; NaN where a value is NaN.
        """
        parts = [component_cloud(values[key])[:, self._kept[key]] for key in self.keys]
        floating = [part.dtype for part in parts if jnp.issubdtype(part.dtype, jnp.floating)]
        dtype = np.result_type(*floating) if floating else jnp.result_type(float)
        return jnp.concatenate([part.astype(dtype) for part in parts], axis=1) / jnp.asarray(self.scales[None], dtype)

    def check_model(
        self, event_shapes: Mapping[str, tuple[int, ...]], effective: Iterable[str], num_simulated: int
    ) -> None:
        """Refuse data that the model cannot make at all.

        Args:
            event_shapes: key -> event shape of the site in the model (`Population.compared`).
            effective: the keys of effective tensors (`Population.effective`).
            num_simulated: number of simulated specimens.

        Raises:
            ValueError: if the shape of one specimen in the data is not that of the site, one specimen only is
                simulated, or the data hold tensors that are not positive definite where the model makes effective ones.
        """
        for key in self.keys:
            measured, expected = self.event_shapes[key], tuple(event_shapes[key])
            if expected != tuple(measured):
                advice = _way_to_tensors(key, measured, expected)
                raise ValueError(
                    f"One specimen of data['{key}'] has shape {measured}, but site '{key}' of the model has event shape"
                    f" {expected}; data must have shape (num_specimens, *event).{advice}"
                )
        if num_simulated < 2:
            raise ValueError(
                "The model simulates one specimen: a distribution cannot be seen. Give its plate some times as many"
                f" specimens as are measured, {self.num_specimens}."
            )
        for key in effective:
            least = np.linalg.eigvalsh(np.asarray(self._data[key], float)).reshape(self.num_specimens, -1).min(axis=1)
            if (least <= 0).any():
                raise ValueError(
                    f"data['{key}'] holds tensors that are not positive definite in specimens"
                    f" {np.flatnonzero(least <= 0)[:10].tolist()} (least eigenvalue {least.min():.3g}), but the model"
                    " compares an effective tensor there, which always is. Is a sign or an order of components wrong?"
                    " Leave these specimens out; or if it is the noise of the measurement, model it: compare a site"
                    f" `numpyro.sample('{key}', dist.Normal(tensor, noise).to_event(2))` inside the plate."
                )


def without_failed(specimens: PyTree, max_failed: float) -> tuple[PyTree, Int[Array, " M"]]:
    """Replace specimens with a value that is not finite by other specimens, if they are few.

    So they are left out at a static shape: the law of the others is compared.

    Args:
        specimens: arrays with M specimens along their first axis.
        max_failed: largest fraction of the M specimens that may be left out.

    Returns:
        The arrays, and the row that each specimen now has; as they came if more have failed. Traceable.
    """
    leaves = jax.tree.leaves(specimens)
    good = jnp.stack([jnp.isfinite(x).reshape(len(x), -1).all(1) for x in leaves]).all(0)
    num_failed = jnp.sum(~good)
    # Good rows first; the failed take them in turn.
    order = jnp.argsort(~good, stable=True)
    turn = (jnp.cumsum(~good) - 1) % jnp.maximum(good.size - num_failed, 1)
    rows = jnp.arange(good.size)
    rows = jnp.where(good | (num_failed > max_failed * good.size), rows, order[turn])
    return jax.tree.map(lambda x: x[rows], specimens), rows


def checked_fraction(max_failed: Any) -> float:
    """The fraction of specimens that may fail.

    Args:
        max_failed: what a user has passed.

    Raises:
        ValueError: if it is no fraction below one.
    """
    if not isinstance(max_failed, (int, float)) or not 0 <= max_failed < 1:
        raise ValueError(
            f"max_failed is the fraction of specimens that may fail, at least 0 and below 1; got {max_failed!r}."
        )
    return float(max_failed)


def _checked(key, value):
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.ndim < 1:
        raise ValueError(
            f"data['{key}'] must be real numbers, shape (num_specimens, *event); got {array.dtype} {array.shape}."
        )
    bad = ~np.isfinite(array).reshape(array.shape[0], -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"data['{key}'] has values that are not finite in specimens {np.flatnonzero(bad)[:10].tolist()};"
            " leave them out."
        )
    if _is_tensor(array.shape[1:]):
        asymmetry = np.abs(array - np.swapaxes(array, -1, -2)).reshape(array.shape[0], -1).max(axis=1)
        bad = asymmetry > 1e-3 * np.abs(array).reshape(array.shape[0], -1).max(axis=1)
        if bad.any():
            raise ValueError(
                f"data['{key}'] holds matrices that are not symmetric in specimens {np.flatnonzero(bad)[:10].tolist()}."
                " Square events are taken as symmetric tensors; compare a vector of components instead."
            )
    return array


def _is_tensor(event_shape):
    return len(event_shape) >= 2 and event_shape[-1] == event_shape[-2] and event_shape[-1] in _TENSOR_SIZES


def _way_to_tensors(key, measured, expected):
    d = expected[-1] if _is_tensor(expected) else 0
    if d == 0 or tuple(measured) != (*expected[:-2], d * (d + 1) // 2):
        return ""
    return (
        f" If these are the components {', '.join(component_names(d))} of symmetric tensors, pass"
        f" `tensors.from_unique_components(data['{key}'])`"
        + (" (stiffnesses as Mandel matrices; see `voigt_to_mandel`)." if d in (3, 6) else ".")
    )


def _numpy_components(array):
    return np.asarray(_component_view(array).reshape(array.shape[0], -1), float)


def _component_view(array):
    if not _is_tensor(array.shape[1:]):
        return array
    d = array.shape[-1]
    pairs = [(i, i) for i in range(d)] + list(zip(*np.triu_indices(d, 1), strict=True))
    return np.stack([array[..., i, j] for i, j in pairs], axis=-1)


def _labels(key, event_shape):
    if not event_shape:
        return [key]
    if _is_tensor(event_shape):
        names = component_names(event_shape[-1])
        outer = [",".join(map(str, index)) for index in np.ndindex(*event_shape[:-2])]
        return [f"{key}[{index + ',' if index else ''}{name}]" for index in outer for name in names]
    return [f"{key}[{','.join(map(str, index))}]" for index in np.ndindex(*event_shape)]
