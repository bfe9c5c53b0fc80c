"""What is minimised: a sum of squares of parameters, whose value has noise. It knows neither data nor statistics."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Evaluation(NamedTuple):
    """Quadratic model of an objective at a point, with the fields of a `Linearization`."""

    value: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray
    curvature_noise: np.ndarray
    num_groups: np.ndarray

    @classmethod
    def of_value(cls, value: float) -> "Evaluation":
        """A value and nothing else, for objectives without residuals."""
        return cls(np.array(value, float), np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)), np.array(1.0))

    @property
    def is_finite(self) -> bool:
        """Whether the point can be accepted."""
        return all(bool(np.isfinite(part).all()) for part in self)


class AbstractObjective(abc.ABC):
    """An objective under held noise, as precise as its number of specimens.

    To add one, implement the two methods and set the attributes; `infer._divergence_objective` is the file to imitate.

    Attributes:
        num_specimens: number of simulated specimens behind a value; values of different numbers do not compare.
        floor: value that noise alone makes where the model is right.
        has_local_models: whether descents end on local models; otherwise `local_model` is not called.
    """

    num_specimens: int
    floor: float
    has_local_models: bool

    @abc.abstractmethod
    def __call__(self, position: Float[np.ndarray, "P"]) -> Evaluation:
        """Evaluate at an unconstrained position, where one fresh look costs one simulation."""

    @abc.abstractmethod
    def local_model(
        self, position: Float[np.ndarray, "P"], number: int
    ) -> Callable[[Float[np.ndarray, "P"]], Evaluation]:
        """A smooth model about a position, with noise of its own for each number, that costs no further simulation."""
