"""Compared sites as one cloud of points: tensors to unique components, each divided by its spread in the data."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from .._tracing import at_trace_time
from ..tensors import component_names, unique_components

_TENSOR_SIZES = (1, 2, 3, 6)  # of conductivities, and of stiffnesses as Mandel matrices


def component_cloud(
    values: Num[Array | np.ndarray, "specimens *event"],
) -> Num[Array | np.ndarray, "specimens components"]:
    """Components of each specimen: unique ones of tensors, all entries of anything else.

    Args:
        values: of JAX or NumPy; (N, *batch, d, d) with d = 1, 2 or 3 for symmetric tensors, or stiffnesses as Mandel
            matrices with d = 3 in the plane, 6 in space; (N,), (N, p) and others are raveled.
    """
    if _is_tensor(values.shape[1:]):
        values = unique_components(values)
    return values.reshape(values.shape[0], -1)


class CloudScale:
    """How sites become points of a cloud: made from data, used for data and simulations.

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
        self._data = {key: _checked(key, value) for key, value in data.items()}
        self.keys = tuple(data)
        self.event_shapes = {key: array.shape[1:] for key, array in self._data.items()}
        sizes = {key: len(array) for key, array in self._data.items()}
        self.num_specimens = sizes[self.keys[0]]
        if len(set(sizes.values())) > 1:
            raise ValueError(f"Compared sites are measured on the same specimens, but the numbers differ: {sizes}.")
        if self.num_specimens < 2:
            raise ValueError(
                "The data hold one specimen only: a distribution cannot be seen. Pass two at the very least."
            )
        names: list[tuple[str, bool]] = []
        self._kept, scales = {}, []
        for key, array in self._data.items():
            components = np.ascontiguousarray(component_cloud(array.astype(float)))
            deviation = components.std(axis=0)
            precision = np.finfo(array.dtype if array.dtype.kind == "f" else float).eps
            kept = deviation > 100 * precision * np.max(np.abs(components), initial=0.0)
            self._kept[key] = np.flatnonzero(kept)
            scales.append(deviation[kept])
            names += zip(_labels(key, array.shape[1:]), kept, strict=True)
        self.names = tuple(name for name, kept in names if kept)
        self.scales = np.concatenate(scales)
        if not self.names:
            raise ValueError(
                "All specimens in the data are identical (zero standard deviation): there is no distribution to"
                " compare. Use a model of one specimen with an ordinary likelihood instead."
            )
        dropped = [name for name, kept in names if not kept]
        if dropped:
            warnings.warn(f"Components without spread in the data are dropped: {dropped}.", UserWarning, stacklevel=2)

    def data_cloud(self) -> Float[Array, "specimens components"]:
        """Cloud of the data, shape (N, p), dimensionless."""
        return at_trace_time(self.cloud, self._data)

    def cloud(self, values: Mapping[str, Any]) -> Float[Array, "specimens components"]:
        """Points of values by key, (M, *event) with the event shapes of the data: (M, p), dimensionless.

        Differentiable; NaN where a value is NaN.
        """
        parts = [component_cloud(jnp.asarray(values[key]))[:, self._kept[key]] for key in self.keys]
        floating = [part.dtype for part in parts if jnp.issubdtype(part.dtype, jnp.floating)]
        dtype = np.result_type(*floating) if floating else jnp.result_type(float)
        return jnp.concatenate([part.astype(dtype) for part in parts], axis=1) / jnp.asarray(self.scales[None], dtype)

    def check_model(
        self, event_shapes: Mapping[str, tuple[int, ...]], effective: Iterable[str], num_simulated: int
    ) -> None:
        """Refuse data that the model cannot make at all.

        Args:
            event_shapes: key -> event shape of the site in the model.
            effective: the keys of effective tensors.
            num_simulated: number of simulated specimens.

        Raises:
            ValueError: if shapes differ, one specimen is simulated only, or effective tensors are not positive.
        """
        for key, measured in self.event_shapes.items():
            expected = tuple(event_shapes[key])
            if expected != measured:
                raise ValueError(
                    f"One specimen of data['{key}'] has shape {measured}, but site '{key}' of the model has event shape"
                    f" {expected}; data must have shape (num_specimens, *event)."
                    + _way_to_tensors(key, measured, expected)
                )
        if num_simulated < 2:
            raise ValueError(
                "The model simulates one specimen: a distribution cannot be seen. Give its plate some times as many"
                f" specimens as are measured, {self.num_specimens}."
            )
        for key in effective:
            least = np.linalg.eigvalsh(np.asarray(self._data[key], float)).reshape(self.num_specimens, -1).min(axis=1)
            _refuse(
                least <= 0,
                f"data['{key}'] holds tensors that are not positive definite",
                f" (least eigenvalue {least.min():.3g}), but the model"
                " compares an effective tensor there, which always is. Is a sign or an order of components wrong?"
                " Leave these specimens out; or if it is the noise of the measurement, model it: compare a site"
                f" `numpyro.sample('{key}', dist.Normal(tensor, noise).to_event(2))` inside the plate.",
            )


def _refuse(bad: Bool[np.ndarray, " specimens"], what: str, advice: str) -> None:
    if bad.any():
        raise ValueError(f"{what} in specimens {np.flatnonzero(bad)[:10].tolist()}{advice}")


def _checked(key: str, value: Any) -> Num[np.ndarray, "specimens *event"]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.ndim < 1:
        raise ValueError(
            f"data['{key}'] must be real numbers, shape (num_specimens, *event); got {array.dtype} {array.shape}."
        )
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    _refuse(~finite, f"data['{key}'] has values that are not finite", "; leave them out.")
    if _is_tensor(array.shape[1:]):
        asymmetry, size = (np.abs(x).reshape(len(x), -1).max(axis=1) for x in (array - array.swapaxes(-1, -2), array))
        _refuse(
            asymmetry > 1e-3 * size,
            f"data['{key}'] holds matrices that are not symmetric",
            ". Square events are taken as symmetric tensors; compare a vector of components instead.",
        )
    return array


def _is_tensor(event_shape: tuple[int, ...]) -> bool:
    return len(event_shape) >= 2 and event_shape[-1] == event_shape[-2] and event_shape[-1] in _TENSOR_SIZES


def _way_to_tensors(key: str, measured: tuple[int, ...], expected: tuple[int, ...]) -> str:
    d = expected[-1] if _is_tensor(expected) else 0
    if d == 0 or measured != (*expected[:-2], d * (d + 1) // 2):
        return ""
    kind = " (stiffnesses as Mandel matrices; see `voigt_to_mandel`)" if d in (3, 6) else ""
    return (
        f" If these are the components {', '.join(component_names(d))} of symmetric tensors, pass"
        f" `tensors.from_unique_components(data['{key}'])`{kind}."
    )


def _labels(key: str, event_shape: tuple[int, ...]) -> list[str]:
    """Name of each component, in the order of `component_cloud`."""
    names = component_names(event_shape[-1]) if _is_tensor(event_shape) else ("",)
    outer = event_shape[:-2] if _is_tensor(event_shape) else event_shape
    places = [",".join(filter(None, [*map(str, index), name])) for index in np.ndindex(*outer) for name in names]
    return [f"{key}[{place}]" if place else key for place in places]
