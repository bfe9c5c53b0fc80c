"""What a user of a notebook sees: each figure once, results as HTML tables, progress with totals and the best loss."""

import os
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

import numpyro_homog as nh

BEGIN = """
import warnings
import jax, jax.numpy as jnp, numpy as np, numpyro, numpyro.distributions as dist
import matplotlib.pyplot as plt
import numpyro_homog as nh

def model(num_specimens):
    kappa = numpyro.sample("kappa", dist.LogNormal(0.5, 0.5))
    with numpyro.plate("specimens", num_specimens):
        share = numpyro.sample("share", dist.Beta(2.0, 3.0))
        nh.homogenize("K_eff", nh.LaminateCell(), (jnp.stack([share, 1 - share], -1), jnp.stack([kappa, 1.0])))

share = np.random.default_rng(0).beta(2, 3, 200)
data = {"K_eff": 1 / (share / 5 + 1 - share).reshape(-1, 1, 1)}
estimator = nh.MinimumDistance(model, data, nh.SlicedWasserstein())
cell = nh.CellProblem(nh.Grid((6, 6)), nh.Conductivity(), nh.Periodic())
field = jnp.ones((6, 6)).at[:3].set(5.0)
body, lame = nh.CellProblem(cell.grid, nh.LinearElasticity(), nh.Periodic()), nh.Lame(field, field)
mesh = nh.Mesh([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2], [0, 2, 3]], "TRI3", labels=[0, 1])
"""
FIT = "fit = estimator.run(jax.random.key(0), num_specimens=2400, num_starts=2)"
REPORT = """
report = nh.identifiability(model, {"kappa": jnp.array(5.0)}, nh.SlicedWasserstein(), 2000, keys=["K_eff"],
                            rng_key=jax.random.key(1))
report
"""
# Each plot as the value of a cell.
PLOTS = {
    "plot_cloud": "nh.plot_cloud(data['K_eff'])",
    "plot_convergence": "nh.plot_convergence(fit)",
    "plot_field": "nh.plot_field(field)",
    "plot_identifiability": "nh.plot_identifiability(report)",
    "plot_image": "nh.plot_image(np.arange(36).reshape(6, 6), cell.grid)",
    "plot_local_fields": "nh.plot_local_fields(cell, field, nh.solve_cell(cell, field))",
    "plot_mesh": "nh.plot_mesh(mesh)",
    "plot_stresses": "nh.plot_stresses(body, lame, nh.solve_cell(body, lame))",
}
OTHER_WAYS = {
    "assigned": "figure = nh.plot_field(field)",
    "in axes of the caller": "_, ax = plt.subplots()\nnh.plot_field(field, ax=ax)",
    "in the middle of a cell": "nh.plot_field(field)\nprint('more')",
    "shown by show": "nh.plot_field(field)\nplt.show()",
    "shown by display": "display(nh.plot_field(field))",
    "asked for again": "figure",
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Outputs of each cell, by its source."""
    sources = [BEGIN, FIT, "fit", "fit.basins", REPORT, *PLOTS.values(), *OTHER_WAYS.values()]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    folder = tmp_path_factory.mktemp("notebook")
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    environment |= {"PYTHONPATH": str(Path(nh.__file__).parents[1]), "IPYTHONDIR": str(folder)}
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(env=environment):
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
    return {cell.source: cell.outputs for cell in notebook.cells}


def pictures(outputs):
    return [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.slow
@pytest.mark.parametrize("source", [*PLOTS.values(), *OTHER_WAYS.values()])
def test_a_figure_is_shown_once(cells, source):
    assert len(pictures(cells[source])) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "title"), [("fit", "MinimumDistanceResult"), ("fit.basins", "Basins"), (REPORT, "Identifiability")]
)
def test_a_result_is_an_html_table(cells, source, title):
    (page,) = [output.data["text/html"] for output in cells[source] if "text/html" in output.get("data", {})]
    assert f"<strong>{title}" in page
    assert "<td>kappa" in page


@pytest.mark.slow
def test_progress_has_a_total_and_the_best_loss(cells):
    text = "".join(output.get("text", "") for output in cells[FIT])
    last = text.split("\r")[-1]
    done, total, best = re.search(r"(\d+)/(\d+) descents .*best loss ([\d.e-]+) with 2400 specimens", last).groups()
    assert done == total
    assert 0 < float(best) < 0.1


def test_every_plot_is_in_this_list():
    assert {name for name in vars(nh.plots) if name.startswith("plot_")} == PLOTS.keys()
