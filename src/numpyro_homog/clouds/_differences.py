"""How measured and simulated clouds differ, in words that name the likely cause."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ._scale import CloudScale

_FAR = np.log(10.0)
_NUM_SPREADS = 4.0


def describe_units(
    scale: CloudScale, measured: Float[np.ndarray, "N p"], medians: Float[np.ndarray, "num p"]
) -> tuple[str, ...]:
    """Whether data are in other units than draws of the prior, or Voigt matrices, by the look.

    Args:
        scale: what the clouds are measured in.
        measured: cloud of the data, shape (N, p).
        medians: median of each component for some draws of the prior, shape (num, p).
    """
    medians = medians[np.isfinite(medians).all(axis=1)]
    positive = (measured > 0).all(axis=0) & (medians > 0).all(axis=0)
    if len(medians) < 2 or not positive.any():
        return ()
    words: list[str] = []
    middle = np.median(measured, axis=0)
    # One number for each draw: how many times larger the data are, in the middle of the components.
    ratios = np.median(np.log(middle[positive]) - np.log(medians[:, positive]), axis=1)
    center, spread, sign = ratios.mean(), ratios.std(), np.sign(ratios.mean())
    if (sign * ratios).min() > _FAR and abs(center) > _NUM_SPREADS * spread:
        i = int(np.flatnonzero(positive)[0])
        unit = scale.scales[i]
        words.append(
            f"The data are about {np.exp(center):.2g} times what draws of the prior make ({scale.names[i]}: median"
            f" {middle[i] * unit:.3g} measured, {medians[:, i].min() * unit:.3g} to {medians[:, i].max() * unit:.3g}"
            f" in {len(medians)} draws). Are the data and the prior in the same units?"
        )
    for key in scale.keys:
        shears = _shears(scale, key, middle[None])
        drawn = _shears(scale, key, medians)
        if shears.size and 0.4 < shears[0] / np.median(drawn) < 0.6 and shears[0] < drawn.min():
            words.append(
                f"The last diagonal entries of data['{key}'] are half of what those of the model are beside the others."
                " If they are stiffnesses in Voigt notation: elastic tensors are Mandel matrices here; pass"
                f" `voigt_to_mandel(data['{key}'])`. Otherwise look at the order of the components."
            )
    return tuple(words)


def describe_difference(
    names: Sequence[str], measured: Float[np.ndarray, "N p"], simulated: Float[np.ndarray, "M p"]
) -> tuple[str, ...]:
    """How two clouds differ, with the likely causes.

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


def _shears(scale: CloudScale, key: str, rows: Float[np.ndarray, "num p"]) -> Float[np.ndarray, " shears"]:
    """Last shear entry over what isotropy makes of the normal ones; empty if the site is no elastic tensor."""
    d = (scale.event_shapes[key] or (0,))[-1]
    wanted = {3: "K33", 6: "K44"}
    names = [f"{key}[{name}]" for name in ("K11", "K12", wanted.get(d, ""))]
    if len(scale.event_shapes[key]) != 2 or any(name not in scale.names for name in names):
        return np.zeros(0)
    first, coupling, shear = (rows[:, i] * scale.scales[i] for i in map(scale.names.index, names))
    return shear / (first - coupling)
