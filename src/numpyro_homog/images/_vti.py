"""VTK image data (.vti), through the readers and writers of VTK."""

import contextlib
from pathlib import Path

import numpy as np

from ..grids import Grid
from ._stored import Stored, choose

_LENGTHS = "lengths"


def read_vti(path: Path, dataset: str | None) -> Stored:
    """One array of the cells, or if there is none of the points."""
    io, _, convert = _vtk()
    reader = io.vtkXMLImageDataReader()
    if not reader.CanReadFile(str(path)):
        raise ValueError(f"{path} is no VTK image data; a .vti file is XML of the type ImageData.")
    reader.SetFileName(str(path))
    with _collect_errors(reader) as errors:
        reader.Update()
    if errors or reader.GetErrorCode():
        raise ValueError(f"{path} cannot be read as VTK image data: {' '.join(errors) or 'see the messages of VTK'}.")
    image = reader.GetOutput()
    if not image.GetDirectionMatrix().IsIdentity():
        raise ValueError(f"{path} is turned in space (its direction matrix is not the identity); resample it first.")
    dimensions = image.GetDimensions()  # of points; a plane has one of them across
    data, shape = image.GetCellData(), {axis: n - 1 for axis, n in enumerate(dimensions) if n > 1}
    if not data.GetNumberOfArrays():
        data, shape = image.GetPointData(), {axis: n for axis, n in enumerate(dimensions) if n > 1}
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
    image = model.vtkImageData()
    image.SetDimensions(*(n + 1 for n in grid.shape), *(1,) * (3 - grid.ndim))
    image.SetSpacing(*grid.spacing, *(min(grid.spacing),) * (3 - grid.ndim))
    for name, values in fields.items():
        flat = values.transpose(*reversed(range(grid.ndim)), *range(grid.ndim, values.ndim))
        flat = np.ascontiguousarray(flat.reshape(grid.num_voxels, *values.shape[grid.ndim :]))
        if flat.dtype not in _DTYPES:
            raise ValueError(f"A .vti file cannot hold {flat.dtype}, as the field {name!r} has; convert it.")
        image.GetCellData().AddArray(_array(convert, name, flat))
    image.GetFieldData().AddArray(_array(convert, _LENGTHS, np.array(grid.lengths)))
    writer = io.vtkXMLImageDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.SetHeaderTypeToUInt64()
    with _collect_errors(writer) as errors:
        written = writer.Write()
    if not written:
        raise OSError(f"{path} cannot be written: {' '.join(errors) or 'see the messages of VTK'}.")


_DTYPES = [np.dtype(kind + str(size)) for kind in ("int", "uint") for size in (8, 16, 32, 64)]
_DTYPES += [np.dtype("float32"), np.dtype("float64")]


def _array(convert, name, values):
    array = convert.numpy_to_vtk(values, deep=True)
    array.SetName(name)
    return array


def _vtk():
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


@contextlib.contextmanager
def _collect_errors(algorithm):
    """Messages of a reader or writer, instead of on the standard error stream."""
    from vtkmodules.util.misc import calldata_type
    from vtkmodules.util.vtkConstants import VTK_STRING

    messages: list[str] = []

    @calldata_type(VTK_STRING)
    def note(sender, event, message):
        messages.append(" ".join(str(message).split("\n")[1:]).strip() or str(message).strip())

    observer = algorithm.AddObserver("ErrorEvent", note)
    try:
        yield messages
    finally:
        algorithm.RemoveObserver(observer)
