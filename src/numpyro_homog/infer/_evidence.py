"""What speaks against a model, its prior or its data, in words that name the likely cause."""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..optimise import Basin
from ..population import ParameterSpace

_NUM_SPREADS = 4.0
_SAME_LOSS = 3.0


def describe_outside(
    parameters: ParameterSpace, position: Float[np.ndarray, "P"], prior: Float[np.ndarray, "draws P"]
) -> tuple[str, ...]:
    """The parameters whose estimate lies far beyond all draws of the prior, both in unconstrained space."""
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

    The basins are the ends of a fit, best first; `floor` is the divergence that sampling noise makes.
    """
    alive = [b for b in basins if b.params and b.loss <= basins[0].loss + _SAME_LOSS * max(floor, basins[0].loss / 10)]
    vectors = [name for name, value in alive[0].params.items() if value.ndim == 1] if alive else []
    pairs = list(itertools.combinations([basin.params for basin in alive], 2))
    names = [name for name in vectors if any(_are_permuted(first[name], second[name]) for first, second in pairs)]
    if not names:
        return ()
    return (
        f"basins differ by the order of the entries of {names} only: phases are exchangeable. Order them, by"
        " `OrderedTransform()` in the prior of their property",
    )


def _are_permuted(first: np.ndarray, second: np.ndarray) -> bool:
    def apart(a, b):
        return np.abs(a.astype(float) - b).max() / max(np.abs(first).max(), 1e-300)

    return bool(apart(np.sort(first), np.sort(second)) < 0.1 and apart(first, second) > 0.2)
