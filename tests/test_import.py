"""``import numpyro_homog`` is quiet, quick and leaves no trace beyond its own names."""

import json
import os
import subprocess
import sys

import pytest

SHARE = 0.3  # of what importing JAX and NumPyro takes, 1 s on the machine this was written on
ATTEMPTS = 5

# Runs in a bare process: no import hook, no test configuration. Its answer is the last line on standard output.
PROBE = """
import json, os, sys, time, warnings
begin = time.process_time()
import jax, numpyro
foundation = time.process_time() - begin

def state():
    return {
        "arrays": len(jax.live_arrays()),
        "flags": {name: repr(value) for name, value in jax.config.values.items()},
        "filters": [repr(item) for item in warnings.filters],
        "environment": dict(os.environ),
        "excepthook": repr(sys.excepthook),
    }

before, start = state(), time.process_time()
__import__(sys.argv[1])
seconds, after = time.process_time() - start, state()
changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
modules = sorted(sys.modules)
print(json.dumps({"changed": changed, "seconds": seconds, "foundation": foundation, "modules": modules}))
"""


def import_in_a_process(module, path=None):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "PYTHON", "MPL"))}
    environment["JAX_PLATFORMS"] = "cpu"
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, "-c", PROBE, module]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    *printed, answer = process.stdout.splitlines()
    return {**json.loads(answer), "printed": [*printed, *process.stderr.splitlines()]}


def cost(processes):
    """Time of our import over that of JAX and NumPyro, each the least of several processes."""
    return min(seen["seconds"] for seen in processes) / min(seen["foundation"] for seen in processes)


@pytest.fixture(scope="module")
def imported():
    return import_in_a_process("numpyro_homog")


def test_import_prints_nothing(imported):
    assert imported["printed"] == []


def test_import_changes_nothing(imported):
    """No JAX array, no JAX flag, no warning filter, no environment variable."""
    assert imported["changed"] == {}


@pytest.mark.parametrize("module", ["gmsh", "petsc4py", "jax_fem", "meshio", "basix"])
def test_import_leaves_jax_fem_alone(imported, module):
    """JAX-FEM prints a banner, sets x64 and needs libGL through gmsh: only the solver asks for it, when it is used."""
    assert module not in imported["modules"]


@pytest.mark.parametrize(
    "module", ["arviz", "matplotlib", "blackjax", "optax", "ot", "beartype", "h5py", "PIL", "vtkmodules"]
)
def test_import_leaves_slow_packages_for_later(imported, module):
    """What few calls need is imported by those calls (beartype, by the tests alone)."""
    assert module not in imported["modules"]


def test_import_is_quick(imported):
    """Both imports in one process, in processor time, the least of several: other work on the machine only adds."""
    seen = [imported]
    while cost(seen) >= SHARE and len(seen) < ATTEMPTS:
        seen.append(import_in_a_process("numpyro_homog"))
    assert cost(seen) < SHARE


def test_the_probe_sees_a_bad_module(tmp_path):
    """A module that does everything wrong is caught in every respect."""
    (tmp_path / "careless.py").write_text(
        "import os, time, warnings, sys, jax, meshio\n"
        "print('a banner'); print('a log line', file=sys.stderr)\n"
        "array = jax.numpy.ones(3)\n"
        "jax.config.update('jax_enable_x64', True); warnings.simplefilter('ignore'); os.environ['CARELESS'] = '1'\n"
        "import __main__\n"
        "end = time.process_time() + 0.35 * __main__.foundation\n"
        "while time.process_time() < end: pass\n"
    )
    seen = import_in_a_process("careless", tmp_path)
    assert seen["printed"] == ["a banner", "a log line"]
    assert set(seen["changed"]) == {"arrays", "flags", "filters", "environment"}
    assert "meshio" in seen["modules"]
    assert cost([seen]) > SHARE
