"""Files of images: what is read, in which order of the axes, what is written and comes back, what is refused."""

import json
import os
import re
import sys

import h5py
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from numpyro_homog.grids import Grid
from numpyro_homog.homogenization import CellProblem, Conductivity, Periodic, effective_tensor
from numpyro_homog.images import coarsen, load_image, phases_from_labels, save_image, segment

GRIDS = [Grid((5, 3), lengths=(2.0, 0.7)), Grid((5, 4, 3), lengths=(1 / 3, 0.7, np.pi))]
FORMATS = [".vti", ".h5", ".npz"]
DTYPES = ["uint8", "int16", "uint16", "int64", "float32", "float64"]
ROWS = np.arange(6, dtype=np.uint8).reshape(2, 3)
by_dimension = pytest.mark.parametrize("grid", GRIDS, ids=["2D", "3D"])


def values(grid, dtype="float64", components=()):
    rng = np.random.default_rng(1)
    shape = (*grid.shape, *components)
    return rng.normal(size=shape).astype(dtype) if "float" in dtype else rng.integers(0, 120, shape).astype(dtype)


# --- round trips ---


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@by_dimension
def test_every_bit_comes_back(tmp_path, grid, suffix, dtype):
    path, saved = tmp_path / f"cell{suffix}", values(grid, dtype)
    save_image(path, saved, grid)
    image = load_image(path)
    assert image.grid == grid
    assert image.values.dtype == saved.dtype
    np.testing.assert_array_equal(image.values, saved)
    assert image.values.flags.c_contiguous
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
@by_dimension
def test_fields_by_name_with_components(tmp_path, grid, suffix):
    path = str(tmp_path / f"cell{suffix}")
    fields = {"labels": values(grid, "uint8"), "flux": values(grid, components=(3,)), "k": jnp.asarray(values(grid))}
    save_image(path, fields, grid)
    for name, saved in fields.items():
        np.testing.assert_array_equal(load_image(path, dataset=name).values, saved)
    with pytest.raises(
        ValueError, match=r"holds several .* choose one by dataset=..., there are '\w+', '\w+', '\w+'\."
    ):
        load_image(path)
    with pytest.raises(ValueError, match=r"holds no .* 'phase'; there are '\w+', '\w+', '\w+'\."):
        load_image(path, dataset="phase")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_spacing_overrides_the_lengths_of_the_file(tmp_path, suffix):
    save_image(tmp_path / f"cell{suffix}", values(GRIDS[0]), GRIDS[0])
    assert load_image(tmp_path / f"cell{suffix}", spacing=0.5).grid.lengths == (2.5, 1.5)
    assert load_image(tmp_path / f"cell{suffix}", spacing=[1, 2]).grid.lengths == (5, 6)
    with pytest.raises(ValueError, match="one positive length or one for each of 2 axes"):
        load_image(tmp_path / f"cell{suffix}", spacing=[1, 2, 3])


def test_booleans_and_single_components_become_plain_labels(tmp_path):
    save_image(tmp_path / "cell.h5", np.eye(4, dtype=bool)[..., None], Grid((4, 4)))
    image = load_image(tmp_path / "cell.h5")
    np.testing.assert_array_equal(image.values, np.eye(4, dtype=np.uint8))
    assert image.values.dtype == np.uint8


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "cell.npz"
    save_image(path, values(GRIDS[0]), GRIDS[0])
    monkeypatch.setattr(np, "savez_compressed", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_image(path, 2 * values(GRIDS[0]), GRIDS[0])
    np.testing.assert_array_equal(load_image(path).values, values(GRIDS[0]))
    assert os.listdir(tmp_path) == ["cell.npz"]


# --- which axis is which: asymmetric arrays, written by the libraries themselves ---


def test_the_first_axis_of_the_grid_runs_down_the_rows_of_a_picture(tmp_path):
    PIL.Image.fromarray(ROWS).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.values, ROWS)
    assert image.grid == Grid((2, 3), lengths=(2, 3))
    turned = load_image(tmp_path / "a.png", axes="yx", spacing=(2, 0.5))
    np.testing.assert_array_equal(turned.values, ROWS.T)
    assert turned.grid == Grid((3, 2), lengths=(6, 1))


