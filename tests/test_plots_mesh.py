"""Pictures of meshes: what is drawn where, and what is refused."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from mesh_cells import box_mesh

import numpyro_homog as nh
from numpyro_homog.plots import plot_mesh

pytestmark = pytest.mark.usefixtures("drawn")


@pytest.mark.parametrize("kind", ["TRI3", "TRI6", "QUAD4", "QUAD8"])
def test_the_elements_cover_the_box_in_the_colours_of_their_phases(kind):
    mesh = box_mesh((3, 2), kind, (3.0, 1.0))
    figure = plot_mesh(mesh, labels=[f"cell {i}" for i in range(6)])
    (outlines,) = figure.axes[0].collections
    polygons = [path.vertices[:-1] for path in outlines.get_paths()]
    shoelace = [0.5 * np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1)) for p in polygons]
    assert np.sum(shoelace) == pytest.approx(3.0)
    assert np.min(shoelace) > 0
    colors = outlines.get_facecolors()
    assert len(np.unique(colors, axis=0)) == 6
    patch = figure.axes[0].get_legend().get_patches()[mesh.labels[-1]]
    np.testing.assert_allclose(colors[-1], patch.get_facecolor())


def test_values_have_a_colour_bar():
    mesh = box_mesh((3, 2), "TRI3")
    values = np.arange(mesh.num_elements) / 7
    _, ax = plt.subplots()
    figure = plot_mesh(mesh, values, colorbar_label="k [W/(m K)]", edges=False, ax=ax)
    assert figure is ax.figure
    np.testing.assert_array_equal(ax.collections[0].get_array(), values)
    assert figure.axes[-1].get_ylabel() == "k [W/(m K)]"


def test_what_cannot_be_drawn_is_refused():
    mesh = box_mesh((3, 2), "TRI3")
    with pytest.raises(ValueError, match="plane"):
        plot_mesh(box_mesh((1, 1, 2), "TET4"))
    with pytest.raises(ValueError, match="12 elements; got"):
        plot_mesh(mesh, np.ones(5))
    with pytest.raises(ValueError, match="not finite"):
        plot_mesh(mesh, np.full(12, np.nan))
    with pytest.raises(ValueError, match="6 phases"):
        nh.plot_mesh(mesh, labels=["a"])


def test_the_legend_has_the_names_of_the_file():
    mesh = box_mesh((2, 1), "TRI3")
    figure = plot_mesh(nh.Mesh(mesh.points, mesh.elements, "TRI3", labels=mesh.labels, tags=["resin", 7]))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["resin", "tag 7"]
    figure = plot_mesh(mesh)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["phase 1", "phase 2"]
