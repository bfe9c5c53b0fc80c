# %% [markdown]
# # From an image to an effective tensor
#
# **Question.** A microscope gives a grey picture of a resin: dark pores, grey resin, bright grains of glass. Each of
# the three conducts heat differently. How well does the material conduct as a whole, in which direction, and where
# does the heat run?
#
# Run it on your own image, in two or three dimensions, with
#
#     python tutorials/02_image.py --image scan.tif --thresholds 80 165 --conductivities 0.026 0.25 1.1 --spacing 2.5
#
# An image is a .png, a .tif stack, a folder of slices, .npy, .npz, .vti, or HDF5 as FANS has it; `docs/images.md` has
# the details. Leave out the thresholds if it holds labels 0, 1, 2, ... already. With `FAST=1` in the environment
# everything is small, and takes less than a minute.

# %%
import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import PIL.Image
from scipy.ndimage import gaussian_filter, median_filter

import numpyro_homog as nh

FAST = os.environ.get("FAST", "0") == "1"
parser = argparse.ArgumentParser(description="Effective conductivity of a microstructure from an image of it.")
parser.add_argument("--image", type=Path, help="file or folder; default: a picture and a stack that are made here")
parser.add_argument("--dataset", help="name of the array in files that hold several")
parser.add_argument("--axes", help="axes of the array in the file; default: yx for pictures, zyx for stacks")
parser.add_argument("--spacing", type=float, help="edge length of a voxel; default: what the file says")
parser.add_argument("--length-unit", default="µm", help="unit of the spacing")
parser.add_argument("--thresholds", type=float, nargs="+", help="grey values between the phases; default: labels")
parser.add_argument("--conductivities", type=float, nargs="+", help="one for each phase, in W/(m K)")
parser.add_argument("--names", nargs="+", help="names of the phases, for the legend")
parser.add_argument("--coarsen", type=int, default=2, help="voxels along the edge of a block that becomes one")
parser.add_argument("--out", type=Path, default=Path("out"), help="folder for figures and results")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)
options.out.mkdir(parents=True, exist_ok=True)
begin = time.perf_counter()

# %% [markdown]
# ## An image to work with
#
# Smooth noise, cut at two levels, with the blur and the noise of a camera: one picture and one stack of slices. They
# are periodic. A real image is not; then the material beyond an edge is the opposite edge, which falsifies a layer
# about as thick as the features. Take an image that is many features wide.


# %%
def photograph(shape, feature, rng):
    smooth = gaussian_filter(rng.normal(size=shape), feature, mode="wrap")
    low, high = np.quantile(smooth, [0.2, 0.65])
    grey = np.select([smooth < low, smooth < high], [45.0, 120.0], 210.0)
    return (gaussian_filter(grey, 0.6, mode="wrap") + rng.normal(0, 9, shape)).clip(0, 255).astype(np.uint8)


paths = [options.image]
if options.image is None:
    rng = np.random.default_rng(7)
    slices = photograph((24, 32, 40) if FAST else (48, 64, 80), 3 if FAST else 4, rng)
    picture = photograph((96, 144) if FAST else (240, 320), 4 if FAST else 6, rng)
    paths = [options.out / "image_2d.png", options.out / "image_3d.tif"]
    PIL.Image.fromarray(picture).save(paths[0])
    first, *others = map(PIL.Image.fromarray, slices)
    first.save(paths[1], save_all=True, append_images=others)
    options.spacing, options.thresholds, options.conductivities = 2.5, [80.0, 165.0], [0.026, 0.25, 1.1]
    options.names = ["pore", "resin", "glass"]
kappa = options.conductivities
if kappa is None or (options.thresholds and len(options.thresholds) + 1 != len(kappa)):
    parser.error("--conductivities must name one number for each phase: one more than there are thresholds")

# %% [markdown]
# ## From grey values to a conductivity in each voxel
#
# A median filter takes the noise away, thresholds make labels, and labels become volume fractions of phases. Averaged
# over blocks of 2 x 2 (x 2) voxels they are four (eight) times cheaper; `mix` gives a voxel that two phases share the
# conductivity of a laminate along their interface. `axes` says that x runs along the rows of a picture and y down its
# columns, and z across the slices, so that figures look like the picture.


