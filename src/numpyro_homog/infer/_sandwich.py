"""Standard errors of a minimum-distance estimate, and what the data leave undetermined."""

from typing import NamedTuple

import numpy as np

from ._levenberg_marquardt import Evaluation


class Sandwich(NamedTuple):
    """Covariance of the estimate in unconstrained space.

    Attributes:
        covariance: H^-1 V H^-1 on the determined directions, shape (P, P).
        inverse: H^-1 on the determined directions, shape (P, P).
        undetermined: orthonormal directions that the data do not determine, shape (P, num).
        loss_scale: weight of the divergence in a Gibbs posterior of that size.
    """

    covariance: np.ndarray
    inverse: np.ndarray
    undetermined: np.ndarray
    loss_scale: float


def sandwich(evaluation: Evaluation, scatter: np.ndarray, eps: float) -> Sandwich:
    """Sandwich covariance with the noise of data and simulation.

    With D the divergence, H = mean(J J') its smooth Gauss-Newton curvature (the simulation noise taken off), V the
    covariance of the gradient: near the truth the estimate moves by H^-1 times the noise of the gradient. With S the
    covariance of the influence of one specimen on the gradient, N measured and M simulated specimens make
    V = S_data / N + S_simulated / M, and if the model is right

        cov = H^-1 S H^-1 (1/N + 1/M) = H^-1 (S / N) H^-1 (1 + N/M).

    A direction v is undetermined if v'Hv, with each parameter scaled to curvature one, is below rounding, or within
    three standard deviations of what simulation noise makes of zero.

    The loss scale: exp(-w D) has covariance (2 w H)^-1 about its mode. w = P / (2 tr(H cov)) makes the two agree in
    the trace weighted by H (the magnitude adjustment), which does not depend on how parameters are written.

    Args:
        evaluation: linearisation at the estimate.
        scatter: covariance V of the gradient, shape (P, P).
        eps: precision of the arithmetic that made them.

    References:
        Godambe, Ann. Math. Stat. 31 (1960); Gourieroux, Monfort and Renault, J. Appl. Econom. 8 (1993), for 1 + N/M;
        Pauli, Racugno and Ventura, Stat. Sinica 21 (2011), for the magnitude adjustment.
    """
    raw = np.diag(evaluation.curvature)
    effective = raw > 1e-24 * raw.max(initial=0.0)
    weight = np.sqrt(np.where(effective, raw, 1.0))
    curvature = (evaluation.curvature - evaluation.curvature_noise) / weight / weight[:, None]
    curvature[~effective] = curvature[:, ~effective] = 0.0
    noise = evaluation.curvature_noise / weight / weight[:, None]

    values, vectors = np.linalg.eigh(curvature)
    noise_level = np.einsum("ij,ik,kj->j", vectors, noise, vectors) * np.sqrt(2 / float(evaluation.num_groups))
    told = values > np.maximum(3 * noise_level, eps ** (2 / 3))
    basis = vectors[:, told]
    inverse = (basis / values[told]) @ basis.T
    scaled = scatter / weight / weight[:, None]
    covariance = inverse @ scaled @ inverse / weight / weight[:, None]
    undetermined = vectors[:, ~told] / weight[:, None]
    undetermined /= np.linalg.norm(undetermined, axis=0)
    trace = np.trace(inverse @ scaled)
    loss_scale = float(told.sum() / (2 * trace)) if trace > 0 else float("nan")
    return Sandwich(covariance, inverse / weight / weight[:, None], undetermined, loss_scale)


def describe_directions(directions: np.ndarray, labels: list[str]) -> tuple[str, ...]:
    """Directions of parameter space in words: "0.71 kappa[0] - 0.71 kappa[1]"; small parts are left out.

    Args:
        directions: one direction a column, shape (num_parameters, num).
        labels: name of each parameter.
    """
    described = []
    for direction in directions.T:
        direction = direction / np.linalg.norm(direction)
        order = np.flatnonzero(np.abs(direction) > 0.05)
        direction = direction * np.sign(direction[order[0]])
        parts = [f"{'-' if direction[i] < 0 else '+'} {abs(direction[i]):.2f} {labels[i]}" for i in order]
        if len(order) == 1:
            parts = [labels[order[0]]]
        described.append(" ".join(parts).removeprefix("+ "))
    return tuple(described)
