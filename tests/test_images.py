"""Files of images: what is read, in which order of the axes, what is written and comes back, what is refused."""

import json
import os

import h5py
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from numpyro_homog.grids import Grid
from numpyro_homog.homogenization import CellProblem, Conductivity, Periodic, effective_tensor
from numpyro_homog.images import load_image, save_image, segment

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
