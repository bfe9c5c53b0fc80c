"""Levenberg-Marquardt in small dense arrays on the host."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import numpy as np

from ._objective import Evaluation

RUNNING, CONVERGED, STALLED, EXHAUSTED, FAILED = "running", "converged", "stalled", "max_steps", "failed"
ABANDONED = "abandoned"
_MAX_DAMPING = 1e8


class LevenbergMarquardt(eqx.Module):
    """How the least-squares fit of `MinimumDistance` proceeds.

    All starts first descend on a part of the population (screening: the noise is nested, so the part behaves as the
    whole does, less precisely), and before that, as long as they are far from the data, on a few specimens only. Their
    ends are sorted into basins, and the best basin, with every basin that sampling noise cannot tell from it, is
    polished on the whole population.

    Args:
        tolerance: a descent ends when the step that is left would lower the divergence by less than this fraction of
            it, or ten times that (at most 1e-2) and is refused. The divergence at its minimum is about the sampling
            noise, so 1e-3 leaves an error of a few percent of a standard error.
        max_steps: most trial points of one descent.
        num_screening: number of specimens for the screening. Default: one sixteenth of the population, at least 500;
            a population less than twice as large is not screened.
        num_scouting: number of specimens while a start is far from the data: until its divergence is within a few
            times the noise of so small a sample. Unused if the screening is not four times as large.
        max_polished: most basins that are polished in a round.
        max_rounds: most rounds of starts. Another one follows only if the best loss exceeds three times the noise
            floor (then no start has found the right basin, or the model is wrong), if one start alone has found the
            best basin, or if that leaves something undetermined (a descent may have run away). One more follows if the
            loss is above 1.5 times the noise floor, as one right fit in ten is. None follows if nearly all starts agree
            on a loss that 60 specimens would refuse: then it is the model.

    Raises:
        ValueError: at construction, if a number is not positive.
    """

    tolerance: float = 1e-3
    max_steps: int = 40
    num_screening: int | None = None
    num_scouting: int = 64
    max_polished: int = 3
    max_rounds: int = 3

    def __check_init__(self):
        for name in ("tolerance", "max_steps", "num_screening", "num_scouting", "max_polished", "max_rounds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"LevenbergMarquardt({name}=...) must be positive; got {value}.")


class Descent(NamedTuple):
    """One descent: everything the next step depends on, as arrays that a checkpoint can hold."""

    position: np.ndarray
    evaluation: Evaluation
    damping: np.ndarray
    growth: np.ndarray
    losses: np.ndarray
    num_evaluations: np.ndarray
    status: str
    num_populations: np.ndarray = np.array(1)  # that the position is a mean of

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The state as a flat dictionary of arrays, without pickles."""
        own = {name: np.asarray(value) for name, value in self._asdict().items() if name != "evaluation"}
        return own | {f"evaluation.{name}": value for name, value in self.evaluation._asdict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Descent":
        """The inverse of `to_arrays`."""
        evaluation = Evaluation(*(arrays[f"evaluation.{name}"] for name in Evaluation._fields))
        own = {name: arrays[name] for name in cls._fields if name not in ("evaluation", "status")}
        return cls(evaluation=evaluation, status=str(arrays["status"]), **own)


def start_descent(position: np.ndarray, evaluate: Callable, settings: LevenbergMarquardt, scale: np.ndarray) -> Descent:
    """A descent at its first point; it has failed if that point cannot be evaluated.

    Args:
        position: the point.
        evaluate: position -> `Evaluation`.
        settings: the limits.
        scale: typical size of each coordinate, shape (P,).
    """
    evaluation = evaluate(position)
    status = RUNNING if evaluation.is_finite else FAILED
    if status == RUNNING and promised_fall(evaluation, scale) <= settings.tolerance * evaluation.value:
        status = CONVERGED
    losses = np.array([evaluation.value if status != FAILED else np.nan])
    return Descent(position, evaluation, np.array(0.01), np.array(2.0), losses, np.array(1), status)


def step_descent(
    descent: Descent,
    evaluate: Callable,
    settings: LevenbergMarquardt,
    scale: np.ndarray,
    tolerance: float,
    floor: float = 0.0,
) -> Descent:
    """One trial point of a descent.

    The step solves (H + damping D) step = -gradient; its entries are at most two `scale`.

    Args:
        descent: the state before; its status is "running".
        evaluate: position -> `Evaluation`; a point where it is not finite is rejected and the damping grows.
        settings: the limits.
        scale: typical size of each coordinate, shape (P,); the standard deviation of the prior.
        tolerance: relative fall of the divergence that counts as nothing.
        floor: divergence that is good enough.
    """
    position, current = descent.position, descent.evaluation
    damping, growth, status = float(descent.damping), float(descent.growth), RUNNING
    smooth = current.curvature - current.curvature_noise
    while True:
        # Each entry for itself: a weak parameter that wants to go far must not shorten the step of the others.
        step = np.clip(damped_step(current, damping, scale), -2 * scale, 2 * scale)
        predicted = -2 * current.gradient @ step - step @ smooth @ step
        if predicted > 0 or damping > _MAX_DAMPING:
            break
        damping *= 3
    trial = (position + step).astype(position.dtype)
    proposed = evaluate(trial)
    ratio = (current.value - proposed.value) / predicted if proposed.is_finite and predicted > 0 else -1.0
    if ratio > 1e-3:
        # Nielsen's rule: the damping falls smoothly with the quality of the prediction.
        damping, growth = max(damping * max(0.1, 1 - (2 * ratio - 1) ** 3), 1e-9), 2.0
        position, current = trial, proposed
        if promised_fall(current, scale) <= tolerance * current.value or current.value <= floor:
            status = CONVERGED
    else:
        damping, growth = damping * growth * (1 if proposed.is_finite else 5), 2 * growth
        # The divergence of finite clouds is rough on small scales: no descent goes on there.
        if predicted <= min(10 * tolerance, 1e-2) * current.value:
            status = CONVERGED
        elif damping > _MAX_DAMPING:
            status = STALLED
    num_evaluations = descent.num_evaluations + 1
    if status == RUNNING and num_evaluations > settings.max_steps:
        status = EXHAUSTED
    losses = np.append(descent.losses, current.value)
    return Descent(position, current, np.array(damping), np.array(growth), losses, num_evaluations, status)


def damped_step(evaluation: Evaluation, damping: float, scale: np.ndarray) -> np.ndarray:
    """The step -(H + damping D)^-1 gradient; zero along parameters without any effect.

    D is the diagonal of H, but at least a thousandth of its greatest entry, both in units of `scale`: where the
    divergence is insensitive to a parameter, damping still holds it.

    H is the positive part of the curvature without its noise: with the noise, steps along weak directions are too short
    and the descent crawls.

    Args:
        evaluation: quadratic model at the point.
        damping: at least 0.
        scale: typical size of each coordinate, shape (P,).
    """
    diagonal = np.diag(evaluation.curvature) * scale**2
    weight = np.sqrt(np.maximum(diagonal, 1e-3 * diagonal.max(initial=0.0)) + np.finfo(float).tiny) / scale
    values, vectors = np.linalg.eigh((evaluation.curvature - evaluation.curvature_noise) / weight / weight[:, None])
    inverse = 1 / (np.maximum(values, 0) + damping + 1e-10)
    return -(vectors * inverse) @ (vectors.T @ (evaluation.gradient / weight)) / weight


def promised_fall(evaluation: Evaluation, scale: np.ndarray) -> float:
    """Fall of the divergence that the (slightly damped) Newton step promises."""
    return -evaluation.gradient @ damped_step(evaluation, 1e-3, scale)
