"""The training loop: the plain optax loop's numbers, whatever the inner length, and after being killed as well."""

import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_scorefn as sf
from jax_scorefn.training import _fit, _saved

pytestmark = pytest.mark.usefixtures("foreign")  # optax mixes dtypes
COIN = sf.family(lambda p: sf.Bernoulli(logits=p["l"]))
PARAMS = {"l": jnp.zeros(3)}
KEY = jax.random.key(5)


def loss(params, key):
    return sf.score_function(lambda x: jnp.sum((x - 0.4) ** 2), COIN, params, key, num_samples=8)


def with_metrics(params, key):
    value = loss(params, key)
    return value, {"size": jnp.sum(params["l"] ** 2)}


def carried(params, key, carry):
    count, noise = carry
    noise, own = jax.random.split(noise)
    return loss(params, key) + 0.1 * jnp.sum(params["l"] * jax.random.normal(own, params["l"].shape)), (
        count + 1,
        noise,
    )


OPTIMIZER = optax.adam(0.1)


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


def test_it_is_the_plain_loop():
    fitted = sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, 30)
    params, state, values = PARAMS, OPTIMIZER.init(PARAMS), []

    @jax.jit
    def update(params, state, key):
        value, grads = jax.value_and_grad(loss)(params, key)
        updates, state = OPTIMIZER.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    for i in range(30):
        params, state, value = update(params, state, jax.random.fold_in(KEY, i))
        values.append(float(value))
    for a, b in zip(jax.tree.leaves((fitted.params, fitted.opt_state)), jax.tree.leaves((params, state)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(fitted.history["loss"], values, rtol=1e-5)
    assert fitted.carry is None and set(fitted.history) == {"loss"}


@pytest.mark.parametrize("inner_steps", [1, 7, 30, 100])
def test_the_length_of_the_inner_loop_changes_nothing(inner_steps):
    one = sf.training.fit(with_metrics, PARAMS, OPTIMIZER, KEY, 30, has_aux=True, inner_steps=10)
    other = sf.training.fit(with_metrics, PARAMS, OPTIMIZER, KEY, 30, has_aux=True, inner_steps=inner_steps)
    equal(one, other)
    assert one.history["size"].shape == (30,) and one.history["size"][0] == 0.0


def test_what_the_loss_hands_on_comes_back_in():
    carry = (jnp.zeros((), jnp.int32), jax.random.key(0))
    fitted = sf.training.fit(carried, PARAMS, OPTIMIZER, KEY, 12, carry=carry, inner_steps=5)
    assert fitted.carry[0] == 12
    both = lambda p, k, c: (lambda v, c: (v, ({"v": v}, c)))(*carried(p, k, c))
    again = sf.training.fit(both, PARAMS, OPTIMIZER, KEY, 12, carry=carry, has_aux=True)
    equal(fitted.params, again.params)
    np.testing.assert_array_equal(again.history["v"], again.history["loss"])


def test_it_goes_on_from_a_saved_state(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    carry = (jnp.zeros((), jnp.int32), jax.random.key(0))
    how = {"carry": carry, "inner_steps": 5}
    whole = sf.training.fit(carried, PARAMS, OPTIMIZER, KEY, 30, **how)
    first = sf.training.fit(carried, PARAMS, OPTIMIZER, KEY, 20, save_to=tmp_path / "a", save_every=7, **how)
    rest = sf.training.fit(carried, PARAMS, OPTIMIZER, KEY, 30, save_to=tmp_path / "a", save_every=7, **how)
    equal(rest, whole)
    np.testing.assert_array_equal(rest.history["loss"][:20], first.history["loss"])
    equal(
        sf.training.fit(carried, PARAMS, OPTIMIZER, KEY, 30, save_to=tmp_path / "a", **how), whole
    )  # nothing is left to do
    with pytest.raises(ValueError, match="30 updates, and 10 are wanted"):
        sf.training.fit(carried, PARAMS, OPTIMIZER, KEY, 10, save_to=tmp_path / "a", **how)
    with pytest.raises(ValueError, match=r"its state is .*float32\[3\]"):
        sf.training.fit(carried, {"l": jnp.zeros(4)}, OPTIMIZER, KEY, 40, save_to=tmp_path / "a", **how)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    pytest.importorskip("orbax.checkpoint")
    run = {"loss": loss, "params": PARAMS, "optimizer": OPTIMIZER, "key": KEY, "num_updates": 10, "tag": "one"}
    run |= {"save_to": tmp_path_factory.mktemp("run") / "a", "inner_steps": 5, "save_every": 5}
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return run, sf.training.fit(**run)


@pytest.fixture
def kept(first, tmp_path):
    """What makes a run, with a folder that holds its states after 5 and 10 updates, and what came out."""
    run, whole = first
    return run | {"save_to": shutil.copytree(run["save_to"], tmp_path / "a")}, whole


def shifted(params, key):
    return loss(params, key) + 1.0  # the same function of other data


OTHERS = {
    "data": ({"loss": shifted}, r"its first updates had the losses \[.*\], and the same updates of this run have \["),
    "learning rate": ({"optimizer": optax.adam(0.2)}, "first updates"),
    "start": ({"params": {"l": jnp.ones(3)}}, "its start is"),
    "optimizer's state": ({"optimizer": optax.adam(optax.constant_schedule(0.1))}, r"its state is .*count"),
    "tag": ({"tag": "two"}, "its tag is one, not two"),
    "no tag": ({"tag": None}, "its tag is one, not None"),
    "key": ({"key": jax.random.key(6)}, r"its key is key<fry> \[0, 5\], not key<fry> \[0, 6\]"),
    "kind of key": ({"key": jax.random.key(5, impl="rbg")}, r"not key<rbg>"),
}


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_another_run_is_told_apart(kept, what):
    changed, words = OTHERS[what]
    with pytest.raises(ValueError, match=f"holds the state of another run: .*{words}"):
        sf.training.fit(**(kept[0] | changed))


def test_the_same_run_is_not(kept):
    equal(sf.training.fit(**kept[0]), kept[1])


def test_leaves_are_told_apart_by_their_names(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    quadratic = lambda params, key: sum((x - i) ** 2 for i, x in enumerate(jax.tree.leaves(params)))
    run = {"optimizer": optax.sgd(0.1), "key": KEY, "num_updates": 3, "save_to": tmp_path / "a"}
    sf.training.fit(quadratic, {"a": jnp.zeros(()), "b": jnp.zeros(())}, **run)
    with pytest.raises(ValueError, match=r"its state is .*'a'.*, not .*'y'"):
        sf.training.fit(quadratic, {"y": jnp.zeros(()), "z": jnp.zeros(())}, **run)


def test_leaves_that_are_no_arrays_are_left_alone():
    state = {"activation": jnp.tanh, "weight": jnp.arange(2.0), "name": "layer", "key": jax.random.key(1)}
    rest = {"activation": jnp.sin, "weight": jnp.zeros(2), "name": "other", "key": jax.random.key(2)}
    told = lambda state: _saved.identity(KEY, None, state, ["loss"])
    assert told(state) == told(state | {"activation": jnp.sin}) != told(rest)
    filled = _saved._filled(_saved._numbered(state), rest)
    equal((filled["weight"], filled["key"]), (state["weight"], state["key"]))
    assert filled["activation"] is jnp.sin and filled["name"] == "other"


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:7])


@pytest.mark.parametrize("part", ["arrays", "run"])
def test_of_a_damaged_newest_state_it_goes_back_to_the_whole_one(kept, part):
    run, whole = kept
    damage(run["save_to"] / "10" / part)
    with pytest.warns(
        RuntimeWarning, match=r"state after 10 updates in .* cannot be read .* set aside as damaged-10-1"
    ):
        equal(sf.training.fit(**run), whole)
    assert (run["save_to"] / "damaged-10-1").is_dir()  # it may have been the disk's fault
    assert (run["save_to"] / "10").is_dir()


def test_where_no_state_is_whole_it_does_not_begin_again(kept):
    run, _ = kept
    damage(run["save_to"])
    with pytest.warns(RuntimeWarning) as told, pytest.raises(ValueError, match="No saved state in .* can be read"):
        sf.training.fit(**run)
    assert ["damaged-10-1" in str(told[0].message), "damaged-5-1" in str(told[1].message)] == [True, True]


def test_a_state_of_an_older_version_is_not_taken(kept, monkeypatch):
    run, _ = kept
    old = {"key": [0, 5], "state": {}, "metrics": ["loss"]}
    with monkeypatch.context() as patch:
        patch.setattr(_fit, "identity", lambda *_: old)
        sf.training.fit(**(run | {"save_to": run["save_to"] / "old"}))
    with pytest.raises(
        ValueError, match=r"another run: it was saved by an older version.*\(tag\)\. Use another folder"
    ):
        sf.training.fit(**(run | {"save_to": run["save_to"] / "old"}))


def test_a_progress_bar_shows_the_metric_and_its_error(capsys):
    pytest.importorskip("rich")
    sf.training.fit(with_metrics, PARAMS, OPTIMIZER, KEY, 20, has_aux=True, inner_steps=10, progress=True, show="size")
    out = capsys.readouterr().out
    assert "size" in out and "±" in out and "20/20" in out


@pytest.mark.parametrize(
    "bad, how, error, words",
    [
        (lambda p, k: p["l"], {}, TypeError, "a scalar"),
        (
            lambda p, k: loss(p, k),
            {"has_aux": True},
            TypeError,
            r"\(value, metrics\); it returned an array of shape \[\]",
        ),
        (lambda p, k: (loss(p, k), {"x": p["l"]}), {"has_aux": True}, TypeError, "x has shape"),
        (lambda p, k: (loss(p, k), [1.0]), {"has_aux": True}, TypeError, "dictionary of scalars; it returned list"),
        (lambda p, k, c: loss(p, k), {"carry": jnp.zeros(())}, TypeError, r"\(value, carry\)"),
        (lambda p, k, c: (loss(p, k), c), {"carry": jnp.zeros(()), "has_aux": True}, TypeError, r"\(metrics, carry\)"),
        (loss, {"show": "return"}, ValueError, "show='return'.*loss"),
        (loss, {"inner_steps": 0}, ValueError, "inner_steps"),
        (lambda p, k: (loss(p, k), {"loss": 0.0}), {"has_aux": True}, ValueError, "metric called 'loss'"),
        (loss, {"tag": 3}, TypeError, "tag is a string"),
        (3.0, {}, TypeError, r"loss\(params, key\).*as loss it got float"),
        (loss, {"optimizer": 0.1}, TypeError, "an optax optimizer; as optimizer it got float"),
        (loss, {"key": None}, TypeError, "fit draws at random and needs a key"),
        (loss, {"key": jax.random.split(KEY)}, TypeError, "A key is one"),
    ],
)
def test_what_is_refused_and_how(bad, how, error, words):
    with pytest.raises(error, match=words):
        sf.training.fit(**({"loss": bad, "params": PARAMS, "optimizer": OPTIMIZER, "key": KEY, "num_updates": 3} | how))


@pytest.mark.parametrize("option, package", [({"progress": True}, "rich"), ({"save_to": "x"}, "orbax")])
def test_a_missing_package_is_named(monkeypatch, option, package):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a))
    with pytest.raises(ImportError, match=rf"pip install {package}.*the extra training"):
        sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, 3, **option)


