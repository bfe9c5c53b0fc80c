"""What speaks against a model, its prior or its data, in words that name the likely cause."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ..optimise import Basin
from ..population import ParameterSpace

_NUM_SPREADS = 4.0
_SAME_LOSS = 3.0


def describe_outside(parameters: ParameterSpace, position: np.ndarray, prior: np.ndarray) -> tuple[str, ...]:
    """The parameters whose estimate lies far beyond all draws of the prior.

    Args:
        parameters: of the model.
        position: the estimate in unconstrained space, shape (P,).
        prior: draws of the prior there, shape (num, P).
    """
    prior = prior[np.isfinite(prior).all(axis=1)].astype(position.dtype)
    if len(prior) < 2:
        return ()
    low, middle, high = np.percentile(prior, (25.0, 50.0, 75.0), axis=0)
    is_outside = (position < prior.min(axis=0)) | (position > prior.max(axis=0))
    is_outside &= np.abs(position - middle) > _NUM_SPREADS * (high - low) / 1.349
    values, draws = parameters.at(position), parameters.at(prior)
    flags = parameters.split(jnp.asarray(is_outside, position.dtype))
    return tuple(
        f"outside of its prior: {name} = {np.array2string(np.asarray(values[name]), precision=4)}, whose draws lie"
        f" between {draws[name].min():.3g} and {draws[name].max():.3g}"
        for name, flag in flags.items()
        if flag.any()
    )


def describe_exchangeable(basins: Sequence[Basin], floor: float) -> tuple[str, ...]:
    """Vectors whose entries have changed places between basins of about the same loss, and what to do.

    Args:
        basins: the ends of a fit, best first.
        floor: divergence that sampling noise makes.
    """
    alive = [b for b in basins if b.params and b.loss <= basins[0].loss + _SAME_LOSS * max(floor, basins[0].loss / 10)]
    vectors = [name for name, value in alive[0].params.items() if value.ndim == 1] if alive else []
    names = [name for name in vectors if any(_are_permuted(*pair) for pair in _pairs(alive, name))]
    if not names:
        return ()
    return (
        f"basins differ by the order of the entries of {names} only: phases are exchangeable. Order them, by"
        " `OrderedTransform()` in the prior of their property",
    )


def _pairs(basins, name):
    return itertools.combinations([np.asarray(basin.params[name], float) for basin in basins], 2)


def _are_permuted(first, second):
    def apart(a, b):
        return np.abs(a - b).max() / max(np.abs(first).max(), 1e-300)

    return apart(np.sort(first), np.sort(second)) < 0.1 and apart(first, second) > 0.2
