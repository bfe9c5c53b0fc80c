"""The public names: what is there, that it is documented, and that it comes from where it should."""

import importlib
import inspect
import pkgutil
import tomllib
import types
from pathlib import Path

import pytest

import numpyro_homog as nh

TOP_LEVEL = {
    "Affine", "CellProblem", "CellSolution", "CheckerboardCell", "Conductivity", "Grid", "Image",
    "LaguerreTessellation", "Lame", "LaminateCell", "LinearElasticity", "MinimumDistance", "MinimumDistanceResult",
    "Periodic", "RESULTS", "SlicedWasserstein", "UniformFlux", "coarsen", "effective_tensor", "example_names",
    "example_truth", "generalized_bayes", "hashin_shtrikman_bounds", "homogenize", "isotropic_stiffness",
    "lame_from_bulk", "lame_from_young", "load_example", "load_image", "load_specimens", "local_fields",
    "mandel_to_voigt", "mix", "phases_from_labels", "plot_cloud", "plot_convergence", "plot_field", "plot_image",
    "plot_local_fields", "plot_mesh", "plot_stresses",
    "reuss_bound", "save_image", "save_specimens", "segment", "self_consistent",
    "solve_cell", "thermal_expansion", "voigt_bound", "voigt_to_mandel", "young_from_lame",
    "Mesh", "load_mesh",
    "MeanDilatation", "Multigrid", "ReferenceMedium",
    "EffectiveBounds", "Primal", "PrimalDual", "TwoGridCell", "effective_bounds",
    "UniformSimplex", "VoronoiPhases",
    "Identifiability", "identifiability", "plot_identifiability",
    "posterior_bootstrap",
    "LogEuclidean", "ReweightedFit", "WeightedDistance", "WeightedSlicedWasserstein", "reweight",
    "DirichletCopulaField", "GaussianCopulaField", "GaussianField", "NeumannMatern", "PeriodicMatern",
    "PeriodicSquaredExponential", "ThresholdedGaussianField",
    "FractionSurrogate", "density_likelihood", "emulate", "fit_surrogate",
}  # fmt: skip
NAMESPACES = {
    "clouds",
    "distributions",
    "divergences",
    "handlers",
    "homogenization",
    "images",
    "infer",
    "optimise",
    "io",
    "meshes",
    "plots",
    "population",
    "summaries",
    "surrogates",
    "tensors",
}


def public_names(module):
    return {name for name, value in vars(module).items() if not name.startswith("_") and not is_module(value)}


def is_module(value):
    return isinstance(value, types.ModuleType)


def public_objects():
    for namespace in [nh, *(importlib.import_module(f"numpyro_homog.{name}") for name in sorted(NAMESPACES))]:
        for name in sorted(public_names(namespace)):
            yield pytest.param(namespace, name, id=f"{namespace.__name__}.{name}")


def test_the_top_level_names_are_these():
    assert public_names(nh) == TOP_LEVEL


@pytest.mark.x32
def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert nh.__version__ == project["version"]


def test_daily_names_are_the_objects_of_their_namespaces():
    for name in sorted(NAMESPACES):
        namespace = importlib.import_module(f"numpyro_homog.{name}")
        for shared in public_names(namespace) & TOP_LEVEL:
            assert getattr(nh, shared) is getattr(namespace, shared)


def test_every_package_is_a_known_namespace():
    packages = {module.name for module in pkgutil.iter_modules(nh.__path__) if module.ispkg}
    assert packages - {"data"} == NAMESPACES - {"tensors"}


def test_the_old_name_of_a_part_of_clouds_works_and_says_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"write numpyro_homog.LogEuclidean or numpyro_homog.clouds"):
        assert nh.coordinates.LogEuclidean is nh.LogEuclidean
    with pytest.raises(AttributeError, match="no attribute 'Logarithm'"):
        _ = nh.coordinates.Logarithm


@pytest.mark.parametrize(("namespace", "name"), list(public_objects()))
def test_a_public_object_is_ours_and_documented(namespace, name):
    value = getattr(namespace, name)
    if not callable(value) or not hasattr(value, "__module__"):
        return
    if not str(value.__module__).startswith("numpyro_homog"):
        assert namespace.__name__ == "numpyro_homog.tensors", f"{name} is re-exported from {value.__module__}"
        return
    first = (inspect.getdoc(value) or "").split("\n")[0]
    assert first, f"{name} has no docstring"
    assert first.endswith((".", ":")), f"the first line of {name}'s docstring is no sentence: {first}"
    assert len(first) <= 88, f"the first line of {name} is {len(first)} characters long"
