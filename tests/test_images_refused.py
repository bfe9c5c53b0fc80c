"""Images that are refused, and what is said about them."""

import os
import re
import sys

import h5py
import numpy as np
import PIL.Image
import pytest

from numpyro_homog.grids import Grid
from numpyro_homog.images import load_image, save_image

GRID = Grid((5, 3), lengths=(2.0, 0.7))
ROWS = np.arange(6, dtype=np.uint8).reshape(2, 3)
VTI = """<?xml version="1.0"?>
<VTKFile type="ImageData" version="0.1" byte_order="LittleEndian">
<ImageData WholeExtent="{extent}" Spacing="0.5 2 3"{more}><Piece Extent="{extent}">
<CellData><DataArray type="Int32" Name="material" format="ascii">0 1 2 3 4 5</DataArray></CellData>
</Piece></ImageData></VTKFile>"""


def make(path, content):
    content(path) if callable(content) else path.write_bytes(content)
    return path


def picture(mode):
    return lambda path: PIL.Image.new(mode, (3, 2)).save(path)


def hdf5(**datasets):
    def write(path):
        with h5py.File(path, "w") as file:
            for name, (data, attributes) in datasets.items():
                file[name] = data
                file[name].attrs.update(attributes)

    return write


def uneven(path):
    pages = [PIL.Image.new("L", (3, 2)), PIL.Image.new("L", (3, 3))]
    pages[0].save(path, save_all=True, append_images=pages[1:])


BAD = [
    ("a.jpg", b"", r"cannot read 'a.jpg'; it knows .png, .tif, .* and folders of slices"),
    ("a", b"", "cannot read 'a'; it knows"),
    ("a.png", picture("RGB"), r"colour picture \(mode RGB: R, G, B; 1 frames\).* Convert it to grey"),
    ("a.png", picture("RGBA"), "colour picture"),
    ("a.png", picture("LA"), "colour picture"),
    ("a.png", picture("P"), "colour picture"),
    ("a.tif", uneven, r"The slices differ: page 1 of .* has shape \(2, 3\) .* has \(3, 3\)"),
    ("a.png", b"no picture", "cannot be read as PNG: not a PNG file. It may be damaged"),
    ("a.npy", lambda path: np.save(path, np.ones(4)), r"two or three axes; it holds \(4,\)"),
    ("a.npy", lambda path: np.save(path, np.array([[1.0, np.nan]])), "1 values that are not finite"),
    ("a.npy", lambda path: np.save(path, np.ones((2, 2), complex)), "holds complex128; expected real numbers"),
    ("a.npy", lambda path: np.save(path, np.ones((2, 0))), r"empty array of shape \(2, 0\)"),
    ("a.npz", b"no archive", "cannot be read as a NumPy file .Python objects are not loaded.: "),
    ("a.npz", lambda path: np.savez(path, x=np.ones(4)), "holds no array of numbers with two or three grid axes"),
    ("a.vti", b"no xml", "no VTK image data"),
    ("a.vti", VTI.format(extent="0 6 0 0 0 0", more="").encode(), "has .* points"),
    (
        "a.vti",
        VTI.format(extent="0 3 0 2 0 0", more=' Direction="0 1 0 1 0 0 0 0 1"').encode(),
        "turned in space",
    ),
    ("a.h5", b"no hdf5", "cannot be read as HDF5: .*file signature not found"),
    (
        "a.h5",
        hdf5(ms=(np.ones((2, 2)), {"permute_order": "abc"})),
        "says that its axes are 'abc'. axes must be a permutation",
    ),
    ("a.h5", hdf5(ms=(np.ones((2, 2)), {"L": [1.0, 2.0]})), "L = .* whose order is not fixed; pass spacing"),
    ("a.h5", hdf5(ms=(np.ones((2, 2)), {"domain_lengths": [1.0, 2.0, 3.0]})), "its array has 2 grid axes"),
    ("a.h5", hdf5(text=("hello", {}), line=(np.ones(3), {})), "holds no data set of numbers"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(BAD)])
