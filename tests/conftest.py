"""A hostile configuration: what would only warn, promote or slip through elsewhere is an error here.

Warnings are errors (pyproject.toml). Shapes and types are checked at run time. Dtype and rank promotion are errors
while a test runs, except where NumPyro's own code takes part. CONTRIBUTING.md says how to use the markers.
"""

import contextlib
import gc
import os
from pathlib import Path

import pytest

# The environment must be set before JAX is imported. The tests run on the CPU, whatever else the machine has.
X64 = os.environ.get("NUMPYRO_HOMOG_TEST_X64", "1") != "0"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1" if X64 else "0"
os.environ["MPLBACKEND"] = "Agg"
# Compiling is most of the time: all programs are kept for the next run and the other workers, until `make clean`. To
# read even the smallest takes less than half the time to compile it, and to write it none that can be measured.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "programs"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import jaxtyping

# Before the first import of the package: its annotations become run-time checks.
jaxtyping.install_import_hook("numpyro_homog", "beartype.beartype")

pytest.register_assert_rewrite("helpers")

# Here NumPyro's own code is at work, which promotes dtypes and ranks as it likes. All else is strict.
NUMPYRO_FOLDERS = frozenset(
    {"distributions", "handlers", "infer", "surrogates", "statistical", "tutorials", "benchmarks"}
)
NUMPYRO_FILES = frozenset(
    {"test_primitives.py", "test_conformance.py", "test_numpyro_contract.py", "test_plots.py", "test_datasets.py"}
)


def is_strict(item: pytest.Item) -> bool:
    """Whether promotion is an error in this test: levels 0 to 2 yes, NumPyro's own code no."""
    if item.get_closest_marker("numpyro_layer"):
        return False
    path = Path(item.path).relative_to(Path(__file__).parent)
    return path.parts[0] not in NUMPYRO_FOLDERS and path.name not in NUMPYRO_FILES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Run the test and every fixture it needs under the promotion rules of its layer."""
    with contextlib.ExitStack() as stack:
        if is_strict(item):
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
            stack.enter_context(jax.numpy_rank_promotion("raise"))
        return (yield)


def count_maps() -> int:
    """Number of memory maps of this process; 0 where the system does not tell."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


@pytest.fixture(scope="module", autouse=True)
def _room_for_programs():
    """Each compiled program takes some memory maps, and the more there are, the more slowly the next one compiles.

    Linux allows 65,530, and beyond it the compiler crashes.
    """
    yield
    if count_maps() > 20_000:
        jax.clear_caches()
        gc.collect()


def pytest_collection_modifyitems(items):
    if X64:
        return
    for item in items:
        if item.get_closest_marker("x64_only"):
            item.add_marker(pytest.mark.skip(reason="needs 64-bit arithmetic"))


def pytest_report_header():
    return f"jax {jax.__version__} on {jax.default_backend()}, {'64' if X64 else '32'}-bit arithmetic"


@pytest.fixture
def x64() -> bool:
    """Whether this run is in 64 bits: to choose a tolerance."""
    return X64


@pytest.fixture
def eps() -> float:
    """The machine epsilon of this run's default float."""
    return float(jax.numpy.finfo(jax.numpy.result_type(float)).eps)


@pytest.fixture
def drawn():
    """Lays out and draws every figure of a test, where most faults of a plot show; settings must not change."""
    import matplotlib
    import matplotlib.pyplot as plt

    settings = dict(matplotlib.rcParams)
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")
    assert dict(matplotlib.rcParams) == settings
