"""Pictures of images and of local fields: what is drawn where, and what is refused."""

import dataclasses
import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.grids import Grid
from numpyro_homog.homogenization import (
    CellProblem,
    Conductivity,
    Lame,
    LinearElasticity,
    Periodic,
    isotropic_stiffness,
    local_fields,
    solve_cell,
)
from numpyro_homog.plots import plot_image, plot_local_fields, plot_stresses

pytestmark = pytest.mark.usefixtures("drawn")

PLANE, SPACE = Grid((6, 4), lengths=(3.0, 1.0)), Grid((4, 3, 5), lengths=(4.0, 1.5, 2.5))


def panels(figure):
    return [ax for ax in figure.axes if ax.get_xlabel()]


# --- images ---


def test_grey_values_of_a_plane_with_units():
    grey = np.arange(24, dtype=np.uint8).reshape(6, 4)
    figure = plot_image(grey, PLANE, length_unit="mm", colorbar_label="attenuation")
    (ax,) = panels(figure)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_1$ [mm]", "$x_2$ [mm]")
    np.testing.assert_array_equal(ax.images[0].get_array(), grey.T)
    assert ax.images[0].get_extent() == [0, 3, 0, 1]
    assert ax.get_ylim() == (0, 1)
    assert figure.axes[-1].get_ylabel() == "attenuation"
    assert panels(plot_image(grey, PLANE, origin="upper"))[0].get_ylim() == (1, 0)


def test_labels_have_the_colours_and_names_of_phases():
    labels = np.arange(24).reshape(6, 4) % 3
    figure = plot_image(labels, PLANE, labels=["pore", "glass", "steel"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["pore", "glass", "steel"]
    image = panels(figure)[0].images[0].get_array()
    color = figure.legends[0].get_patches()[labels[5, 2]].get_facecolor()
    np.testing.assert_allclose(image[2, 5], color[:3])
    assert not plot_image(labels, PLANE, labels=[]).legends


def test_three_slices_of_a_volume():
    grey = np.random.default_rng(0).normal(size=SPACE.shape)
    figure = plot_image(grey, SPACE, position=1.0, length_unit="m")
    slices = panels(figure)
    assert [(ax.get_xlabel()[:5], ax.get_ylabel()[:5]) for ax in slices] == [
        ("$x_1$", "$x_2$"),
        ("$x_1$", "$x_3$"),
        ("$x_2$", "$x_3$"),
    ]
    assert [ax.get_title() for ax in slices] == ["$x_3 = 2.25$ m", "$x_2 = 1.25$ m", "$x_1 = 3.5$ m"]
    for ax, expected in zip(slices, (grey[:, :, -1], grey[:, -1, :], grey[-1]), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), expected.T)
    assert len({ax.images[0].get_clim() for ax in slices}) == 1


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones((4, 6)), {}, r"got \(4, 6\) on \(6, 4\)"),
        (np.ones((6, 4)), {"position": 1.5}, r"position is a fraction of the length, in \[0, 1\]; got 1.5"),
        (np.ones((6, 4), int), {"labels": ["a"]}, "2 phases, but there are 1 labels"),
    ],
)
def test_an_image_that_cannot_be_drawn(values, options, message):
    with pytest.raises(ValueError, match=message):
        plot_image(values, PLANE, **options)


# --- local fields ---


@functools.cache
def solved(grid):
    cell = CellProblem(grid, Conductivity(), Periodic())
    field = jnp.exp(jnp.asarray(np.random.default_rng(0).normal(size=grid.shape)))
    return cell, field, solve_cell(cell, field)


def unsolved(grid, *batch):
    """A cell with a solution that nobody has computed, for what is refused before it is looked at."""
    _, _, solution = solved(PLANE)
    corrector = jnp.zeros((*batch, grid.ndim, *grid.shape))
    cell = CellProblem(grid, Conductivity(), Periodic())
    return cell, jnp.ones((*batch, *grid.shape)), eqx.tree_at(lambda s: s.corrector, solution, corrector)


def test_corrector_above_and_flux_below_for_each_load_case():
    cell, field, solution = solved(PLANE)
    figure = plot_local_fields(cell, field, solution, quantity="voltage", length_unit="mm", flux_unit="S/m")
    above, below = np.reshape(panels(figure), (2, 2))
    assert [ax.get_title() for ax in above] == ["unit gradient along $x_1$", "unit gradient along $x_2$"]
    labels = [ax.get_ylabel() for ax in figure.axes if not ax.get_xlabel()]
    assert labels == ["corrector [mm]\nand isolines of voltage", "flux per unit gradient [S/m]\nand streamlines"]
    # Nodes with the far edges, which repeat the near ones; magnitudes in the voxels.
    mesh = above[1].collections[0].get_array().reshape(5, 7)
    np.testing.assert_allclose(mesh[:4, :6], solution.corrector[1].T)
    np.testing.assert_allclose(mesh[4], mesh[0])
    assert below[0].images[0].get_array().shape == (4, 6)
    assert len(below[0].collections) > 0


