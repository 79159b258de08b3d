"""The training loop: the plain optax loop's numbers, whatever the inner length, and after being killed as well."""

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
    with pytest.raises(ValueError, match="its key is"):
        sf.training.fit(carried, PARAMS, OPTIMIZER, jax.random.key(6), 40, save_to=tmp_path / "a", **how)
    with pytest.raises(ValueError, match="30 updates, and 10 are wanted"):
        sf.training.fit(carried, PARAMS, OPTIMIZER, KEY, 10, save_to=tmp_path / "a", **how)
    with pytest.raises(ValueError, match=r"its state is .*float32\[3\]"):
        sf.training.fit(carried, {"l": jnp.zeros(4)}, OPTIMIZER, KEY, 40, save_to=tmp_path / "a", **how)


def test_a_progress_bar_shows_the_metric_and_its_error(capsys):
    pytest.importorskip("rich")
    sf.training.fit(with_metrics, PARAMS, OPTIMIZER, KEY, 20, has_aux=True, inner_steps=10, progress=True, show="size")
    out = capsys.readouterr().out
    assert "size" in out and "±" in out and "20/20" in out


@pytest.mark.parametrize(
    "bad, how, error, words",
    [
        (lambda p, k: p["l"], {}, TypeError, "a scalar"),
        (lambda p, k: loss(p, k), {"has_aux": True}, TypeError, r"\(value, metrics\)"),
        (lambda p, k: (loss(p, k), {"x": p["l"]}), {"has_aux": True}, TypeError, "x has shape"),
        (lambda p, k: (loss(p, k), [1.0]), {"has_aux": True}, TypeError, "dictionary"),
        (lambda p, k, c: loss(p, k), {"carry": jnp.zeros(())}, TypeError, r"\(value, carry\)"),
        (lambda p, k, c: (loss(p, k), c), {"carry": jnp.zeros(()), "has_aux": True}, TypeError, r"\(metrics, carry\)"),
        (loss, {"show": "return"}, ValueError, "show='return'.*loss"),
        (loss, {"inner_steps": 0}, ValueError, "inner_steps"),
    ],
)
def test_what_is_refused_and_how(bad, how, error, words):
    with pytest.raises(error, match=words):
        sf.training.fit(bad, PARAMS, OPTIMIZER, KEY, 3, **how)


@pytest.mark.parametrize("option, package", [({"progress": True}, "rich"), ({"save_to": "x"}, "orbax")])
def test_a_missing_package_is_named(monkeypatch, option, package):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a))
    with pytest.raises(ImportError, match=rf"{package}.*jax_scorefn\[training\]"):
        sf.training.fit(loss, PARAMS, OPTIMIZER, KEY, 3, **option)


RUN = """
import sys, jax, jax.numpy as jnp, numpy as np, optax
import jax_scorefn as sf
coin = sf.family(lambda p: sf.Bernoulli(logits=p))
loss = lambda p, key: sf.score_function(lambda x: jnp.sum((x - 0.4) ** 2), coin, p, key, num_samples=256)
out = sf.training.fit(loss, jnp.zeros(200), optax.adam(0.01), jax.random.key(0), 4000, inner_steps=20, save_every=100,
                      save_to=sys.argv[1] if len(sys.argv) > 2 else None)
np.save(sys.argv[-1], np.concatenate([np.asarray(out.params), out.history["loss"]]))
"""


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    script, saved = tmp_path / "run.py", tmp_path / "state"
    script.write_text(textwrap.dedent(RUN))
    command = [sys.executable, str(script), str(saved), str(tmp_path / "resumed.npy")]
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
    subprocess.run([sys.executable, str(script), str(tmp_path / "whole.npy")], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "whole.npy"))
