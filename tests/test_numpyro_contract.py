"""What we rely on in NumPyro beyond its documented interface: each use in _compat.py, each trick in population."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam

from numpyro_homog import _compat

KEY = jax.random.key(0)


def test_every_function_of_compat_is_under_contract():
    """A new use of an internal needs a test here: this list is what the tests below cover."""
    covered = {"active_handlers", "send_message", "Messenger", "dependencies", "unwrap", "is_masked"}
    covered |= {"is_settled", "sites_given_outside", "arviz_groups"}
    tree = ast.parse(Path(_compat.__file__).read_text())
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    exported = {a.asname for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names if a.asname}
    assert {name for name in defined | exported if not name.startswith("_")} == covered


@pytest.mark.x32
def test_groups_are_what_arviz_reads_and_summarises(tmp_path):
    import arviz as az

    groups = _compat.arviz_groups(posterior=az.dict_to_dataset({"x": np.arange(6.0).reshape(1, 6)}))
    groups.to_netcdf(str(tmp_path / "groups.nc"))
    again = az.from_netcdf(str(tmp_path / "groups.nc"))
    assert type(groups) is type(again)
    np.testing.assert_allclose(az.summary(again, kind="stats")["mean"], 2.5)


def test_the_stack_tells_whether_a_handler_is_active():
    assert not _compat.active_handlers()
    with handlers.trace():
        assert _compat.active_handlers()
    assert not _compat.active_handlers()


def test_messages_of_other_types_pass_all_stock_handlers():
    """They come back with the value of `fn`; trace ignores what has no name."""
    seen = []

    class Witness(_compat.Messenger):
        def process_message(self, msg):
            seen.append(msg["type"])

    def model():
        numpyro.sample("x", dist.Normal(0.0, 1.0))
        return _compat.send_message({"type": "homogenize", "fn": lambda: 3.0, "args": (), "kwargs": {}, "value": None})[
            "value"
        ]

    inner = handlers.seed(model, KEY)
    inner = handlers.substitute(inner, data={"x": 1.0})
    inner = handlers.condition(inner, data={"x": 1.0})
    inner = handlers.replay(inner, trace={})
    inner = handlers.reparam(inner, config={"y": LocScaleReparam(0)})
    inner = handlers.mask(handlers.scale(inner, scale=2.0), mask=True)
    inner = handlers.scope(handlers.infer_config(inner, config_fn=lambda site: {}), prefix="a")
    inner = handlers.lift(handlers.do(inner, data={"y": 1.0}), prior={})
    with Witness(), handlers.trace() as trace, handlers.block(hide=["x"]):
        assert inner() == 3.0
    assert seen.count("homogenize") == 1
    assert all("x" in name for name in trace)


def test_a_message_can_be_answered_and_stopped():
    class Stop(_compat.Messenger):
        def process_message(self, msg):
            msg["value"], msg["stop"] = 5.0, True

    class Never(_compat.Messenger):
        def process_message(self, msg):
            raise RuntimeError("a stopped message came through")

        postprocess_message = process_message

    def fail():
        raise RuntimeError("an answered message was computed")

    with Never(), Stop():
        message = _compat.send_message({"type": "t", "fn": fail, "args": (), "kwargs": {}, "value": None})
    assert message["value"] == 5.0


def test_the_innermost_plate_is_the_first_frame():
    with handlers.trace() as trace, numpyro.plate("outer", 3, dim=-2), numpyro.plate("inner", 2, dim=-1):
        numpyro.deterministic("d", jnp.zeros((3, 2)))
    assert [frame.name for frame in trace["d"]["cond_indep_stack"]] == ["inner", "outer"]


@pytest.mark.parametrize("size", [2, 5, 12])
def test_a_plate_runs_on_the_indices_it_is_given(size):
    """Substituting the value of a plate's message changes the size of its sites and what `with` yields."""

    def model(data):
        with numpyro.plate("n", 10) as index:
            x = numpyro.sample("x", dist.Normal(data[index], 1e-6))
            numpyro.deterministic("d", x)
            numpyro.sample("e", dist.Normal(jnp.zeros(3), 1.0).to_event(1))

    indices = jnp.arange(size)[::-1] % 10
    seeded = handlers.seed(handlers.substitute(model, data={"n": indices}), KEY)
    trace = handlers.trace(seeded).get_trace(jnp.arange(10.0))
    np.testing.assert_allclose(trace["d"]["value"], indices, atol=1e-4)
    assert trace["e"]["value"].shape == (size, 3)
    assert trace["d"]["cond_indep_stack"][0].size == size
    assert trace["n"]["args"][0] == 10


