"""The likelihood of a surrogate in experiment 6.1: how many nodes does its integral need, and what does it find?

    python -m benchmarks.bench_density [--quick] [--sets 2]

Cells of 400 sharp grains of three phases, primal-dual on 128 x 128; alpha (1, 2, 3), kappa (1, 5, 10), 2000 specimens;
a surrogate of 5000 cells about the truth, half of them with flat fractions. Scores at the truth with few nodes beside
those with many, in standard errors of the estimate; and the maximum of the likelihood, from the truth, by Gauss-Newton.
The truth is told to the training: this measures the likelihood, not a search. Writes results/density.json.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions.transforms import ExpTransform, OrderedTransform

import numpyro_homog as nh
from benchmarks.store import Store, cached_array, new_parser
from numpyro_homog.population import Simulator, SpecimenDensity

ALPHA, KAPPA = np.array([1.0, 2.0, 3.0]), np.array([1.0, 5.0, 10.0])
CHUNK = 125
SIZES = {
    False: {"n": 128, "grains": 400, "num_data": 2000, "num_pairs": 5000, "steps": 2000, "nodes": [24_000, 1000, 3000]},
    True: {"n": 16, "grains": 50, "num_data": 125, "num_pairs": 125, "steps": 50, "nodes": [500, 100, 200]},
}


def make_model(sizes: dict):
    """The cell, how a field is drawn, and the model."""
    grid = nh.Grid((sizes["n"],) * 2)
    cell = nh.CellProblem(grid, nh.Conductivity(), nh.Periodic(), tolerance=1e-4, discretization=nh.PrimalDual())
    log_kappa = dist.Normal(0.5, 0.5).expand([3]).to_event(1)

    def draw_field(rng_key, fractions, kappa):
        phases = nh.VoronoiPhases(cell.grid, fractions, sizes["grains"], sharp=True).sample(rng_key)
        return jnp.einsum("...xyj,...j->...xy", phases, kappa)

    def model(num_specimens):
        alpha = numpyro.sample("alpha", dist.LogNormal(0.5, 0.7).expand([3]).to_event(1))
        kappa = numpyro.sample("kappa", dist.TransformedDistribution(log_kappa, [OrderedTransform(), ExpTransform()]))
        with numpyro.plate("specimens", num_specimens):
            fractions = numpyro.sample("fractions", dist.Dirichlet(alpha))
            nh.homogenize("K_eff", cell, draw_field, inputs=(fractions, kappa), num_realizations=1)

    return cell, draw_field, model


def solve(cell, draw_field, fractions, kappa, key) -> np.ndarray:
    """Tensors of one cell for each row."""

    @jax.jit
    def some(fractions, kappa, key):
        return nh.effective_tensor(cell, draw_field(key, fractions, kappa))

    starts = range(0, len(fractions), CHUNK)
    parts = [some(fractions[i : i + CHUNK], kappa[i : i + CHUNK], jax.random.fold_in(key, i)) for i in starts]
    return np.concatenate([np.asarray(part) for part in parts])


def pairs(cell, draw_field, sizes: dict):
    """Fractions, conductivities and tensors to train on."""
    key, first, second, third = jax.random.split(jax.random.key(77), 4)
    half = sizes["num_pairs"] // 2 + 1
    near, flat = (
        jax.random.dirichlet(first, jnp.array(ALPHA), (half,)),
        jax.random.dirichlet(second, jnp.ones(3), (half,)),
    )
    fractions = jnp.stack([near, flat], axis=1).reshape(-1, 3)[: sizes["num_pairs"]]
    kappa = jnp.array(KAPPA) * jnp.exp(0.15 * jax.random.normal(third, fractions.shape))
    name = f"density_pairs_{sizes['n']}_{sizes['num_pairs']}"
    return fractions, kappa, cached_array(name, lambda: solve(cell, draw_field, fractions, kappa, key))


def data_set(cell, draw_field, sizes: dict, index: int) -> np.ndarray:
    """Measured tensors."""
    first, second = jax.random.split(jax.random.fold_in(jax.random.key(20271), index))
    fractions = jax.random.dirichlet(first, jnp.array(ALPHA), (sizes["num_data"],))
    kappa = jnp.broadcast_to(jnp.array(KAPPA), fractions.shape)
    name = f"density_{index}_{sizes['n']}_{sizes['num_data']}"
    return cached_array(name, lambda: solve(cell, draw_field, fractions, kappa, second))


def maximise(scores, vector: np.ndarray, num_steps: int = 12):
    """Damped steps with the information of the scores; the point, its log likelihood and the information there."""
    values, slopes = scores(vector)
    total, damping = values.sum(), 1e-2
    for _ in range(num_steps):
        information = slopes.T @ slopes
        step = np.linalg.solve(information + damping * np.diag(np.diag(information)), slopes.sum(0))
        there = scores(vector + step)
        if there[0].sum() > total:
            vector, slopes, total, damping = vector + step, there[1], there[0].sum(), damping / 5
        else:
            damping *= 8
    return vector, total, slopes.T @ slopes


def run(store: Store, sizes: dict, count: int) -> None:
    cell, draw_field, model = make_model(sizes)
    fractions, kappa, tensors = pairs(cell, draw_field, sizes)
    untrained = nh.FractionSurrogate(cell, sizes["grains"], rng_key=jax.random.key(0))
    begin = time.perf_counter()
    fit = nh.fit_surrogate(
        jax.random.key(1), untrained, (fractions, kappa), tensors, num_members=2, num_steps=sizes["steps"]
    )
    store.put("surrogate", 0, {"error_percent": fit.error_percent, "spread_percent": fit.spread_percent,
                               "deviations": fit.residuals.std(axis=0).tolist(), "normality": fit.normality.tolist(),
                               "seconds": time.perf_counter() - begin})  # fmt: skip
    simulator = Simulator(model, ["K_eff"], (100,))
    truth = {"alpha": jnp.array(ALPHA), "kappa": jnp.array(KAPPA)}
    start = np.asarray(simulator.parameters.to_vector(truth))
    programs, (most, *fewer) = {}, sizes["nodes"]
    for num in sizes["nodes"]:
        density = SpecimenDensity(simulator, {"K_eff": fit.value}, jax.random.key(3), num_nodes=num)
        programs[num] = eqx.filter_jit(lambda vector, data, density=density: density.scores(vector, {"K_eff": data}))
    for index in range(count):
        if store.has("sets", index):
            continue
        data = jnp.asarray(data_set(cell, draw_field, sizes, index))

        def scores(vector, num, data=data):
            found = programs[num](jnp.asarray(vector, data.dtype), data)
            return [np.asarray(part, float) for part in found]

        _, reference = scores(start, most)
        covariance = np.linalg.inv(reference.T @ reference)
        errors = np.sqrt(np.diag(covariance))
        row = {}
        for num in fewer:
            moved = covariance @ (scores(start, num)[1] - reference).sum(0) / errors
            begin = time.perf_counter()
            scores(start, num)
            row[f"{num} nodes"] = {"moves": np.abs(moved).max(), "seconds": time.perf_counter() - begin}
        vector, total, information = maximise(lambda vector: scores(vector, fewer[-1]), start)
        params, jacobian = simulator.parameters.at(vector.astype(start.dtype)), simulator.parameters.jacobian(start)
        spread = np.sqrt(np.diag(jacobian @ np.linalg.inv(information) @ jacobian.T))
        row["gain"] = total - scores(start, fewer[-1])[0].sum()
        for block, true, error in zip(("alpha", "kappa"), (ALPHA, KAPPA), np.split(spread, 2), strict=True):
            off = np.asarray(params[block], float) - true
            row[block] = {"error": np.linalg.norm(off) / np.linalg.norm(true), "z": (off / error).tolist()}
            row[block]["predicted"] = np.linalg.norm(error) / np.linalg.norm(true)
        store.put("sets", index, row)
        print(index, row, flush=True)


def main() -> None:
    parser = new_parser(__doc__, "tiny sizes: does it run at all?")
    parser.add_argument("--sets", type=int, default=2, help="number of data sets")
    options = parser.parse_args()
    sizes = SIZES[options.quick]
    packages = ("numpyro-homog", "jax", "jaxlib", "numpyro", "equinox")
    store = Store("density", packages, quick=options.quick, settings={"sizes": sizes})
    run(store, sizes, 1 if options.quick else options.sets)


if __name__ == "__main__":
    main()
