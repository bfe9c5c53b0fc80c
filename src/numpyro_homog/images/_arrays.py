"""Arrays in files: NumPy's, and HDF5 in the layout of FANS (github.com/DataAnalyticsEngineering/FANS).

A data set of HDF5 has the axes z, y, x (then components), unless its attribute "permute_order" is "xyz"; so reads FANS
0.6. It keeps the lengths of the cell in its input file, as "L". We write them into the attribute "domain_lengths", in
the order x, y, z, as the tools that come with FANS do when they convert VTK files.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..grids import Grid
from ._stored import Stored, choose, last_axis_first, reading

_ORDER, _DOMAIN, _LENGTHS = "permute_order", "domain_lengths", "lengths"


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


def read_hdf5(path: Path, dataset: str | None) -> Stored:
    """One data set, with its axes and lengths if it says."""
    import h5py

    names: list[str] = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf" and item.ndim in (2, 3, 4):
            names.append(name)

    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        file.visititems(note)
        stored = file[choose(path, names, dataset, "data set")]
        order = stored.attrs.get(_ORDER, "zyx"[-min(stored.ndim, 3) :])
        axes = (order.decode() if isinstance(order, bytes) else str(order)).strip("\0 ").lower()
        told = next((name for name in (_DOMAIN, "L") if name in stored.attrs), None)
        lengths: Any = told and tuple(np.ravel(stored.attrs[told]).astype(float).tolist())
        if told == "L" and len(set(lengths)) > 1:
            # Writers of this attribute do not agree whether it follows x, y, z or the axes of the data set.
            lengths = f"{stored.name} has the attribute L = {lengths}, whose order is not fixed"
        return Stored(stored[...], axes, lengths)


def write_hdf5(path: Path, fields: dict[str, np.ndarray], grid: Grid) -> None:
    """One compressed data set for each field; a name with slashes makes groups."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            data = last_axis_first(values, grid.ndim)
            attributes = file.create_dataset(name, data=data, compression="gzip", shuffle=True).attrs
            attributes[_ORDER], attributes[_DOMAIN] = "zyx"[-grid.ndim :], np.array(grid.lengths)


def read_fans_input(path: Path, dataset: str | None) -> Stored:
    """The microstructure that an input file of FANS names."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))["microstructure"]
        name, dataset = str(entry["filepath"]), str(entry["datasetname"])
        lengths = tuple(map(float, entry["L"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is no input file of FANS: expected "microstructure" with "filepath", "datasetname" and "L" '
            f"({type(error).__name__}: {error})."
        ) from error
    # FANS looks in its working folder; input files are often kept beside or below that.
    places = [Path(name), path.parent / name, path.parent.parent / name]
    for place in filter(Path.is_file, places):
        return read_hdf5(place, dataset)._replace(lengths=lengths)
    raise FileNotFoundError(f"{path} names the HDF5 file {name!r}, which is in none of {', '.join(map(str, places))}.")
