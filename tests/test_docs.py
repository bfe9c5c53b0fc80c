"""The code in the documentation runs and says what it claims."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import meshio
import numpy as np
import pytest
from mesh_cells import circle_mesh
from numpyro.handlers import seed, trace

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.numpyro_layer
def test_the_examples_of_extending_run():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL):
        exec(block, names)
    nh, cell = names["nh"], names["ParallelCell"]()
    field = (jnp.array([0.25, 0.75]), jnp.array([1.0, 5.0]))
    assert nh.effective_tensor(cell, field).tolist() == [[4.0]]

    def model():
        nh.homogenize("K_eff", cell, field)

    def simulate():  # abstractly: the cells need not be solved here
        sites = trace(seed(names["model"], 0)).get_trace(3)
        return sites["phases"]["value"], sites["K_eff"]["value"]

    assert [part.shape for part in jax.eval_shape(simulate)] == [(3, 16, 16, 2), (3, 2, 2)]
    area = names["disk"](jnp.array([0.2, 0.9]), 0.3)[..., 0].mean()
    np.testing.assert_allclose(area, np.pi * 0.3**2, rtol=1e-2)

    x, y = np.random.default_rng(0).normal(size=(2, 50, 3))
    divergence = names["MomentDistance"]()
    assert divergence(x, x, rng_key=None) == 0
    assert divergence(x, y, rng_key=None) > 0

    answered = trace(names["Constant"](model, jnp.full((1, 1), 7.0))).get_trace()
    assert answered["K_eff"]["value"].tolist() == [[7.0]]


@pytest.mark.slow
def test_the_example_of_images_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "images.md").read_text(), re.DOTALL):
        exec(block, names)
    assert names["flux"].shape == (2, 12, 8, 2)
    assert (tmp_path / "fields.h5").exists()
    plt.close(names["figure"])


@pytest.mark.slow
def test_the_example_of_meshes_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mesh = circle_mesh(0.3, 4, "TRI6")
    contents = meshio.Mesh(mesh.points, [("triangle6", mesh.elements)], cell_data={"gmsh:physical": [mesh.labels + 1]})
    contents.field_data = {"matrix": np.array([1, 2]), "disk": np.array([2, 2])}
    contents.cell_data["gmsh:geometrical"] = contents.cell_data["gmsh:physical"]
    contents.write("cell.msh", file_format="gmsh22")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / "meshes.md").read_text(), re.DOTALL):
        exec(block, names)
    assert names["tensors"].shape == (2, 2, 2)
    np.testing.assert_allclose(names["tensors"][:, 0, 0], [1.652036, 1.812529], rtol=2e-3)


@pytest.mark.slow
def test_the_example_of_cluster_runs():
    fields = np.exp(np.random.default_rng(0).normal(size=(4, 64, 64))).astype(np.float32)
    names = {"fields": fields}
    exec(re.findall(r"```python\n(.*?)```", (DOCS / "cluster.md").read_text(), re.DOTALL)[0], names)
    expected = names["nh"].effective_tensor(names["cell"], jnp.asarray(fields))
    np.testing.assert_allclose(names["tensors"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.numpyro_layer
def test_the_examples_of_random_fields_run():
    page = (DOCS / "microstructures.md").read_text().partition("## Random fields")[2].partition("\n## ")[0]
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["law"].sample(names["jax"].random.key(1)).shape == (10, 40, 3)
    sites = trace(seed(names["model"], 0)).get_trace(3)
    assert sites["K_eff"]["value"].shape == (3, 2, 2)


@pytest.mark.slow
@pytest.mark.numpyro_layer
def test_the_examples_of_random_polycrystals_run():
    page = (DOCS / "microstructures.md").read_text().partition("## Random polycrystals")[2].partition("\n## ")[0]
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert trace(seed(names["model"], 0)).get_trace(3)["phases"]["value"].shape == (3, 64, 64, 3)
    assert trace(seed(names["graded"], 0)).get_trace(3)["phases"]["value"].shape == (3, 64, 64, 2)


@pytest.mark.slow
@pytest.mark.numpyro_layer
def test_the_page_on_surrogates_runs():
    """On a coarser grid, with fewer cells and draws; the data are of the law that the page trains on."""
    names = {}
    first, second, third = re.findall(r"```python\n(.*?)```", (DOCS / "surrogates.md").read_text(), re.DOTALL)
    for block in (first.replace("(64, 64)", "(16, 16)"), second.replace("2000", "200")):
        exec(block, names)
    assert "cells held out" in str(names["fit"])
    names["measured"] = np.asarray(names["tensors"][:60])
    short = third.replace(
        "NUTS(posterior), num_warmup=200, num_samples=500",
        "NUTS(posterior, max_tree_depth=3), num_warmup=9, num_samples=9",
    )
    exec(short, names)
    sites = trace(seed(names["emulated"], 0)).get_trace(3)
    assert sites["K_eff"]["value"].shape == (3, 2, 2)


@pytest.mark.slow
@pytest.mark.numpyro_layer
def test_the_cells_of_elasticity_run(drawn):
    names = {}
    for block in re.findall(r"```{code-cell} ipython3\n(.*?)```", (DOCS / "elasticity.md").read_text(), re.DOTALL):
        exec(block, names)
    assert ((names["expansion"][:2] > 5e-6) & (names["expansion"][:2] < 60e-6)).all()
    assert all(np.isfinite(error).all() for error in names["errors"].values())