def test_numpyro_subsample_follows_the_indices():
    def model(data):
        with numpyro.plate("n", 10):
            numpyro.deterministic("d", numpyro.subsample(data, event_dim=0))

    trace = handlers.trace(handlers.substitute(model, data={"n": jnp.array([7, 1])})).get_trace(jnp.arange(10.0))
    np.testing.assert_array_equal(trace["d"]["value"], [7, 1])


def test_setting_args_of_a_plate_prevents_the_warning_about_its_subsample_size():
    class Indices(_compat.Messenger):
        def process_message(self, msg):
            if msg["type"] == "plate":
                msg["value"], msg["args"] = jnp.arange(4), (msg["args"][0], 4)

    with Indices(), handlers.trace(), numpyro.plate("n", 10, subsample_size=5) as index:
        assert index.shape == (4,)


def test_the_body_of_a_scan_is_its_first_argument_and_runs_behind_a_block():
    seen = []

    class Witness(_compat.Messenger):
        def process_message(self, msg):
            seen.append((msg["type"], msg.get("name")))
            if msg["type"] == "control_flow":
                body, *rest = msg["args"]
                msg["args"] = (Witness(body), *rest)

    def model():
        def step(carry, _):
            with numpyro.plate("n", 3):
                numpyro.sample("x", dist.Normal(0.0, 1.0))
            return carry, None

        scan(step, 0.0, None, length=2)

    with handlers.seed(rng_seed=0), Witness(), handlers.trace() as trace:
        model()
    assert seen[0] == ("control_flow", None)
    assert ("plate", "n") in seen
    assert [frame.name for frame in trace["x"]["cond_indep_stack"]] == ["n"]  # sites come out, with their plates
    assert "n" not in trace  # plates do not


def test_mask_false_is_visible_to_the_model():
    seen = []
    handlers.mask(lambda: seen.append(numpyro.get_mask()), mask=False)()
    assert seen == [False]
    numpyro.infer.Predictive(lambda: seen.append(numpyro.get_mask()), {"x": jnp.zeros(1)})(KEY)
    assert seen[1:]
    assert all(mask is False for mask in seen[1:])


def test_dependencies_follow_the_computation():
    def fn(a, b):
        _, total = jax.lax.scan(lambda carry, x: (carry, x * b), 0.0, jnp.ones(3))
        return {"both": [a + b, jnp.ones(2)], "b": total, "none": jnp.ones(2), "empty": []}

    found = _compat.dependencies(fn, {"a": jnp.asarray(1.0), "b": jnp.asarray(2.0)})
    assert found == {
        "both": frozenset({"a", "b"}),
        "b": frozenset({"b"}),
        "none": frozenset(),
        "empty": frozenset(),
    }


def test_unwrap_removes_what_plates_and_events_add():
    base = dist.Dirichlet(jnp.ones((4, 3)))
    assert _compat.unwrap(base.to_event(1).expand([5]).mask(True)) is base
    wrapped = dist.Categorical(probs=jnp.ones((4, 3)) / 3).expand([2, 4])
    assert not wrapped.has_rsample
    assert dist.Normal(0.0, 1.0).expand([3]).to_event(1).has_rsample


def test_a_mask_is_found_inside_other_wrappers_and_hides_the_density():
    base = dist.Normal(jnp.zeros(3), 1.0)
    masked = base.mask(False).to_event(1).expand([5])
    assert _compat.is_masked(masked)
    assert not _compat.is_masked(base.to_event(1).expand([5]))
    assert jnp.all(masked.log_prob(jnp.ones((5, 3))) == 0)


def test_reparam_strips_a_message_but_keeps_the_object():
    """Outer handlers change messages in place: what was noted by identity can be read when the message returns."""

    class Note(_compat.Messenger):
        def process_message(self, msg):
            if msg.get("name") == "x":
                self.noted = id(msg)

        def postprocess_message(self, msg):
            if id(msg) == self.noted:
                self.returned = dict(msg)

    note = Note()
    with handlers.seed(rng_seed=0), handlers.reparam(config={"x": LocScaleReparam(0)}), note:
        numpyro.sample("x", dist.Normal(0.0, 1.0))
    assert note.returned["type"] == "deterministic"
    assert note.returned["value"].shape == ()