RUN = """
import sys, jax, jax.numpy as jnp, numpy as np, optax
import jax_scorefn as sf
coin = sf.family(lambda p: sf.Bernoulli(logits=p))
loss = lambda p, key: sf.score_function(lambda x: jnp.sum((x - 0.4) ** 2), coin, p, key, num_samples=256)
out = sf.training.fit(loss, jnp.zeros(200), optax.adam(0.01), jax.random.key(0), int(sys.argv[1]), inner_steps=20,
                      save_every=int(sys.argv[2]), save_to=sys.argv[3] if len(sys.argv) > 4 else None)
np.save(sys.argv[-1], np.concatenate([np.asarray(out.params), out.history["loss"]]))
"""


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    script, saved = tmp_path / "run.py", tmp_path / "state"
    script.write_text(textwrap.dedent(RUN))
    command = [sys.executable, str(script), "4000", "100", str(saved), str(tmp_path / "resumed.npy")]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (saved.exists() and len(list(saved.glob("[0-9]*"))) >= 2):
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it was killed"
    steps = [int(path.name) for path in saved.glob("[0-9]*") if path.name.isdigit()]
    assert 0 < max(steps) < 4000
    subprocess.run(command, check=True)
    subprocess.run([sys.executable, str(script), "4000", "100", str(tmp_path / "whole.npy")], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "whole.npy"))