def test_a_bad_file_is_refused_with_the_reason(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        load_image(make(tmp_path / name, content))


def test_what_a_file_leaves_unclear_may_be_said(tmp_path):
    """The errors advise to pass axes= and spacing=; that was refused with the same errors."""
    cell = np.arange(6.0).reshape(2, 3)
    path = make(tmp_path / "a.h5", hdf5(ms=(cell, {"permute_order": "abc", "L": [1.0, 2.0]})))
    with pytest.raises(ValueError, match=re.escape("a.h5 says that its axes are 'abc'")):
        load_image(path, spacing=0.5)
    with pytest.raises(ValueError, match=re.escape("a.h5: /ms has the attribute L = (1.0, 2.0), whose order is not")):
        load_image(path, axes="xy")
    image = load_image(path, axes="xy", spacing=0.5)
    np.testing.assert_array_equal(image.values, cell)
    assert image.grid.lengths == (1, 1.5)
    path = make(tmp_path / "b.h5", hdf5(ms=(cell, {"domain_lengths": [0.0, 2.0]})))
    with pytest.raises(
        ValueError, match=r"b.h5 says that .* lengths \(0.0, 2.0\); .* a positive length. Pass spacing="
    ):
        load_image(path)
    assert load_image(path, spacing=1).grid.shape == (3, 2)


@pytest.mark.parametrize("suffix", [".vti", ".h5", ".npz", ".npy", ".png", ".tif", ".json"])
def test_a_damaged_file_is_refused_by_name(tmp_path, suffix):
    """Cut short anywhere; names need not be ASCII."""
    path = tmp_path / f"zerstört è{suffix}"
    if suffix in (".vti", ".h5", ".npz"):
        save_image(path, np.random.default_rng(1).normal(size=GRID.shape), GRID)
    elif suffix == ".npy":
        np.save(path, ROWS)
    elif suffix == ".json":
        path.write_text('{"microstructure": {"filepath": "cell.h5", "datasetname": "/ms", "L": [1, 2, 3]}}')
    else:
        PIL.Image.fromarray(ROWS).save(path)
    whole = path.read_bytes()
    if suffix != ".json":
        load_image(path)
    for length in (0, 3, 40, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load_image(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "xz"}, "permutation of 'xy' or 'xyz', such as 'yx'; got 'xz'"),
        ({"axes": "xyz"}, r"holds an array of shape \(2, 3\); it cannot have the axes 'xyz'"),
        ({"spacing": 0.0}, "one positive length or one for each of 2 axes; got 0.0"),
        ({"dataset": "ms"}, "is a single array; leave out dataset='ms'"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(tmp_path, options, message):
    PIL.Image.fromarray(ROWS).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        load_image(tmp_path / "a.png", **options)


def test_a_missing_file_and_a_folder_without_slices(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder '.*none.png' \(working folder: "):
        load_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="holds no slices"):
        load_image(tmp_path)
    for name in ("a.png", "b.tif"):
        PIL.Image.fromarray(ROWS).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"holds files .png, .tif; which of them are the slices\?"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("a.png", ROWS, "cannot write 'a.png'; it knows .npz, .vti, .h5, .hdf5"),
        ("a.npz", ROWS.T, r"'image' has shape \(3, 2\), but the grid is \(2, 3\); expected \(2, 3\) or \(2, 3, "),
        ("a.npz", {"k": np.ones((2, 3, 2, 2))}, "'k' has shape"),
        ("a.npz", {"k": np.full((2, 3), np.inf)}, "The field 'k' has 6 values that are not finite"),
        ("a.npz", {"lengths": ROWS}, "cannot be called 'lengths'"),
        ("a.npz", {}, "nothing to save"),
        ("a.vti", {"k": ROWS.astype(np.float16)}, "cannot hold float16, as the field 'k' has"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, name, fields, message):
    with pytest.raises(ValueError, match=message):
        save_image(tmp_path / name, fields, Grid((2, 3)))
    assert not os.listdir(tmp_path)


def test_lines_are_no_images(tmp_path):
    with pytest.raises(ValueError, match=r"two- and three-dimensional grids; got \(4,\)"):
        save_image(tmp_path / "a.npz", np.ones(4), Grid(4))


@pytest.mark.parametrize("call", [lambda path: load_image(path), lambda path: save_image(path, ROWS, Grid((2, 3)))])
def test_without_vtk_the_extra_is_named(tmp_path, monkeypatch, call):
    (tmp_path / "a.vti").write_text("")
    for name in [name for name in sys.modules if name.startswith("vtkmodules")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vtkmodules", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'numpyro-homog[images]'")):
        call(tmp_path / "a.vti")
