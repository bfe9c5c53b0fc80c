"""What the linearisation of a divergence says of the precision of an estimate."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

_MOST_NOISE = 0.75


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


def sandwich(linearization: Any, scatter: Float[np.ndarray, "P P"], eps: float) -> Sandwich:
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
        linearization: at the estimate; a `Linearization` or what has its fields, as NumPy arrays.
        scatter: covariance V of the gradient, shape (P, P).
        eps: precision of the arithmetic that made them.

    References:
        Godambe, Ann. Math. Stat. 31 (1960); Gourieroux, Monfort and Renault, J. Appl. Econom. 8 (1993), for 1 + N/M;
        Pauli, Racugno and Ventura, Stat. Sinica 21 (2011), for the magnitude adjustment.
    """
    raw = np.diag(linearization.curvature)
    effective = raw > 1e-24 * raw.max(initial=0.0)
    weight = np.sqrt(np.where(effective, raw, 1.0))
    curvature = (linearization.curvature - linearization.curvature_noise) / weight / weight[:, None]
    curvature[~effective] = curvature[:, ~effective] = 0.0
    noise = linearization.curvature_noise / weight / weight[:, None]

    values, vectors = np.linalg.eigh(curvature)
    noise_level = np.einsum("ij,ik,kj->j", vectors, noise, vectors) * np.sqrt(2 / float(linearization.num_groups))
    determined = values > np.maximum(3 * noise_level, eps ** (2 / 3))
    basis = vectors[:, determined]
    inverse = (basis / values[determined]) @ basis.T
    scaled = scatter / weight / weight[:, None]
    covariance = inverse @ scaled @ inverse / weight / weight[:, None]
    undetermined = vectors[:, ~determined] / weight[:, None]
    undetermined /= np.linalg.norm(undetermined, axis=0)
    trace = np.trace(inverse @ scaled)
    loss_scale = float(determined.sum() / (2 * trace)) if trace > 0 else float("nan")
    return Sandwich(covariance, inverse / weight / weight[:, None], undetermined, loss_scale)


def covariance_of(influence: Float[np.ndarray, "N P"]) -> Float[np.ndarray, "P P"]:
    """Covariance of an influence, whose mean is zero.

    Args:
        influence: of each specimen.
    """
    return influence.T @ influence / len(influence)


def noise_shrinkage(
    influence: Float[np.ndarray, "N P"], of_parts: Float[np.ndarray, "parts N P"]
) -> Float[np.ndarray, "P P"]:
    """Matrix A with A' S A = S - noise, where S is the covariance of an influence.

    Args:
        influence: of each specimen; its noise comes from the simulation that it is estimated with.
        of_parts: the same from disjoint parts of that simulation, whose scatter is the noise. At most three quarters of
            the covariance are taken off.
    """
    num, scale = len(of_parts), influence.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    rest = (of_parts - of_parts.mean(axis=0)) / scale
    noise = np.einsum("nik,nil->kl", rest, rest) / (influence.shape[0] * num * max(num - 1, 1))
    values, vectors = np.linalg.eigh(covariance_of(influence / scale))
    kept = values > 1e-10 * values.max(initial=0.0)
    root = vectors[:, kept] * np.sqrt(values[kept])
    white = vectors[:, kept] / np.sqrt(values[kept])
    share, turn = np.linalg.eigh(white.T @ noise @ white)
    middle = (turn * np.sqrt(1 - np.minimum(share, _MOST_NOISE))) @ turn.T
    return (white @ middle @ root.T) / scale[:, None] * scale
