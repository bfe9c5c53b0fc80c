"""Packaged examples: sets of specimens with known parameters."""

import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
from jaxtyping import Float

_FOLDER = resources.files(__package__) / "data"


def example_names() -> tuple[str, ...]:
    """Names of the packaged examples, for `load_example` and `example_truth`."""
    return tuple(sorted(file.name.removesuffix(".json") for file in _FOLDER.iterdir() if file.name.endswith(".json")))


def load_example(name: str) -> Float[np.ndarray, "specimens d d"]:
    """Load the effective tensors of a packaged example.

    ``"laguerre_plates"``: 1000 periodic cells, each filled by three phases that grow from one nucleus each with
    different start times; conductivities in W/(m K), simulated without noise on sharp 256 x 256 voxels.

    Args:
        name: one of `example_names`.

    Returns:
        Symmetric positive definite tensors, shape (specimens, d, d), float64, in the unit that `example_truth` tells.

    Raises:
        ValueError: if there is no example of that name.

    Example:
        >>> load_example("laguerre_plates").shape
        (1000, 2, 2)
    """
    table = np.loadtxt(_file(name, "csv").read_text(encoding="utf-8").splitlines(), delimiter=",", skiprows=1)
    return table[:, [[0, 1], [1, 2]]]  # from the columns K11, K12, K22


def example_truth(name: str) -> dict[str, Any]:
    """Parameters that a packaged example was made with.

    Args:
        name: one of `example_names`.

    Returns:
        The parameters as arrays ("kappa", "delays": one value for each phase, in the order of the phases), and how the
        specimens were made: "num_phases", "mean_fractions" (volume fractions of the phases, mean over the specimens),
        "units", "num_specimens", "grid", "tolerance", "seed", "made_by" (the command), "description".

    Raises:
        ValueError: if there is no example of that name.

    Example:
        >>> example_truth("laguerre_plates")["kappa"]
        array([ 1.,  5., 10.])
    """
    truth = json.loads(_file(name, "json").read_text(encoding="utf-8"))
    return truth | {key: np.array(truth[key]) for key in ("kappa", "delays", "mean_fractions") if key in truth}


def _file(name: str, suffix: str) -> Traversable:
    if name not in example_names():
        raise ValueError(f"There is no example {name!r}; choose one of {', '.join(map(repr, example_names()))}.")
    return _FOLDER / f"{name}.{suffix}"
