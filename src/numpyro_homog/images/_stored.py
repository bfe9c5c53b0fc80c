"""What every reader of a file returns, and what several of them need."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Stored(NamedTuple):
    """An array as a file holds it."""

    values: np.ndarray  # in the order of the axes of the file; after the grid axes at most one of components
    axes: str  # which grid axis each of the first axes is, for example "zyx"
    lengths: tuple[float, ...] | str | None = None  # along x, y (and z); None if not told; what is unclear of them


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """What fails within becomes an error that names the file, unless it does so already."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as {kind}: {reason}. It may be damaged or cut short.") from error


def choose(path: Path, names: Sequence[str], dataset: str | None, kind: str) -> str:
    """The name of the array to read: the one asked for, or the only one there is."""
    listed = ", ".join(map(repr, names))
    if not names:
        raise ValueError(f"{path} holds no {kind} of numbers with two or three grid axes.")
    if dataset is None and len(names) > 1:
        raise ValueError(f"{path} holds several {kind}s; choose one by dataset=..., there are {listed}.")
    if dataset is not None and dataset.strip("/") not in [name.strip("/") for name in names]:
        raise ValueError(f"{path} holds no {kind} {dataset!r}; there are {listed}.")
    return dataset or names[0]


def last_axis_first(values: np.ndarray, ndim: int) -> np.ndarray:
    """The grid axes in reverse order, as files have them in which x runs fastest; then components."""
    return np.ascontiguousarray(values.transpose(*reversed(range(ndim)), *range(ndim, values.ndim)))


def stack(pages: Sequence[np.ndarray], names: Sequence[str]) -> Stored:
    """One picture, or several as the slices of a stack."""
    for page, name in zip(pages, names, strict=True):
        if page.ndim != 2:
            raise ValueError(f"{name} has shape {page.shape}; a slice has two axes.")
        if page.shape != pages[0].shape or page.dtype != pages[0].dtype:
            raise ValueError(
                f"The slices differ: {names[0]} has shape {pages[0].shape} and {pages[0].dtype}, "
                f"{name} has {page.shape} and {page.dtype}."
            )
    return Stored(pages[0], "xy") if len(pages) == 1 else Stored(np.stack(pages), "xyz")
