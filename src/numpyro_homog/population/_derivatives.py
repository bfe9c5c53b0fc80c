"""By which way each parameter acts on the compared sites, path or score; private to the package."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, PyTree
from numpyro import handlers

from .._compat import dependencies, is_masked, unwrap
from ._messengers import Chunk, InnerOnly, StandIn


class Draw(NamedTuple):
    """What one simulated site depends on, by names of parameters and simulated sites, one step upstream."""

    parents: frozenset[str]  # all that its law depends on
    broken: frozenset[str]  # what acts through arguments without a path derivative
    support: frozenset[str]  # what moves the support, so that the score would miss the boundary
    has_density: bool


class Graph(NamedTuple):
    """The draws by site, in the order of the model, and what each compared site depends on, one step upstream."""

    parameters: frozenset[str]
    draws: dict[str, Draw]
    compared: dict[str, frozenset[str]]

    def upstream(self, names: Iterable[str], fixed: Iterable[str] = ()) -> frozenset[str]:
        """`names` and all that is upstream of them, without sites that are fixed and what passes through these only."""
        found: set[str] = set()
        queue = list(names)
        while queue:
            name = queue.pop()
            if name not in found and name not in fixed:
                found.add(name)
                queue += self.draws[name].parents if name in self.draws else ()
        return frozenset(found)

    def reach(self, names: Iterable[str], fixed: Iterable[str] = ()) -> frozenset[str]:
        """The parameters among them."""
        return self.upstream(names, fixed) & self.parameters

    def has_score(self, site: str) -> bool:
        """Whether the derivative of the log density is the derivative of the law."""
        return self.draws[site].has_density and not self.reach(self.draws[site].support)


Names = dict[str, tuple[str, ...]]


def plan_derivatives(graph: Graph, score: tuple[str, ...]) -> tuple[Names, Names, Names, Names]:
    """Choose the sites whose score is used: those of `score`, and as few others as do without a path.

    A scored site is fixed: nothing passes through it by path. A site with an argument that has no path is scored if it
    can be; if not, whatever carries a parameter into that argument is scored.

    Returns:
        What `Simulator` calls non_reparametrized, scored, without_derivative and derivatives.
    """
    for name in score:
        if name not in graph.draws:
            raise ValueError(f"score names '{name}', which is no simulated site; there are {list(graph.draws)}.")
        if not graph.has_score(name):
            raise ValueError(
                f"score names '{name}', whose law has no score: its density is missing, masked, or has a support that"
                " moves with a parameter."
            )
    fixed = set(score)
    missing: dict[str, set[str]] = {}

    def hold(site, name):
        """Let no parameter move `name`, an argument of `site`, by path."""
        blocked = graph.reach([name], fixed)
        if name in graph.parameters:
            missing.setdefault(site, set()).add(name)
        elif blocked and graph.has_score(name):
            fixed.add(name)
        elif blocked:
            for parent in graph.draws[name].parents - {name}:
                hold(site, parent)

    compared = frozenset().union(*graph.compared.values())
    acting = graph.upstream(compared)
    for site, draw in graph.draws.items():
        if site in acting - fixed and graph.reach(draw.broken, fixed):
            if graph.has_score(site):
                fixed.add(site)
            else:
                for name in sorted(draw.broken):
                    hold(site, name)
    by_path = graph.reach(compared, fixed)
    scored = {site: graph.reach(graph.draws[site].parents, fixed) for site in graph.draws if site in fixed}
    by_score = frozenset().union(*scored.values())
    ways = {
        name: (("path",) if name in by_path else ()) + (("score",) if name in by_score else ())
        for name in sorted(graph.parameters)
    }
    non_reparametrized = {site: graph.reach(draw.broken) for site, draw in graph.draws.items()}
    return _listed(non_reparametrized), _listed(scored), _listed(missing), ways


def trace_graph(
    model: Callable, plate: str, keys: tuple[str, ...], parameters: tuple[str, ...], shapes: dict, simulated: tuple
) -> Graph:
    """Find out what every draw depends on, by running the model abstractly on values that come from outside.

    `shapes` holds shape and dtype of all sites when there are two specimens.
    """
    has_density = {}

    def run(**values):
        two = Chunk(model, plate, jnp.zeros(2, int), False)
        with InnerOnly():
            inner = handlers.seed(StandIn(two, plate, jax.random.key(0)), jax.random.key(0))
            sites = handlers.trace(handlers.substitute(inner, data=values)).get_trace()
        found = {}
        for name in simulated:
            fn = sites[name]["fn"]
            found[name, "parents"] = fn.sample(jax.random.key(0))
            found[name, "broken"] = _without_path(fn)
            found[name, "support"] = _support(fn)
            has_density[name] = _has_density(fn, values[name])
        # The value of a simulated site came from outside; that of another one was computed.
        return found | {(key, "value"): sites[key]["value"] for key in keys if key not in simulated}

    inputs = {name: jnp.zeros(shapes[name].shape, shapes[name].dtype) for name in (*parameters, *simulated)}
    found = dependencies(run, inputs)
    draws = {
        name: Draw(found[name, "parents"], found[name, "broken"], found[name, "support"], has_density[name])
        for name in simulated
    }
    compared = {key: frozenset({key}) if key in draws else found[key, "value"] for key in keys}
    return Graph(frozenset(parameters), draws, compared)


def _listed(names: Mapping[str, Collection[str]]) -> Names:
    return {site: tuple(sorted(found)) for site, found in names.items() if found}


def _without_path(fn: dist.Distribution) -> list[Array]:
    if fn.has_rsample:
        return []
    base = unwrap(fn)
    if not base.arg_constraints:
        return _arrays(base)
    names = set(base.arg_constraints) - set(base.reparametrized_params)
    # Stored or a property; a lazy property is another form of a parameter that is stored.
    known = [n for n in sorted(names) if n in vars(base) or isinstance(getattr(type(base), n, None), property)]
    return _arrays([getattr(base, name) for name in known])


def _has_density(fn: dist.Distribution, value: Array) -> bool:
    # A mask hides the density, though not the draw; a point mass has none.
    if is_masked(fn) or isinstance(unwrap(fn), dist.Delta):
        return False
    try:
        fn.log_prob(value)
    except NotImplementedError:
        return False
    return True


def _support(fn: dist.Distribution) -> list[Array]:
    base = unwrap(fn)
    arrays = _arrays(base.support)
    if isinstance(base, dist.TransformedDistribution):
        # The codomain of a transform knows nothing of where its argument ends.
        arrays += _support(base.base_dist)
        if unwrap(base.base_dist).support not in (dist.constraints.real, dist.constraints.real_vector):
            arrays += _arrays(base.transforms)
    return arrays


def _arrays(tree: PyTree) -> list[Array]:
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree) if isinstance(leaf, (jax.Array, float, int))]
