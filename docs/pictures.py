"""The pictures of the first page and of the gallery; `python docs/pictures.py FOLDER` draws them alone."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import Delaunay

import numpyro_homog as nh

PLATE = nh.Grid((60, 40), lengths=(6.0, 4.0))  # of the image, in mm


def landing():
    """Cells as nobody saw them, and what was measured of a thousand such cells."""
    measured, truth = nh.load_example("laguerre_plates"), nh.example_truth("laguerre_plates")
    law = nh.LaguerreTessellation(nh.Grid((128, 128)), jnp.asarray(truth["delays"]), sharp=True)
    figure = plt.figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.3))
    for axis, phases in zip(left.subplots(2, 2).flat, law.sample(jax.random.key(2), (4,)), strict=True):
        nh.plot_field(phases, labels=[], ax=axis)
        axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
    left.suptitle("microstructures that nobody saw")
    axis = right.subplots()
    axis.plot(measured[:, 0, 0], measured[:, 1, 1], ".", ms=4, alpha=0.6, color="#004488")
    axis.set(xlabel="$K_{11}$ [W/(m K)]", ylabel="$K_{22}$ [W/(m K)]", title="one measured tensor of each")
    axis.set_aspect("equal")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def plates():
    """A cell of the quickstart."""
    law = nh.LaguerreTessellation(nh.Grid((64, 64)), jnp.array([0.0, 0.1, 0.05]))
    return nh.plot_field(law.sample(jax.random.key(5)))


def clouds():
    """Measured and simulated tensors."""
    measured, truth = nh.load_example("laguerre_plates"), nh.example_truth("laguerre_plates")
    cell = nh.CellProblem(nh.Grid((24, 24)), nh.Conductivity(), nh.Periodic(), tolerance=1e-3)
    phases = nh.LaguerreTessellation(cell.grid, jnp.asarray(truth["delays"])).sample(jax.random.key(1), (1000,))
    simulated = nh.effective_tensor(cell, nh.mix(phases, jnp.asarray(truth["kappa"])))
    return nh.plot_cloud(measured, simulated, labels=("measured", "simulated"), unit="W/(m K)")


def grains():
    """A polycrystal of a hundred grains."""
    law = nh.VoronoiPhases(nh.Grid((96, 96)), jnp.array([0.2, 0.3, 0.5]), 100)
    return nh.plot_field(law.sample(jax.random.key(0)))


def _image():
    """Labels of three phases, as a scan gives them; 40 x 60 voxels."""
    smooth = gaussian_filter(np.random.default_rng(7).normal(size=(60, 40)), 3, mode="wrap")
    return np.digitize(smooth, np.quantile(smooth, [0.2, 0.65]))


def image():
    """A segmented image."""
    return nh.plot_image(_image(), PLATE, labels=["pore", "resin", "glass"], length_unit="mm")


def flux():
    """Where the heat runs."""
    cell = nh.CellProblem(PLATE, nh.Conductivity(), nh.Periodic())
    field = jnp.array([0.026, 0.25, 1.1])[_image()]
    flux = nh.local_fields(cell, field, nh.solve_cell(cell, field)).flux[0]
    strength = np.linalg.norm(flux, axis=-1)
    return nh.plot_field(strength, lengths=PLATE.lengths, colorbar_label="flux per unit gradient [W/(m K)]")


def stress():
    """The mean stress in a pull, phase by phase."""
    cell = nh.CellProblem(PLATE, nh.LinearElasticity(), nh.Periodic())
    moduli = nh.lame_from_young(jnp.array([0.1, 3.0, 70.0]), jnp.array([0.1, 0.4, 0.2]))
    field = nh.Lame(*(modulus[_image()] for modulus in moduli))
    flux = np.asarray(nh.local_fields(cell, field, nh.solve_cell(cell, field)).flux)
    return nh.plot_field(flux[0, ..., 0], lengths=cell.grid.lengths, colorbar_label="stress 11 [GPa]")


def layers():
    """Concentrations of three materials, and the harmonic mean that is measured."""
    figure, axis = plt.subplots(layout="constrained")
    for gamma in (0.3, 1.0, 10.0):
        fractions = np.random.default_rng(0).dirichlet(gamma * np.array([0.5, 0.3, 0.2]), 20_000)
        kappa = 1 / (fractions / np.array([1.0, 4.0, 10.0])).sum(axis=1)
        axis.hist(kappa, 80, density=True, histtype="step", label=f"gamma = {gamma:g}")
    axis.set(xlabel="effective conductivity [W/(m K)]", ylabel="density", yscale="log")
    axis.legend()
    return figure


def field():
    """A random field, cut into phases."""
    grid = nh.Grid((96, 96))
    covariance = nh.PeriodicMatern(grid.lengths, 0.12, 1.5, num_modes=32)
    law = nh.ThresholdedGaussianField(grid, covariance, jnp.array([0.3, 0.4, 0.3]))
    return nh.plot_field(law.sample(jax.random.key(1)))


def specimen():
    """One coordinate of the seeds, over a specimen of many cells."""
    grid = nh.Grid((96, 96))
    covariance = nh.NeumannMatern((1.0, 1.0), tau=40.0, s=4.0, num_modes=48, margin=0.1, variance=1.0)
    return nh.plot_field(nh.GaussianField(grid, covariance).sample(jax.random.key(3)), colorbar_label="field")


def mesh():
    """A circle in a square, of triangles."""
    side, turn = np.linspace(0, 1, 13), np.arange(24) * np.pi / 12
    around = np.stack([np.cos(turn), np.sin(turn)], -1)
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    points = points[np.abs(np.hypot(*(points - 0.5).T) - 0.32) > 0.04]
    points = np.concatenate([points, 0.5 + 0.32 * around])
    triangles = Delaunay(points).simplices
    area = np.linalg.det(points[triangles[:, 1:]] - points[triangles[:, :1]])
    triangles = np.where(area[:, None] > 0, triangles, triangles[:, ::-1])[np.abs(area) > 1e-9]
    labels = np.hypot(*(points[triangles].mean(1) - 0.5).T) < 0.32
    return nh.plot_mesh(nh.Mesh(points, triangles, "TRI3", labels=labels.astype(int)))


PICTURES = (landing, plates, clouds, grains, image, flux, stress, layers, field, specimen, mesh)


def draw(folder):
    """Draw what is missing in a folder, or older than this file."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    for picture in PICTURES:
        path = folder / f"{picture.__name__}.png"
        if path.exists() and path.stat().st_mtime > Path(__file__).stat().st_mtime:
            continue
        figure = picture()
        figure.savefig(path, dpi=110, bbox_inches="tight")
        plt.close(figure)


if __name__ == "__main__":
    draw(sys.argv[1])
