"""NumPy files."""

from pathlib import Path

import numpy as np

from ..grids import Grid
from ._stored import Stored, choose, reading

_LENGTHS = "lengths"


def read_numpy(path: Path, dataset: str | None) -> Stored:
    """A bare array, or one of an archive, where "lengths" tell how many axes are of the grid."""
    lengths = None
    with reading(path, "a NumPy file (Python objects are not loaded)"), path.open("rb") as file:
        values = np.load(file, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            with values as archive:
                if _LENGTHS in archive.files and archive[_LENGTHS].shape in ((2,), (3,)):
                    lengths = tuple(archive[_LENGTHS].tolist())
                names = [name for name in archive.files if name != _LENGTHS and archive[name].ndim in (2, 3, 4)]
                values = archive[choose(path, names, dataset, "array")]
        elif values.ndim not in (2, 3):
            raise ValueError(f"{path} must hold an array with two or three axes; it holds {values.shape}.")
    return Stored(values, "xyz"[: len(lengths) if lengths else values.ndim], lengths)


def write_npz(path: Path, fields: dict[str, np.ndarray], grid: Grid) -> None:
    """Fields by name, and the lengths of the cell."""
    if _LENGTHS in fields or "file" in fields:
        raise ValueError(f"A field of a .npz file cannot be called {_LENGTHS!r} or 'file'; rename it.")
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{_LENGTHS: np.array(grid.lengths)}, **fields)
