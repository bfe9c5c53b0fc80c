"""What every reader of a file returns, and how one array of several is chosen."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Stored(NamedTuple):
    """An array as a file holds it.

    Attributes:
        values: the array, in the order of the axes of the file; after the grid axes at most one of components.
        axes: which grid axis each of the first axes is, for example "zyx".
        lengths: edge lengths of the cell along x, y (and z), or None if the file does not say.
    """

    values: np.ndarray
    axes: str
    lengths: tuple[float, ...] | None


def choose(path: Path, names: Sequence[str], dataset: str | None, kind: str) -> str:
    """The name of the array to read: the one asked for, or the only one there is."""
    listed = ", ".join(map(repr, names))
    if not names:
        raise ValueError(f"{path} holds no {kind} of numbers with two or three grid axes.")
    if dataset is None:
        if len(names) > 1:
            raise ValueError(f"{path} holds several {kind}s; choose one by dataset=..., there are {listed}.")
        return names[0]
    if dataset.strip("/") not in [name.strip("/") for name in names]:
        raise ValueError(f"{path} holds no {kind} {dataset!r}; there are {listed}.")
    return dataset