def test_a_picture_of_layers_conducts_worst_across_its_rows(tmp_path):
    """K11 belongs to the first array axis: down the rows."""
    PIL.Image.fromarray(np.repeat(np.array([[0], [0], [0], [255]], np.uint8), 3, axis=1)).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    field = jnp.asarray(np.array([1.0, 10.0])[segment(image.values, 128)], float)
    tensor = effective_tensor(CellProblem(image.grid, Conductivity(), Periodic()), field)
    np.testing.assert_allclose(np.diag(tensor), (1 / (3 / 4 + 1 / 40), 13 / 4), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_the_first_axis_of_a_stack_counts_its_slices(tmp_path, dtype):
    stack = np.arange(24).reshape(4, 2, 3).astype(dtype)
    pages = [PIL.Image.fromarray(page) for page in stack]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    image = load_image(tmp_path / "stack.tif")
    np.testing.assert_array_equal(image.values, stack)
    assert image.values.dtype == dtype
    np.testing.assert_array_equal(load_image(tmp_path / "stack.tif", axes="zyx").values, stack.T)


def test_a_folder_is_a_stack_in_natural_order(tmp_path):
    for number in (10, 9, 1):
        PIL.Image.fromarray(np.full((2, 3), number, np.uint8)).save(tmp_path / f"slice_{number}.png")
    (tmp_path / "notes.txt").write_text("scanned on Monday")
    image = load_image(tmp_path)
    assert image.values.shape == (3, 2, 3)
    np.testing.assert_array_equal(image.values[:, 0, 0], [1, 9, 10])


def test_hdf5_is_zyx_as_fans_reads_it(tmp_path):
    """FANS: z, y, x without the attribute "permute_order" or if it begins with a z, else x, y, z."""
    path, array = tmp_path / "cell.h5", np.arange(24, dtype=np.uint16).reshape(4, 3, 2)
    with h5py.File(path, "w") as file:
        file["sphere/ms"] = array
        for name, order in (("xyz", "xyz"), ("zyx", "zyx"), ("bytes", np.bytes_("zyx"))):
            file[name] = array
            file[name].attrs["permute_order"] = order
        file["results/load0/microstructure"] = array[..., None]  # as FANS writes it
        file["results/load0/stress_average"] = np.ones(6)
    for name in ("sphere/ms", "/sphere/ms", "zyx", "bytes", "results/load0/microstructure"):
        np.testing.assert_array_equal(load_image(path, dataset=name).values, array.T)
    np.testing.assert_array_equal(load_image(path, dataset="xyz").values, array)
    np.testing.assert_array_equal(load_image(path, dataset="zyx", axes="xyz").values, array)
    assert load_image(path, dataset="xyz").grid == Grid((4, 3, 2), lengths=(4, 3, 2))


def test_hdf5_is_written_as_fans_reads_it(tmp_path):
    grid, labels = GRIDS[1], values(GRIDS[1], "uint8")
    save_image(tmp_path / "cell.h5", {"ms": labels, "results/flux": values(grid, components=(2,))}, grid)
    with h5py.File(tmp_path / "cell.h5") as file:
        np.testing.assert_array_equal(file["ms"], labels.T)
        assert file["ms"].attrs["permute_order"] == "zyx"
        np.testing.assert_array_equal(file["ms"].attrs["domain_lengths"], grid.lengths)
        np.testing.assert_array_equal(file["results/flux"], values(grid, components=(2,)).transpose(2, 1, 0, 3))


def test_an_input_file_of_fans_names_the_image(tmp_path):
    save_image(tmp_path / "cell.h5", {"ms": values(GRIDS[1], "uint8"), "other": values(GRIDS[1])}, GRIDS[1])
    entry = {"filepath": "cell.h5", "datasetname": "/ms", "L": [1, 2, 3]}
    (tmp_path / "input.json").write_text(json.dumps({"microstructure": entry, "n_it": 100}))
    image = load_image(tmp_path / "input.json")
    np.testing.assert_array_equal(image.values, values(GRIDS[1], "uint8"))
    assert image.grid.lengths == (1, 2, 3)
    (tmp_path / "input.json").write_text(json.dumps({"microstructure": entry | {"filepath": "none.h5"}}))
    with pytest.raises(FileNotFoundError, match=r"names the HDF5 file 'none.h5', which is in none of none.h5, "):
        load_image(tmp_path / "input.json")
    (tmp_path / "input.json").write_text("{}")
    with pytest.raises(ValueError, match=r'no input file of FANS: expected "microstructure"'):
        load_image(tmp_path / "input.json")


VTI = """<?xml version="1.0"?>
<VTKFile type="ImageData" version="0.1" byte_order="LittleEndian">
<ImageData WholeExtent="{extent}" Origin="1 2 3" Spacing="0.5 2 3"{more}><Piece Extent="{extent}">
<{kind}Data><DataArray type="Int32" Name="material" format="ascii">{numbers}</DataArray></{kind}Data>
</Piece></ImageData></VTKFile>"""


@pytest.mark.parametrize(
    ("kind", "extent", "shape", "lengths"),
    [
        ("Cell", "0 3 0 2 0 1", (3, 2, 1), (1.5, 4, 3)),
        ("Cell", "0 3 0 2 5 5", (3, 2), (1.5, 4)),
        ("Cell", "0 3 0 0 0 2", (3, 2), (1.5, 6)),
        ("Point", "0 2 0 1 0 0", (3, 2), (1.5, 4)),
    ],
)
def test_vti_has_x_fastest(tmp_path, kind, extent, shape, lengths):
    """As ParaView and DAMASK write it: cell data, or points, each of which is read as a voxel."""
    path = tmp_path / "a.vti"
    path.write_text(VTI.format(kind=kind, extent=extent, numbers="0 1 2 3 4 5", more=""))
    image = load_image(path)
    np.testing.assert_array_equal(image.values, np.arange(6).reshape(shape, order="F"))
    assert image.grid == Grid(shape, lengths=lengths)
    with pytest.raises(ValueError, match="leave out axes='yx'"):
        load_image(path, axes="yx")


def test_a_changed_spacing_of_vti_is_believed(tmp_path):
    path = tmp_path / "a.vti"
    save_image(path, ROWS, Grid((2, 3), lengths=(2, 3)))
    path.write_bytes(path.read_bytes().replace(b'Spacing="1 1 1"', b'Spacing="4 2 1"'))
    assert load_image(path).grid.lengths == (8, 6)


# --- what is refused ---


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
    ("a.vti", VTI.format(kind="Cell", extent="0 6 0 0 0 0", numbers="0 1 2 3 4 5", more="").encode(), "has .* points"),
    (
        "a.vti",
        VTI.format(
            kind="Cell", extent="0 3 0 2 0 0", numbers="0 1 2 3 4 5", more=' Direction="0 1 0 1 0 0 0 0 1"'
        ).encode(),
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
    if suffix in FORMATS:
        save_image(path, values(GRIDS[0]), GRIDS[0])
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


# --- from grey values to fractions ---


def test_segment_counts_the_thresholds_below():
    grey = np.array([[0, 50, 99], [100, 255, 49]], np.uint8)
    np.testing.assert_array_equal(segment(grey, [50, 100]), [[0, 1, 1], [2, 2, 0]])
    np.testing.assert_array_equal(segment(grey, 50), [[0, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize("thresholds", [[], [2, 1], [1, 1], [np.nan]])
def test_thresholds_must_increase(thresholds):
    with pytest.raises(ValueError, match="thresholds must be one or more finite numbers in increasing order"):
        segment(ROWS, thresholds)


def test_segment_refuses_nan():
    with pytest.raises(ValueError, match="1 values that are not finite"):
        segment(np.array([[1.0, np.nan]]), 0.5)


@pytest.mark.x32
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_phases_are_one_hot(dtype):
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 2)).astype(dtype)
    phases = phases_from_labels(labels, 4)
    assert phases.shape == (4, 5, 2, 4)
    assert phases.dtype == jnp.result_type(float)
    np.testing.assert_array_equal(phases.sum(-1), np.ones((4, 5, 2)))
    np.testing.assert_array_equal(phases.argmax(-1), labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0.5, 1.0]]), "must be whole numbers; grey values become labels by segment"),
        (np.array([[0, np.nan]]), "must be whole numbers"),
        (np.array([[0, 255]]), r"must be 0, ..., 1 for 2 phases; the image has 0, 255. np.unique"),
        (np.array([[-1, 0]]), "the image has -1, 0"),
        (np.arange(20)[None], r"the image has 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\. "),
    ],
)
def test_what_is_no_label_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        phases_from_labels(labels, 2)


@pytest.mark.x32
def test_coarsening_keeps_the_volume_of_each_phase_in_each_block():
    phases = phases_from_labels(np.random.default_rng(0).integers(0, 3, (6, 4, 8)), 3)
    coarse = coarsen(phases, (3, 1, 4))
    assert coarse.shape == (2, 4, 2, 3)
    assert coarse.dtype == phases.dtype
    np.testing.assert_allclose(coarse[1, 2, 0], phases[3:, 2, :4].mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_array_equal(coarsen(phases, 1), phases)
    np.testing.assert_allclose(coarsen(phases, 2).sum(-1), np.ones((3, 2, 4)), rtol=1e-6)


@pytest.mark.parametrize("factor", [0, 3, (2, 3), (2,)])
def test_a_factor_must_divide_the_grid(factor):
    with pytest.raises(
        ValueError, match=r"factor must divide the grid \(4, 4\) along each axis; got .* Crop the image"
    ):
        coarsen(phases_from_labels(np.zeros((4, 4)), 2), factor)
