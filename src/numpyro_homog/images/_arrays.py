"""NumPy files."""

from pathlib import Path

import numpy as np

from ..grids import Grid
from ._stored import Stored, choose, reading

_LENGTHS = "lengths"


def read_npy(path: Path, dataset: str | None) -> Stored:
    """The array of a .npy file: all its axes are grid axes."""
    with reading(path, "a NumPy file (Python objects are not loaded)"):
        values = np.load(path, allow_pickle=False)
    if not isinstance(values, np.ndarray) or values.ndim not in (2, 3):
        shape = values.shape if isinstance(values, np.ndarray) else "an archive"
        raise ValueError(f"{path} must hold an array with two or three axes; it holds {shape}.")
    return Stored(values, "xyz"[: values.ndim], None)


def read_npz(path: Path, dataset: str | None) -> Stored:
    """One array of a .npz file; with "lengths" beside it, an axis after the grid axes is one of components."""
    with reading(path, "an archive of NumPy (Python objects are not loaded)"), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError(f"{path} is no archive of arrays; call it {path.stem}.npy.")
        with archive:
            lengths = None
            if _LENGTHS in archive.files and archive[_LENGTHS].shape in ((2,), (3,)):
                lengths = tuple(archive[_LENGTHS].tolist())
            names = [name for name in archive.files if name != _LENGTHS and archive[name].ndim in (2, 3, 4)]
            values = archive[choose(path, names, dataset, "array")]
    ndim = len(lengths) if lengths else values.ndim
    return Stored(values, "xyz"[:ndim], lengths)


def write_npz(path: Path, fields: dict[str, np.ndarray], grid: Grid) -> None:
    """Fields by name, and the lengths of the cell."""
    if _LENGTHS in fields or "file" in fields:
        raise ValueError(f"A field of a .npz file cannot be called {_LENGTHS!r} or 'file'; rename it.")
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{_LENGTHS: np.array(grid.lengths)}, **fields)
