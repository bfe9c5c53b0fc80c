"""Batches spread over several devices and processes give the tensors of one."""

import os
import socket
import subprocess
import sys
import textwrap

import pytest

COMMON = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import numpyro_homog as nh

cell = nh.CellProblem(nh.Grid((8, 8)), nh.Conductivity(), nh.Periodic(), tolerance=1e-6)
fields = np.exp(np.random.default_rng(0).normal(size=(8, 8, 8))).astype(np.float32)
"""

ONE_PROCESS = (
    COMMON
    + """
expected = nh.effective_tensor(cell, jnp.asarray(fields))
for num in (1, 2, 4):
    mesh = Mesh(np.array(jax.devices()[:num]), ("batch",))
    sharded = jax.device_put(fields, NamedSharding(mesh, P("batch")))
    # The compiler's own partition, with the run-time check of the solves; and one program for each device.
    automatic = jax.jit(lambda f: nh.effective_tensor(cell, f, throw=False)).lower(sharded).compile()
    by_hand = jax.jit(jax.shard_map(
        lambda f: nh.effective_tensor(cell, f, throw=False), mesh=mesh, in_specs=P("batch"), out_specs=P("batch"),
        check_vma=False,
    )).lower(sharded).compile()
    communicates = [any(f"all-{verb}" in program.as_text() for verb in ("gather", "reduce", "to-all"))
                    for program in (automatic, by_hand)]
    assert communicates == [num > 1, False]
    for tensors in (automatic(sharded), by_hand(sharded)):
        assert tensors.shape == (8, 2, 2)
        np.testing.assert_allclose(tensors, expected, rtol=3e-6, atol=3e-6)
        assert len(tensors.sharding.device_set) == num
print("agreed")
"""
)

TWO_PROCESSES = (
    COMMON
    + """
address, number = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(address, num_processes=2, process_id=number)
assert len(jax.devices()) == 2
mesh = Mesh(np.array(jax.devices()), ("batch",))
own = fields[4 * number : 4 * number + 4]
sharded = jax.make_array_from_process_local_data(NamedSharding(mesh, P("batch")), own)
tensors = jax.jit(jax.shard_map(
    lambda f: nh.effective_tensor(cell, f, throw=False), mesh=mesh, in_specs=P("batch"), out_specs=P("batch"),
    check_vma=False,
))(sharded)
expected = nh.effective_tensor(cell, jnp.asarray(own))
local = np.concatenate([np.asarray(shard.data) for shard in tensors.addressable_shards])
np.testing.assert_allclose(local, expected, rtol=3e-6, atol=3e-6)
print("agreed")
"""
)


def start(code, *arguments, devices):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "0", "JAX_NUM_CPU_DEVICES": str(devices)}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    assert output.strip().endswith("agreed")


@pytest.mark.slow
def test_one_two_and_four_devices_agree():
    finish(start(ONE_PROCESS, devices=4))


@pytest.mark.slow
def test_two_processes_agree():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    for process in [start(TWO_PROCESSES, address, number, devices=1) for number in range(2)]:
        finish(process)
