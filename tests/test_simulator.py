"""Simulation on the host: one theta for each specimen, derivatives in reverse, several processes."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from toy_models import TRUTH, Answer, checkerboards

import numpyro_homog as nh
from numpyro_homog.population import Simulator

KEY = jax.random.key(0)
NUM_MANY = 100
TOLERANCE = 1e-12 if jax.config.read("jax_enable_x64") else 1e-6


def lines(num_specimens):
    """One parameter in each of three sites, all through elementary noise."""
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    width = numpyro.sample("width", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.deterministic("y", jnp.stack([slope[0] + width * z, slope[1] - width * z], -1))


def many_cells(num_specimens):
    """A hundred conductivities of a checkerboard's pieces, two numbers measured: too many for forward tangents."""
    kappa = numpyro.sample("kappa", dist.LogNormal(0.0, 0.3).expand([NUM_MANY]).to_event(1))
    cell = nh.CellProblem(nh.Grid((10, 10)), nh.Conductivity(), nh.Periodic(), tolerance=TOLERANCE)
    with numpyro.plate("specimens", num_specimens):
        z = numpyro.sample("z", dist.Normal(0.0, 0.2).expand([NUM_MANY]).to_event(1))
        tensor = nh.homogenize("K_eff", cell, (kappa[None] * jnp.exp(z)).reshape(-1, 10, 10))
        numpyro.deterministic("K", jnp.stack([tensor[:, 0, 0], tensor[:, 1, 1]], -1))


@pytest.mark.x32
def test_the_host_simulates_what_a_traced_program_does():
    simulator = Simulator(lines, ["y"], (11,), chunk_size=4)
    params = simulator.parameters.sample(KEY)
    values = simulator.sample(params, KEY)
    np.testing.assert_allclose(values["y"], simulator.simulate(params, KEY)["y"], rtol=1e-6)


@pytest.mark.x32
def test_one_theta_for_each_specimen():
    """Without spread a specimen says which theta it has; with it, two noises are never the same."""
    simulator = Simulator(lines, ["y"], (11,), chunk_size=4)
    slope = np.stack([np.arange(11.0), -np.arange(11.0)], -1)
    for width in (0.0, 1.0):
        y = simulator.sample({"slope": slope, "width": np.full(11, width)}, KEY)["y"]
        assert y.shape == (11, 2)
        noise = y - slope
        np.testing.assert_allclose(noise[:, 0], -noise[:, 1], atol=1e-5)
        assert len(np.unique(np.round(noise[:, 0], 5))) == (11 if width else 1)


def test_what_a_handler_has_answered_is_not_taken_for_the_cells():
    simulator = Simulator(checkerboards, ["K_eff"], (5,))
    true = simulator.sample(TRUTH, KEY)["K_eff"]
    with Answer(answer=lambda s: 7 * jnp.ones((*s.shape[:-1], 2, 2))):
        np.testing.assert_array_equal(simulator.sample(TRUTH, KEY)["K_eff"], 7)
    np.testing.assert_array_equal(simulator.sample(TRUTH, KEY)["K_eff"], true)


@pytest.mark.parametrize("shape", [(10, 2), (11, 3), (3,)])
def test_a_theta_of_another_shape_is_refused(shape):
    simulator = Simulator(lines, ["y"], (11,))
    with pytest.raises(ValueError, match="slope"):
        simulator.sample({"slope": np.zeros(shape), "width": 1.0}, KEY)


@pytest.fixture(scope="module")
def many():
    return Simulator(many_cells, ["K"], (6,), chunk_size=3)


@pytest.mark.x64_only
def test_derivatives_in_reverse_are_those_of_differences(many):
    vector = many.parameters.to_vector({"kappa": jnp.linspace(0.5, 2.0, NUM_MANY)})
    found = jax.jit(many.linearize_chunk, static_argnums=3)(vector, KEY, jnp.asarray(1), _points)
    assert found.tangents.shape == (3, 2, NUM_MANY)
    direction = jax.random.normal(KEY, vector.shape)

    def points(vector):
        return many.simulate(many.parameters.from_vector(vector), KEY)["K"]

    ends = [points(vector + h * direction) for h in (1e-4, -1e-4)]
    slope = (ends[0] - ends[1]) / 2e-4
    np.testing.assert_allclose(found.points, points(vector)[3:], rtol=1e-9)
    np.testing.assert_allclose(found.tangents @ direction, slope[3:], rtol=1e-4, atol=1e-6)
    gradient = jax.grad(lambda vector: jnp.sum(points(vector) ** 2))(vector)
    np.testing.assert_allclose(gradient @ direction, jnp.sum(2 * points(vector) * slope), rtol=1e-4)


def test_a_hundred_parameters_cost_a_few_forward_passes(many):
    """Operations of the compiled programs, of one iteration where there is a loop."""
    vector = many.parameters.to_vector({"kappa": jnp.ones(NUM_MANY)})

    def forward(vector, rng_key):
        return many.simulate_chunk_scored(many.parameters.from_vector(vector), rng_key, 0)[0]["K"]

    def linearized(vector, rng_key):
        return many.linearize_chunk(vector, rng_key, jnp.asarray(0), _points)

    flops = [jax.jit(fn).lower(vector, KEY).compile().cost_analysis()["flops"] for fn in (forward, linearized)]
    assert flops[1] < 1.5 * flops[0]  # 1.02; forward, a tangent for each parameter, 1.97


def _points(values):
    return values["K"]


PROCESS = textwrap.dedent(
    """
    import sys
    import jax
    address, rank, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if address != "alone":
        jax.distributed.initialize(address, 2, rank)
    import numpy as np
    from estimator_models import LAMINATE_TRUTH, laminates, measured
    import numpyro_homog as nh
    data = measured(laminates, LAMINATE_TRUTH, 150)
    estimator = nh.MinimumDistance(laminates, data, nh.SlicedWasserstein(8), chunk_size=90)
    fit = estimator.run(jax.random.key(1), 400, num_starts=2, progress=False, checkpoint=sys.argv[4])
    np.savez(out, unconstrained=fit.unconstrained, covariance=fit.covariance, processes=jax.process_count())
    """
)


@pytest.mark.slow
def test_two_processes_share_a_fit_and_have_its_result(tmp_path):
    (script := tmp_path / "script.py").write_text(PROCESS)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"

    def launch(address, rank, name):
        command = [
            sys.executable,
            str(script),
            address,
            str(rank),
            str(tmp_path / name),
            str(tmp_path / f"{address[:5]}.npz"),
        ]
        return subprocess.Popen(
            command,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])},
        )

    pair = [launch(address, rank, f"{rank}.npz") for rank in (0, 1)]
    assert [process.wait(timeout=300) for process in pair] == [0, 0]
    assert launch("alone", 0, "alone.npz").wait(timeout=300) == 0
    again = [launch(address, rank, f"{rank}.npz") for rank in (0, 1)]  # resumed from the end
    assert [process.wait(timeout=300) for process in again] == [0, 0]
    alone, *both = (np.load(tmp_path / name) for name in ("alone.npz", "0.npz", "1.npz"))
    for shared in both:
        assert shared["processes"] == 2
        for name in ("unconstrained", "covariance"):
            np.testing.assert_array_equal(shared[name], alone[name])
