"""VTK image data (.vti), through the readers and writers of VTK."""

from pathlib import Path
from typing import Any

import numpy as np

from ..grids import Grid
from ._stored import Stored, choose, last_axis_first

_LENGTHS = "lengths"


def read_vti(path: Path, dataset: str | None) -> Stored:
    """One array of the cells, or if there is none of the points."""
    io, _, convert = _vtk()
    reader = io.vtkXMLImageDataReader()
    if not reader.CanReadFile(str(path)):
        raise ValueError(f"{path} is no VTK image data; a .vti file is XML of the type ImageData.")
    reader.SetFileName(str(path))
    errors = _note_errors(reader)
    reader.Update()
    if errors or reader.GetErrorCode():
        raise ValueError(f"{path} cannot be read as VTK image data: {' '.join(errors) or 'see the messages of VTK'}.")
    image = reader.GetOutput()
    if not image.GetDirectionMatrix().IsIdentity():
        raise ValueError(f"{path} is turned in space (its direction matrix is not the identity); resample it first.")
    dimensions = image.GetDimensions()  # of points; a plane has one of them across
    in_cells = image.GetCellData().GetNumberOfArrays() > 0
    data = image.GetCellData() if in_cells else image.GetPointData()
    shape = {axis: n - in_cells for axis, n in enumerate(dimensions) if n > 1}
    if len(shape) not in (2, 3):
        raise ValueError(f"{path} has {dimensions} points; expected an image of two or three dimensions.")
    names = [data.GetArrayName(index) for index in range(data.GetNumberOfArrays()) if data.GetArray(index)]
    values = convert.vtk_to_numpy(data.GetArray(choose(path, names, dataset, "array")))
    values = values.reshape(*reversed(shape.values()), *values.shape[1:])
    lengths = tuple(n * image.GetSpacing()[axis] for axis, n in shape.items())
    stored = image.GetFieldData().GetArray(_LENGTHS)
    if stored is not None and stored.GetNumberOfValues() == len(shape):
        exact = tuple(convert.vtk_to_numpy(stored).tolist())
        # They stand for the spacing unless another program has changed it.
        if np.allclose(exact, lengths, rtol=1e-14, atol=0):
            lengths = exact
    return Stored(values, "zyx"[-len(shape) :], lengths)


def write_vti(path: Path, fields: dict[str, np.ndarray], grid: Grid) -> None:
    """Cell data, compressed, with the exact lengths as field data."""
    io, model, convert = _vtk()

    def add(data: Any, name: str, values: np.ndarray) -> None:
        array = convert.numpy_to_vtk(values, deep=True)
        array.SetName(name)
        data.AddArray(array)

    image = model.vtkImageData()
    image.SetDimensions(*(n + 1 for n in grid.shape), *(1,) * (3 - grid.ndim))
    image.SetSpacing(*grid.spacing, *(min(grid.spacing),) * (3 - grid.ndim))
    for name, values in fields.items():
        if values.dtype == np.float16 or values.dtype.itemsize > 8:
            raise ValueError(f"A .vti file cannot hold {values.dtype}, as the field {name!r} has; convert it.")
        add(image.GetCellData(), name, last_axis_first(values, grid.ndim).reshape(grid.num_voxels, -1))
    add(image.GetFieldData(), _LENGTHS, np.array(grid.lengths))
    writer = io.vtkXMLImageDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.SetHeaderTypeToUInt64()
    errors = _note_errors(writer)
    if not writer.Write():
        raise OSError(f"{path} cannot be written: {' '.join(errors) or 'see the messages of VTK'}.")


def _vtk() -> tuple[Any, Any, Any]:
    """The modules of VTK that read and write files; they need no screen and no libGL."""
    try:
        import vtkmodules.vtkCommonDataModel as model
        import vtkmodules.vtkIOXML as io
        from vtkmodules.util import numpy_support as convert
    except ImportError as error:
        raise ImportError(
            "Files .vti need VTK, which is not installed: pip install 'numpyro-homog[images]' (or pip install vtk). "
            "HDF5 and .npz need nothing more."
        ) from error
    return io, model, convert


def _note_errors(algorithm: Any) -> list[str]:
    """A list of the messages of a reader or writer, which go there instead of to the standard error stream."""
    from vtkmodules.util.misc import calldata_type
    from vtkmodules.util.vtkConstants import VTK_STRING

    messages: list[str] = []

    @calldata_type(VTK_STRING)
    def note(sender: Any, event: str, message: str) -> None:
        messages.append(" ".join(str(message).split("\n")[1:]).strip() or str(message).strip())

    algorithm.AddObserver("ErrorEvent", note)
    return messages
