"""Every tutorial runs with FAST=1, in an empty folder, and the number it asserts at its end holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "tutorials").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_tutorial_runs(script, tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "MPL"))}
    environment |= {"FAST": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(script)]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    assert list((tmp_path / "out").glob("*.png")), "a tutorial has a picture"