def test_streamlines_run_from_high_potential_to_low():
    cell, _, solution = unsolved(PLANE)
    figure = plot_local_fields(cell, jnp.full(PLANE.shape, 2.0), solution)  # no corrector, as it should be
    left, up = np.reshape(panels(figure), (2, 2))[1]
    np.testing.assert_allclose(left.images[0].get_array(), np.full((4, 6), 2.0))
    for ax, axis in ((left, 0), (up, 1)):
        arrows = [patch for patch in ax.patches if hasattr(patch, "_posA_posB")]
        assert arrows
        assert all(head[axis] < tail[axis] for tail, head in (arrow._posA_posB for arrow in arrows))


@pytest.mark.slow
def test_a_plane_of_a_volume():
    cell, field, solution = solved(SPACE)
    figure = plot_local_fields(cell, field, solution, normal=1, position=0.0, length_unit="m")
    above, below = np.reshape(panels(figure), (2, 3))
    assert figure.get_suptitle() == "on the plane $x_2 = 0.25$ m"
    assert {(ax.get_xlabel(), ax.get_ylabel()) for ax in (*above, *below)} == {("$x_1$ [m]", "$x_3$ [m]")}
    middle = (solution.corrector[0, :, 0] + solution.corrector[0, :, 1]) / 2
    np.testing.assert_allclose(above[0].collections[0].get_array().reshape(6, 5)[:5, :4], middle.T)
    assert [bool(ax.collections) for ax in below] == [True, False, True]


@pytest.mark.parametrize(
    ("grid", "batch", "options", "message"),
    [
        (Grid(4), (), {}, "two or three dimensions"),
        (PLANE, (2,), {}, r"draws one cell, but the solution is a batch \(2, 2, 6, 4\); take a member"),
        (SPACE, (), {"normal": 3}, "normal is the axis across the plane: 0, 1 or 2; got 3"),
    ],
)
def test_fields_that_cannot_be_drawn(grid, batch, options, message):
    with pytest.raises(ValueError, match=message):
        plot_local_fields(*unsolved(grid, *batch), **options)


# --- stresses ---


@functools.cache
def elastic(grid, plane="strain"):
    cell = CellProblem(grid, LinearElasticity(plane), Periodic(), tolerance=1e-4)
    rng = np.random.default_rng(0)
    field = Lame(*(jnp.asarray(np.exp(rng.normal(size=grid.shape))) for _ in range(2)))
    return cell, field, solve_cell(cell, field)


def test_stresses_of_a_pull_with_units():
    cell, field, solution = elastic(PLANE, "stress")
    strain = np.array([[2.0, 0.5], [0.5, 0.0]])
    figure = plot_stresses(cell, field, solution, strain=strain, length_unit="mm", stress_unit="GPa")
    stress = np.tensordot([2.0, 0.0, 0.5 * np.sqrt(2)], local_fields(cell, field, solution).flux, 1)
    first, second, shear = stress[..., 0], stress[..., 1], stress[..., 2] / np.sqrt(2)
    von_mises = np.sqrt(first**2 - first * second + second**2 + 3 * shear**2)
    expected = {"stress 11": first, "stress 22": second, "stress 12": shear, "von Mises stress": von_mises}
    assert [ax.get_title() for ax in panels(figure)] == [f"{name} [GPa]" for name in expected]
    for ax, values in zip(panels(figure), expected.values(), strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), values.T, rtol=1e-4, atol=1e-4)
        assert ax.get_xlabel() == "$x_1$ [mm]"


@pytest.mark.slow
def test_the_invariant_is_what_the_field_tells():
    cell, field, solution = elastic(PLANE)
    last = panels(plot_stresses(cell, field, solution))[-1].images[0].get_array().T
    strain, stress = (np.asarray(part[0]) for part in local_fields(cell, field, solution))
    across = np.asarray(field.lame_lambda) * (strain[..., 0] + strain[..., 1])
    whole = np.zeros((*PLANE.shape, 3, 3))
    whole[..., 0, 0], whole[..., 1, 1], whole[..., 2, 2] = stress[..., 0], stress[..., 1], across
    whole[..., 0, 1] = whole[..., 1, 0] = stress[..., 2] / np.sqrt(2)
    deviator = whole - np.trace(whole, axis1=-2, axis2=-1)[..., None, None] * np.eye(3) / 3
    np.testing.assert_allclose(last, np.sqrt(1.5 * (deviator**2).sum((-2, -1))), rtol=1e-4)
    tensors = isotropic_stiffness(*field, 2)
    figure = plot_stresses(cell, tensors, solve_cell(cell, tensors))
    assert panels(figure)[-1].get_title() == "largest shear stress in the plane"


def test_stresses_that_cannot_be_drawn():
    cell, field, solution = elastic(PLANE, "stress")
    for strain in (np.ones(3), [[0.0, 1.0], [0.0, 0.0]]):
        with pytest.raises(ValueError, match=r"symmetric matrix of shape \(2, 2\)"):
            plot_stresses(cell, field, solution, strain=strain)
    with pytest.raises(ValueError, match=r"has those of loads=\[0\] only"):
        plot_stresses(cell, field, dataclasses.replace(solution, loads=(0,)))
    with pytest.raises(ValueError, match="draw an elastic cell by plot_stresses"):
        plot_local_fields(cell, field, solution)
    with pytest.raises(ValueError, match="LinearElasticity"):
        plot_stresses(*solved(PLANE))


def test_a_failed_solution_is_refused():
    cell, field, _ = solved(PLANE)
    with pytest.raises(ValueError, match="solve_cell failed"):
        plot_local_fields(cell, field, solve_cell(cell, -field, throw=False))