@pytest.mark.slow
def test_killed_fifty_times_at_random_it_ends_with_the_same_bits(tmp_path):
    """Each time within a second and a half of the first save of that attempt: in an update, in a save, between them."""
    pytest.importorskip("orbax.checkpoint")
    script, saved, random = tmp_path / "run.py", tmp_path / "state", np.random.default_rng(0)
    script.write_text(textwrap.dedent(RUN))
    command = [sys.executable, "-W", "ignore", str(script), "100000", "20", str(saved), str(tmp_path / "resumed.npy")]
    newest = lambda: max((int(path.name) for path in saved.glob("[0-9]*") if path.name.isdigit()), default=0)
    for _ in range(50):
        before, process, deadline = newest(), subprocess.Popen(command), time.monotonic() + 120
        while newest() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was over before it was killed"
    done = newest() + 40
    for name, folder in (("resumed.npy", [str(saved)]), ("whole.npy", [])):
        subprocess.run([sys.executable, str(script), str(done), "20", *folder, str(tmp_path / name)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "whole.npy"))


@pytest.mark.slow
def test_interrupted_at_random_it_ends_with_what_was_reached_and_goes_on(tmp_path):
    """Ctrl-C in an update, in a save, between them: exit status 0, whole inner loops, all of them saved, and the same bits in the end."""
    pytest.importorskip("orbax.checkpoint")
    script, saved, random = tmp_path / "run.py", tmp_path / "state", np.random.default_rng(1)
    script.write_text(textwrap.dedent(RUN))
    command = [sys.executable, "-W", "ignore", str(script), "100000", "20", str(saved), str(tmp_path / "resumed.npy")]
    newest = lambda: max((int(path.name) for path in saved.glob("[0-9]*") if path.name.isdigit()), default=0)
    for _ in range(10):
        before, process, deadline = newest(), subprocess.Popen(command), time.monotonic() + 120
        while newest() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0.0, 1.0))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        reached = len(np.load(tmp_path / "resumed.npy")) - 200
        assert reached == newest() > before
        assert reached % 20 == 0
    done = newest() + 40
    for name, folder in (("resumed.npy", [str(saved)]), ("whole.npy", [])):
        subprocess.run([sys.executable, str(script), str(done), "20", *folder, str(tmp_path / name)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "whole.npy"))