# %%
def labelled(path):
    picture = path.is_dir() or path.suffix.lower() in (".png", ".tif", ".tiff")
    guess = {2: "yx", 3: "zyx"}[nh.load_image(path).grid.ndim] if picture else None
    image = nh.load_image(path, dataset=options.dataset, spacing=options.spacing, axes=options.axes or guess)
    if options.thresholds is None:
        return image, image.values
    return image, nh.segment(median_filter(image.values, 3, mode="wrap"), options.thresholds)


def material(labels, grid, factor):
    """The cell problem on blocks of voxels, and its field of conductivities."""
    labels = labels[tuple(slice(n // factor * factor) for n in grid.shape)]
    phases = nh.coarsen(nh.phases_from_labels(labels, len(kappa)), factor)
    lengths = [n * spacing for n, spacing in zip(labels.shape, grid.spacing, strict=True)]
    cell = nh.CellProblem(nh.Grid(phases.shape[:-1], lengths=lengths), nh.Conductivity(), nh.Periodic(), tolerance=1e-5)
    return cell, nh.mix(phases, jnp.asarray(kappa), grid=cell.grid)


# %% [markdown]
# ## Solve, look, save
#
# The corrector shows how the temperature departs from a straight slope; isolines crowd where the material insulates.
# The flux shows the paths that carry the heat. It goes to an HDF5 file, and to a .vti file for ParaView if VTK is
# installed.

# %%
tensors, means = {}, {}
for path in paths:
    image, labels = labelled(path)
    cell, field = material(labels, image.grid, options.coarsen)
    solution = nh.solve_cell(cell, field)
    flux = nh.local_fields(cell, field, solution).flux
    name = f"{image.grid.ndim}d"
    tensors[name], means[name] = np.asarray(solution.effective), np.asarray(flux.mean(tuple(range(1, flux.ndim - 1))))
    fractions = np.bincount(labels.ravel(), minlength=len(kappa)) / labels.size
    lower, upper = nh.hashin_shtrikman_bounds(jnp.asarray(fractions), jnp.asarray(kappa), ndim=image.grid.ndim)
    print(f"{path.name}: {' x '.join(map(str, image.values.shape))} voxels, fractions {np.round(fractions, 3)}")
    print(f"effective conductivity in W/(m K), isotropic bounds {lower:.3g} to {upper:.3g}:\n{tensors[name].round(4)}")

    look = {"length_unit": options.length_unit, "origin": "upper"}
    figures = {
        "grey": nh.plot_image(image.values, image.grid, **look),
        "labels": nh.plot_image(labels, image.grid, labels=options.names, **look),
        "fields": nh.plot_local_fields(cell, field, solution, flux_unit="W/(m K)", **look),
    }
    for kind, figure in figures.items():
        figure.savefig(options.out / f"image_{name}_{kind}.png", dpi=150)
    fields = {f"flux_{m + 1}": np.asarray(one) for m, one in enumerate(flux)}
    nh.save_image(options.out / f"image_{name}_fields.h5", fields, cell.grid)
    with contextlib.suppress(ImportError):
        nh.save_image(options.out / f"image_{name}_fields.vti", fields, cell.grid)
print(f"\nFigures and fields are in {options.out}/. It took {time.perf_counter() - begin:.0f} s.")

# %% [markdown]
# ## Is it right?
#
# The mean flux of a load case must be a column of the tensor. And smaller blocks must not change much: voxels conduct
# a little too well, so the tensor usually comes down as they shrink, and the steps tell how far it still has to go.

# %%
for name, tensor in tensors.items():
    np.testing.assert_allclose(means[name], tensor, atol=0.01 * np.trace(tensor))
image, labels = labelled(paths[0])
for factor in (4, 2, 1) if options.image is None else (2 * options.coarsen, options.coarsen):
    tensor = np.asarray(nh.effective_tensor(*material(labels, image.grid, factor)))
    print(f"blocks of {factor}: K11 = {tensor[0, 0]:.4f}, K22 = {tensor[1, 1]:.4f} W/(m K)")

# %%
if options.image is None:
    known = [0.2792, 0.2806] if FAST else [0.2731, 0.3006]  # this script, in 32 bits
    np.testing.assert_allclose(np.diag(tensor), known, rtol=0.01)
    np.testing.assert_allclose(np.diag(tensors["2d"]), known, rtol=0.01)
