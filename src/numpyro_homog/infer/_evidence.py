"""What speaks against a model, its prior or its data, in words that name the likely cause."""

import itertools
import warnings
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ..clouds import CloudScale
from ..optimise import Basin
from ..population import ParameterSpace

_FAR = np.log(10.0)
_NUM_SPREADS = 4.0
_SAME_LOSS = 3.0


def warn_of_other_units(scale: CloudScale, measured: np.ndarray, medians: np.ndarray) -> None:
    """Warn if the data lie far from all draws of the prior, as in other units, or are Voigt matrices by the look.

    Args:
        scale: what the clouds are measured in.
        measured: cloud of the data, shape (N, p).
        medians: median of each component for some draws of the prior, shape (num, p).
    """
    medians = medians[np.isfinite(medians).all(axis=1)]
    positive = (measured > 0).all(axis=0) & (medians > 0).all(axis=0)
    if len(medians) < 2 or not positive.any():
        return
    middle = np.median(measured, axis=0)
    # One number for each draw: how many times larger the data are, in the middle of the components.
    ratios = np.median(np.log(middle[positive]) - np.log(medians[:, positive]), axis=1)
    center, spread, sign = ratios.mean(), ratios.std(), np.sign(ratios.mean())
    if (sign * ratios).min() > _FAR and abs(center) > _NUM_SPREADS * spread:
        i = int(np.flatnonzero(positive)[0])
        unit = scale.scales[i]
        warnings.warn(
            f"The data are about {np.exp(center):.2g} times what draws of the prior make ({scale.names[i]}: median"
            f" {middle[i] * unit:.3g} measured, {medians[:, i].min() * unit:.3g} to {medians[:, i].max() * unit:.3g}"
            f" in {len(medians)} draws). Are the data and the prior in the same units?",
            UserWarning,
            stacklevel=7,
        )
    for key in scale.keys:
        shears = _shears(scale, key, middle[None])
        drawn = _shears(scale, key, medians)
        if shears.size and 0.4 < shears[0] / np.median(drawn) < 0.6 and shears[0] < drawn.min():
            warnings.warn(
                f"The last diagonal entries of data['{key}'] are half of what those of the model are beside the others."
                " If they are stiffnesses in Voigt notation: elastic tensors are Mandel matrices here; pass"
                f" `voigt_to_mandel(data['{key}'])`. Otherwise look at the order of the components.",
                UserWarning,
                stacklevel=7,
            )


def reasons_of_misfit(names: Sequence[str], measured: np.ndarray, simulated: np.ndarray) -> tuple[str, ...]:
    """How the clouds differ where the fit has ended.

    Args:
        names: of the components.
        measured: cloud of the data, shape (N, p).
        simulated: cloud of the model, shape (M, p).
    """
    shift, ratio = measured.mean(0) - simulated.mean(0), measured.std(0) / simulated.std(0)
    spreads = ", ".join(f"{name} {value:.2g}" for name, value in zip(names, ratio, strict=True))
    if np.abs(shift).max() > 0.5:
        worst = int(np.abs(shift).argmax())
        return (
            f"the means differ, by {abs(shift[worst]):.1f} standard deviations of the data in {names[worst]}: other"
            " units, another order of phases or of components (Voigt for Mandel), or a prior that excludes the truth",
        )
    if (np.abs(np.log(ratio)) > np.log(1.25)).any():
        return (
            f"the means agree, but the data scatter {spreads} times as much as the model: another microstructure (size"
            " or number of grains, size of the specimens), or noise of the measurement",
        )
    return ("means and spreads agree, but not the shapes of the clouds: another microstructure, or a phase too few",)


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


def _shears(scale, key, rows):
    """Last shear entry over what isotropy makes of the normal ones; empty if the site is no elastic tensor."""
    d = (scale.event_shapes[key] or (0,))[-1]
    wanted = {3: "K33", 6: "K44"}
    names = [f"{key}[{name}]" for name in ("K11", "K12", wanted.get(d, ""))]
    if len(scale.event_shapes[key]) != 2 or any(name not in scale.names for name in names):
        return np.zeros(0)
    first, coupling, shear = (rows[:, i] * scale.scales[i] for i in map(scale.names.index, names))
    return shear / (first - coupling)