class _Interrupts:
    """Numbers of updates, of which one raises what Ctrl-C raises when it is looked at."""

    def __init__(self, at):
        self.at, self.seen = at, 0

    def __call__(self, *args, **kwargs):
        self.seen += 1
        if self.seen == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 3])
def test_an_interrupt_leaves_what_was_reached(monkeypatch, at):
    monkeypatch.setattr(_fit, "bar", lambda *args, **how: contextlib.nullcontext(_Interrupts(at)))
    run = lambda n: sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, n, inner_steps=4)
    with pytest.warns(RuntimeWarning, match=f"interrupted after {4 * at} of 40 updates"):
        found = sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, 40, inner_steps=4, progress=True)
    equal(found, run(4 * at))


def test_an_interrupt_before_anything_was_reached_is_one(monkeypatch):
    def refuses(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        jax, "jit", lambda run: lambda *args: refuses() if not isinstance(args[1], jax.core.Tracer) else run(*args)
    )
    with pytest.raises(KeyboardInterrupt):
        sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, 40)


def test_a_folder_that_cannot_be_made_is_told_before_the_first_update(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/nowhere"):
        with pytest.raises(OSError, match=r"save_to=.* cannot be written .*Name a folder"):
            sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, 4, save_to=folder)


def test_a_full_disk_is_one_error_and_what_was_saved_stays(tmp_path):
    """A limit on the size of a file, so that a write fails in the midst."""
    pytest.importorskip("orbax.checkpoint")
    run = lambda n, **how: sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, n, save_to=tmp_path / "s", **how)
    run(4)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
        with pytest.raises(OSError, match=r"The state after 8 updates cannot be saved in .*make room"):
            run(8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    resumed = run(8)
    whole = sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, 8)
    equal(resumed, whole)


