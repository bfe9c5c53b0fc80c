import subprocess
import sys
from types import SimpleNamespace

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from numpyro_homog.plots import plot_cloud, plot_convergence, plot_field

pytestmark = pytest.mark.usefixtures("drawn")


def phases(*batch, num_phases=3, n=8):
    return np.random.default_rng(3).dirichlet(np.ones(num_phases), size=(*batch, n, n))


def spd(num, d, seed=7):
    factor = np.random.default_rng(seed).normal(size=(num, d, d))
    return factor @ factor.swapaxes(1, 2) + np.eye(d)


def legend_texts(owner):
    legends = getattr(owner, "legends", None) or [owner.get_legend()]
    return [text.get_text() for text in legends[0].get_texts()]


# --- cells ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_phases_are_blended_and_named(dtype):
    field = phases().astype(dtype)
    field[2, 5] = [0, 1, 0]
    figure = plot_field(jnp.asarray(field))
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_1$", "$x_2$")
    assert legend_texts(figure) == ["phase 1", "phase 2", "phase 3"]
    (image,) = ax.images
    assert image.get_array().shape == (8, 8, 3)
    assert image.get_extent() == [0, 1, 0, 1]
    # First grid axis to the right, second up; a pure voxel has its colour in the legend.
    color = figure.legends[0].get_patches()[1].get_facecolor()
    np.testing.assert_allclose(image.get_array()[5, 2], color[:3])


def test_a_scalar_field_has_a_colorbar_with_the_unit():
    field = np.arange(12.0).reshape(4, 3)
    figure = plot_field(field, lengths=(2.0, 1.5), colorbar_label="k [W/(m K)]")
    ax, bar = figure.axes
    assert bar.get_ylabel() == "k [W/(m K)]"
    np.testing.assert_array_equal(ax.images[0].get_array(), field.T)
    assert ax.images[0].get_extent() == [0, 2, 0, 1.5]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]


def test_a_tensor_field_is_drawn_by_its_mean_diagonal():
    field = np.broadcast_to(np.array([[1.0, 5.0], [5.0, 2.0]]), (4, 4, 2, 2))
    figure = plot_field(field)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), np.full((4, 4), 1.5))


@pytest.mark.parametrize(
    ("field", "num_cells"),
    [
        (phases(4), 4),
        (phases(9, num_phases=2), 6),
        (np.random.default_rng(0).random((3, 8, 8)), 3),
        (np.broadcast_to(np.eye(2), (2, 8, 8, 2, 2)), 2),
        (phases(num_phases=12), 1),
    ],
)
def test_cells_of_a_batch_stand_in_a_row(field, num_cells):
    figure = plot_field(field)
    cells = [ax for ax in figure.axes if ax.images and ax.get_xlabel()]
    assert len(cells) == num_cells
    assert [bool(ax.get_ylabel()) for ax in cells] == [True] + [False] * (num_cells - 1)
    if len(figure.axes) > num_cells:  # a colorbar, true for all of them
        assert len({image.get_clim() for ax in cells for image in ax.images}) == 1


def test_max_cells():
    assert len(plot_field(phases(9), max_cells=2).axes) == 2


def test_a_cell_goes_into_the_axes_of_the_caller():
    figure, (left, right) = plt.subplots(1, 2)
    assert plot_field(phases(), ax=right, labels=["steel", "glass", "air"]) is figure
    assert len(right.images) == 1
    assert not left.images
    assert legend_texts(right) == ["steel", "glass", "air"]
    assert plot_field(phases(), ax=left, labels=[]) is figure
    assert left.get_legend() is None
    with pytest.raises(ValueError, match="ax holds one cell, but field is a batch of 2"):
        plot_field(phases(2), ax=left)


@pytest.mark.parametrize(
    ("field", "options", "message"),
    [
        (np.ones(5), {}, r"got shape \(5,\)"),
        (np.ones((4, 4, 3, 3)), {}, r"tensors \(n1, n2, 2, 2\), .* got shape \(4, 4, 3, 3\)"),
        (np.ones((0, 4, 4)), {}, r"field is empty: its shape is \(0, 4, 4\)"),
        (np.array([[1, np.nan], [np.inf, 1]]), {}, "field has 2 values that are not finite"),
        (np.ones((4, 4)), {"lengths": (1, 0)}, "two positive edge lengths"),
        (np.ones((4, 4)), {"lengths": (1, 1, 1)}, "two positive edge lengths"),
        (phases(), {"labels": ["a", "b"]}, "field has 3 phases, but there are 2 labels"),
    ],
)
def test_a_field_that_cannot_be_drawn(field, options, message):
    with pytest.raises(ValueError, match=message):
        plot_field(field, **options)


# --- clouds ---

THREE = ["11", "22", "33", "12", "13", "23"]


@pytest.mark.parametrize(("d", "names"), [(1, ["11"]), (2, ["11", "22", "12"]), (3, THREE)])
def test_cloud_of_measured_tensors(d, names):
    figure = plot_cloud(spd(50, d), unit="W/(m K)")
    p = len(names)
    axes = np.reshape(figure.axes, (p, p))
    expected = [f"$K_{{{name}}}$ [W/(m K)]" for name in names]
    assert [ax.get_xlabel() for ax in axes[-1]] == expected
    assert [ax.get_ylabel() for ax in axes[1:, 0]] == expected[1:]
    for (i, j), ax in np.ndenumerate(axes):
        assert ax.get_visible() == (i >= j)
        assert len(ax.collections) == (i > j)
        assert len(ax.patches) == (i == j)
    assert not figure.legends
    if d == 3:
        plt.close(figure)  # drawing its 36 axes takes seconds