PAGE = pathlib.Path(__file__).parents[2] / "docs" / "preemption.md"


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(tmp_path):
    """The script of the page on runs that are killed: asked to end, then killed, on 8, 2 and 1 devices, as one run on one."""
    pytest.importorskip("orbax.checkpoint")
    script, saved = tmp_path / "train.py", tmp_path / "runs"
    script.write_text(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1))
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))

    def start(folder, updates, devices):
        env = os.environ | {"XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}"}
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script), str(folder), str(updates)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )

    newest = lambda: max((int(path.name) for path in saved.glob("[0-9]*") if path.name.isdigit()), default=0)
    for devices, ending, status in ((8, signal.SIGTERM, 75), (2, signal.SIGKILL, -signal.SIGKILL)):
        before, process, deadline = newest(), start(saved, 10**6, devices), time.monotonic() + 120
        while newest() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(ending)
        out = process.communicate(timeout=60)[0]
        assert process.returncode == status
        assert newest() > before
        assert ending == signal.SIGKILL or out.startswith(f"{newest()} updates on {devices} devices")
    done, losses = newest() + 100, []
    for folder in (saved, tmp_path / "whole"):
        process = start(folder, done, 1)
        out = process.communicate(timeout=300)[0]
        assert process.returncode == 0
        assert out.startswith(f"{done} updates on 1 devices")
        losses.append(float(out.split()[-1]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# Epochs and minibatches on what was collected


def collect(params, key):
    """Draws, and what they are worth, with the parameters of then."""
    x = sf.Bernoulli(logits=jnp.broadcast_to(params["l"], (12, 3))).sample(key)
    return {"x": x, "worth": jnp.sum((x - 0.4) ** 2, axis=1)}


def of_part(params, key, batch):
    log_prob = jax.vmap(sf.Bernoulli(logits=params["l"]).log_prob)(batch["x"])
    return jnp.mean((batch["worth"] - jnp.mean(batch["worth"])) * log_prob) + 1e-3 * jax.random.normal(key)


def test_minibatches_are_the_loop_that_people_write():
    fitted = sf.training.fit(of_part, PARAMS, OPTIMIZER, KEY, 4, collect=collect, epochs=3, minibatches=2)
    params, state, means = PARAMS, OPTIMIZER.init(PARAMS), []
    for i in range(4):
        key_collect, key_order, key_loss = jax.random.split(jax.random.fold_in(KEY, i), 3)
        batch, values = collect(params, key_collect), []
        orders = [jax.random.permutation(k, 12) for k in jax.random.split(key_order, 3)]
        parts = [order[half * 6 : half * 6 + 6] for order in orders for half in range(2)]
        keys = [key for epoch in jax.random.split(key_loss, 3) for key in jax.random.split(epoch, 2)]
        for part, key in zip(parts, keys, strict=True):
            value, grads = jax.value_and_grad(of_part)(params, key, jax.tree.map(lambda x, part=part: x[part], batch))
            moved, state = OPTIMIZER.update(grads, state, params)
            params = optax.apply_updates(params, moved)
            values.append(value)
        means.append(np.mean(values))
    np.testing.assert_allclose(fitted.params["l"], params["l"], rtol=1e-5)
    np.testing.assert_allclose(fitted.history["loss"], means, rtol=1e-4, atol=1e-6)


def test_what_collects_has_metrics_and_carry_and_the_inner_length_changes_nothing():
    def with_all(params, key, carry):
        batch = collect(params, key)
        return batch, ({"worth": jnp.mean(batch["worth"])}, carry + 1)

    options = {"collect": with_all, "epochs": 2, "minibatches": 3, "has_aux": True, "carry": jnp.int32(0)}
    one = sf.training.fit(of_part, PARAMS, OPTIMIZER, KEY, 7, inner_steps=3, **options)
    other = sf.training.fit(of_part, PARAMS, OPTIMIZER, KEY, 7, inner_steps=100, show="worth", **options)
    equal(one.params, other.params)
    assert one.carry == 7 and set(one.history) == {"loss", "worth"} and len(one.history["worth"]) == 7


def test_a_run_of_minibatches_goes_on_bit_for_bit(tmp_path):
    options = {"collect": collect, "epochs": 2, "minibatches": 2, "inner_steps": 2}
    whole = sf.training.fit(of_part, PARAMS, OPTIMIZER, KEY, 8, **options)
    sf.training.fit(of_part, PARAMS, OPTIMIZER, KEY, 4, save_to=tmp_path, save_every=2, **options)
    again = sf.training.fit(of_part, PARAMS, OPTIMIZER, KEY, 8, save_to=tmp_path, save_every=2, **options)
    equal(whole.params, again.params)
    np.testing.assert_array_equal(whole.history["loss"], again.history["loss"])


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"epochs": 2}, ValueError, "epochs=2 and minibatches=1 are of what collect="),
        ({"collect": collect, "minibatches": 5}, ValueError, "12 rows .* 5 minibatches"),
        ({"collect": lambda p, k: {"x": jnp.zeros(3), "y": jnp.zeros(4)}}, ValueError, "leading axis counts rows"),
        ({"collect": lambda p, k: jnp.zeros(())}, ValueError, "leading axis counts rows"),
        ({"collect": collect, "has_aux": True}, TypeError, "collect must return .batch, metrics."),
        ({"collect": collect, "epochs": 0}, ValueError, "epochs"),
    ],
)
def test_what_cannot_be_split_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        sf.training.fit(of_part if "collect" in options else loss, PARAMS, OPTIMIZER, KEY, 2, **options)