def test_cloud_against_a_fit():
    measured, fitted = spd(50, 2), jnp.asarray(spd(300, 2, seed=8))
    figure = plot_cloud(measured, fitted, symbol="D", labels=("lab", "model"), max_points=100)
    axes = np.reshape(figure.axes, (3, 3))
    assert legend_texts(figure) == ["lab", "model"]
    assert axes[2, 0].get_xlabel() == "$D_{11}$"
    assert len(axes[0, 0].patches) == 2
    ours, theirs = axes[2, 0].collections
    np.testing.assert_allclose(ours.get_offsets(), measured[:, 0, :], rtol=1e-6)
    np.testing.assert_allclose(theirs.get_offsets(), np.asarray(fitted)[::3, 0, :], rtol=1e-6)
    # Both are histograms of densities over the same bins.
    for patch in axes[1, 1].patches:
        heights, edges, _ = patch.get_data()
        np.testing.assert_allclose(heights @ np.diff(edges), 1)
    limits = axes[2, 1].get_ylim()
    assert limits[0] < min(measured[:, 0, 1].min(), fitted[:, 0, 1].min())
    assert limits[1] > max(measured[:, 0, 1].max(), fitted[:, 0, 1].max())


def test_a_component_without_spread_is_drawn():
    tensors = spd(10, 2)
    tensors[:, 0, 1] = tensors[:, 1, 0] = 0
    tensors[:, 0, 0] = 3
    plot_cloud(tensors, tensors)


def test_a_cloud_goes_into_the_subfigure_of_the_caller():
    figure = plt.figure(layout="constrained")
    _, right = figure.subfigures(1, 2)
    assert plot_cloud(spd(10, 2), spd(10, 2), fig=right) is figure
    assert len(right.axes) == 9


@pytest.mark.parametrize(
    ("measured", "fitted", "message"),
    [
        (np.eye(2), None, r"measured must have shape \(specimens, d, d\).* got \(2, 2\)"),
        (np.ones((1, 2, 2)), None, "at least 2 specimens"),
        (spd(4, 2), np.ones((4, 2, 3)), r"fitted must have shape"),
        (spd(4, 2), spd(4, 3), "measured and fitted have 3 and 6 components"),
        (np.full((4, 2, 2), np.nan), None, "measured has 4 tensors that are not finite"),
    ],
)
def test_a_cloud_that_cannot_be_drawn(measured, fitted, message):
    with pytest.raises(ValueError, match=message):
        plot_cloud(measured, fitted)


# --- convergence ---

LOSSES = np.array([[3.0, 2.0, 1.0, np.nan], [4.0, 0.5, 0.2, 0.1], [np.nan] * 4, [5.0, 1.5, np.nan, np.nan]])


def test_convergence_highlights_the_best_start():
    figure = plot_convergence(LOSSES)
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("iteration", "loss", "log")
    assert legend_texts(ax) == ["best of 4 starts", "other starts"]
    curves = [line for line in ax.lines if line.get_marker() == "None"]
    assert [len(line.get_xdata()) for line in curves] == [3, 2, 4]
    best = ax.get_legend().get_lines()[0]
    assert best.get_color() == curves[-1].get_color() != curves[0].get_color()
    np.testing.assert_array_equal(curves[-1].get_ydata(), LOSSES[1])


def test_convergence_of_a_fit_prints_its_basins():
    class Basins(tuple):
        def __repr__(self):
            return "basin  starts\n    0  0"

    # The fit knows better than the last loss which start is best: it may have looked with more specimens.
    fit = SimpleNamespace(losses=jnp.asarray(LOSSES), basins=Basins([SimpleNamespace(starts=(0,))]))
    (ax,) = plot_convergence(fit).axes
    assert [text.get_text() for text in ax.texts] == [repr(fit.basins)]
    assert ax.get_legend().get_lines()[0].get_color() == ax.lines[-1].get_color()
    np.testing.assert_array_equal(ax.lines[-2].get_ydata(), LOSSES[0, :3])
    figure, other = plt.subplots()
    assert plot_convergence(fit, ax=other) is figure
    assert not other.texts


def test_one_start_with_a_loss_that_is_not_positive():
    figure, ax = plt.subplots()
    assert plot_convergence(np.array([[1.0, 0.0, -1.0]]), ylabel="negative log density", ax=ax) is figure
    assert (ax.get_yscale(), ax.get_ylabel()) == ("linear", "negative log density")
    assert legend_texts(ax) == ["best of 1 starts"]


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (np.ones(5), r"\(num_starts, num_iterations\), padded with NaN; got shape \(5,\)\."),
        (np.full((2, 3), np.nan), r"got shape \(2, 3\) without a finite value"),
    ],
)
def test_losses_that_cannot_be_drawn(losses, message):
    with pytest.raises(ValueError, match=message):
        plot_convergence(losses)


# --- the import ---


@pytest.mark.slow
def test_importing_the_package_does_not_import_matplotlib():
    code = "import sys, numpyro_homog.plots; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