def test_a_loss_of_a_part_is_a_scalar():
    with pytest.raises(TypeError, match="loss must return a scalar"):
        sf.training.fit(lambda p, k, b: b["worth"], PARAMS, OPTIMIZER, KEY, 2, collect=collect)


# A loss that is not finite


def breaks_at(update):
    """x^2, which is not a number at one update."""

    def loss(params, key, count):
        return jnp.sum(params**2) + jnp.where(count == update, jnp.nan, 0.0), count + 1

    return loss


@pytest.mark.parametrize("inner_steps", [1, 4, 100])
@pytest.mark.nans
def test_training_stops_with_the_last_finite_state(inner_steps):
    options = {"carry": jnp.int32(0), "inner_steps": inner_steps}
    whole = sf.training.fit(breaks_at(7), jnp.ones(3), optax.sgd(0.1), KEY, 7, **options)
    with pytest.warns(RuntimeWarning, match=r"fit stopped at update 7 .the first is 0.: its loss is nan"):
        stopped = sf.training.fit(breaks_at(7), jnp.ones(3), optax.sgd(0.1), KEY, 20, stop_on_nonfinite=True, **options)
    np.testing.assert_allclose(stopped.params, whole.params, rtol=1e-6)
    np.testing.assert_allclose(stopped.history["loss"], whole.history["loss"], rtol=1e-6)
    assert stopped.carry == 7


@pytest.mark.nans
def test_a_run_that_was_stopped_is_saved_there_and_stops_there_again(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    options = {"carry": jnp.int32(0), "inner_steps": 4, "stop_on_nonfinite": True, "save_to": tmp_path}
    runs = []
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="update 7"):
            runs.append(sf.training.fit(breaks_at(7), jnp.ones(3), optax.sgd(0.1), KEY, 20, **options))
    np.testing.assert_array_equal(*(run.params for run in runs))
    assert max(int(path.name) for path in tmp_path.glob("[0-9]*")) == 7


def test_parameters_that_are_not_finite_stop_it_too():
    loss = lambda params, key: jnp.sum(jnp.sqrt(params))  # at 0 its derivative is infinite
    with pytest.warns(RuntimeWarning, match="update 0"):
        stopped = sf.training.fit(loss, jnp.zeros(2), optax.sgd(0.1), KEY, 5, stop_on_nonfinite=True)
    assert np.all(stopped.params == 0) and stopped.history["loss"].size == 0


def test_a_run_that_stays_finite_is_the_same_with_the_watch():
    loss = lambda params, key: jnp.sum((params - jax.random.normal(key, (3,))) ** 2)
    runs = [
        sf.training.fit(loss, jnp.ones(3), optax.adam(0.1), KEY, 30, stop_on_nonfinite=watch) for watch in (True, False)
    ]
    np.testing.assert_array_equal(*(run.params for run in runs))
    np.testing.assert_array_equal(*(run.history["loss"] for run in runs))
