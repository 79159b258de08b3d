"""Many devices and many processes: the numbers of one, and nothing on the way between them but sums."""

import json
import math
import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import on_devices
import pytest
from covering import few
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jax_scorefn as sf

pytestmark = [pytest.mark.sharded, pytest.mark.usefixtures("unchecked_keys")]

ROOT = pathlib.Path(__file__).parents[2]


def close(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", few(on_devices.EVERYTHING, "score_function", "predicted"))
@pytest.mark.default
def test_eight_devices_find_what_one_finds(name):
    close(on_devices.found(name, *on_devices.over(jax.devices()[:8])), on_devices.found(name))


ONE_OF_SEVERAL = """
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize("{address}", {processes}, {this})
import on_devices
on_devices.tell()
"""


def processes_of(command, processes):
    """What each of several processes, with two devices each, prints; ``command(address, this)`` is what is run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    env = os.environ | {
        "XLA_FLAGS": flags + " --xla_force_host_platform_device_count=2",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
    }
    pipes = {"env": env, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    begin = lambda this: [sys.executable, *map(str, command(f"localhost:{port}", this))]
    running = [subprocess.Popen(begin(this), **pipes) for this in range(processes)]
    try:
        told = [process.communicate(timeout=1500) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (_, err) in zip(running, told, strict=True):
        assert process.returncode == 0, err[-3000:]
    return [out for out, _ in told]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_real_processes_find_what_one_finds(processes):
    code = lambda address, this: ["-c", ONE_OF_SEVERAL.format(address=address, processes=processes, this=this)]
    for out in processes_of(code, processes):
        found = dict(json.loads(line) for line in out.splitlines() if line.startswith('["'))
        assert list(found) == list(on_devices.EVERYTHING)
        for name, leaves in found.items():
            close(leaves, on_devices.found(name))


@pytest.mark.slow
def test_the_script_of_the_page_runs_as_two_processes(tmp_path):
    script = tmp_path / "train.py"
    page = (ROOT / "docs" / "devices.md").read_text()
    script.write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1))
    first, second = processes_of(lambda address, this: [script, address, 2, this], 2)
    assert "on 4 devices of 2 processes" in first
    assert "loss" not in second


@pytest.mark.leaks  # the gradient of a shard_map with randomness in it
def test_leave_one_out_over_the_draws_of_all_devices():
    everywhere, logits, key = mesh(8), jnp.array([0.3, -0.5]), jax.random.key(0)
    f = lambda x: 100.0 + jnp.sum(x) ** 2
    bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))

    def local(logits, key, baseline):
        own = jax.random.fold_in(key, jax.lax.axis_index("draws"))
        return sf.score_function(f, bits, logits, own, num_samples=3, baseline=baseline, has_aux=True)

    def loss(logits, key):
        return jax.lax.pmean(local(logits, key, sf.baselines.across("draws"))[0], "draws")

    def table(logits, key):
        return local(logits, key, None)[1].samples[None]

    over = lambda run, spec: jax.jit(jax.shard_map(run, mesh=everywhere, in_specs=PartitionSpec(), out_specs=spec))
    x = np.asarray(over(table, PartitionSpec("draws"))(logits, key), np.float64).reshape(24, 2)
    values = 100 + x.sum(1) ** 2
    left = values - (values.sum() - values) / 23
    expected = np.mean(left[:, None] * (x - 1 / (1 + np.exp(-np.asarray(logits, np.float64)))), axis=0)
    np.testing.assert_allclose(jax.jit(jax.grad(over(loss, PartitionSpec())))(logits, key), expected, rtol=1e-4)
    # and inside of the map, of what is replicated
    inside = over(jax.grad(loss), PartitionSpec())(logits, key)
    np.testing.assert_allclose(inside, expected, rtol=1e-4)


def test_leave_one_out_over_devices_needs_two_draws():
    bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
    run = lambda key: sf.score_function(
        jnp.sum, bits, jnp.zeros(2), key, num_samples=1, baseline=sf.baselines.across("a")
    )
    with pytest.raises(ValueError, match="across\\('a'\\) subtracts the mean of the other draws"):
        jax.vmap(run, axis_name="a")(jax.random.split(jax.random.key(0), 1))


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("name", ["plate", "chain"])
def test_a_program_inside_of_shard_map(name, check_vma):
    """On two devices with the same key each finds what one device finds."""
    program, how = on_devices.PROGRAMS[name]
    found = jax.grad(sf.expectation(program, num_samples=5, **how))
    two = jax.make_mesh((2,), ("devices",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("devices")
    run = jax.shard_map(
        lambda p, k: found(p[0], k)[None],
        mesh=two,
        in_specs=(spec, PartitionSpec()),
        out_specs=spec,
        check_vma=check_vma,
    )
    logits, key = on_devices.LOGITS, jax.random.key(1)
    expected = jax.jit(found)(logits, key)
    np.testing.assert_allclose(
        jax.jit(run)(jnp.stack([logits, logits]), key), np.stack([expected] * 2), rtol=1e-5, atol=1e-6
    )


# ---- what goes between devices

PARAMS = {"w": jnp.zeros((4, 32)), "b": jnp.zeros(32)}
LAYER = sf.family(lambda p: sf.Bernoulli(logits=jnp.sin(jnp.arange(4.0)) @ p["w"] + p["b"]))
COLLECTIVE = re.compile(r" = (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")


def sent(run, *args):
    """The collective operations of a compiled call: the name, and the number of elements, of each array that takes part."""
    text = jax.jit(run).lower(*args).compile().as_text()
    return [
        (kind, math.prod(map(int, filter(None, shape.split(",")))))
        for arrays, kind in COLLECTIVE.findall(text)
        for shape in re.findall(r"\w+\[([\d,]*)\]", arrays)
    ]


def cost(x):
    return jnp.mean((x - 0.49) ** 2)


def program(p, key):
    return cost(sf.sample(key, sf.Bernoulli(logits=jnp.sin(jnp.arange(4.0)) @ p["w"] + p["b"])))


def mesh(*sizes):
    return jax.make_mesh(sizes, ("draws", "model")[: len(sizes)], axis_types=(AxisType.Auto,) * len(sizes))


@pytest.mark.parametrize("draws", [1000, 1001])
def test_only_sums_go_between_devices(draws):
    """The sum of f and its first value, a number each; the gradient in the logits, in two parts, however many draws."""
    sharding = NamedSharding(mesh(8), PartitionSpec("draws"))
    run = lambda p, k: sf.score_function_grad(cost, LAYER, p, k, num_samples=draws, sharding=sharding)
    found = sent(run, PARAMS, jax.random.key(0))
    assert {kind for kind, _ in found} == {"all-reduce"}
    assert sorted(size for _, size in found) == [1, 1, 1, 32, 32]


@pytest.mark.parametrize("draws", [1000, 1001])
def test_only_sums_go_between_devices_for_a_program(draws):
    """Each latent has a cost of its own, so these sums are arrays of 32."""
    sharding = NamedSharding(mesh(8), PartitionSpec("draws"))
    run = jax.grad(sf.expectation(program, num_samples=draws, sharding=sharding))
    found = sent(run, PARAMS, jax.random.key(0))
    assert {kind for kind, _ in found} == {"all-reduce"}
    assert max(size for _, size in found) == 32


def test_a_gradient_lies_as_its_parameters_do():
    both = mesh(2, 4)
    lie = {"w": NamedSharding(both, PartitionSpec(None, "model")), "b": NamedSharding(both, PartitionSpec("model"))}
    laid, sharding, key = jax.device_put(PARAMS, lie), NamedSharding(both, PartitionSpec("draws")), jax.random.key(0)
    run = lambda p, k, sharding=sharding: sf.score_function_grad(cost, LAYER, p, k, num_samples=100, sharding=sharding)
    grads = jax.jit(run)(laid, key)
    assert jax.tree.map(lambda g: g.sharding.spec, grads) == jax.tree.map(lambda s: s.spec, lie)
    close(*(jax.tree.leaves(g) for g in (grads, jax.jit(lambda p, k: run(p, k, None))(PARAMS, key))))
    found = sent(run, laid, key)
    # of each draw the sum over the model's parts of the cost and of the log-probability, 50 to a device; the rest as above
    assert sorted(size for _, size in found) == [1, 1, 1, 8, 8, 50, 50]


def test_contexts_and_draws_on_two_axes():
    both = jax.make_mesh((2, 4), ("contexts", "draws"), axis_types=(AxisType.Auto,) * 2)
    contexts, keys = jnp.sin(jnp.arange(32.0)).reshape(8, 4), jax.random.split(jax.random.key(0), 8)

    def loss(p, contexts, keys, sharding=None):
        def one(x, k):
            layer = sf.family(lambda p: sf.Bernoulli(logits=x @ p["w"] + p["b"]))
            return sf.score_function(cost, layer, p, k, num_samples=100, sharding=sharding)

        return jnp.mean(jax.vmap(one)(contexts, keys))

    expected = jax.tree.leaves(jax.jit(jax.grad(loss))(PARAMS, contexts, keys))
    laid = jax.device_put((contexts, keys), NamedSharding(both, PartitionSpec("contexts")))
    for sharding in (None, NamedSharding(both, PartitionSpec("draws"))):
        run = jax.grad(lambda p, x, k: loss(p, x, k, sharding))
        close(jax.tree.leaves(jax.jit(run)(PARAMS, *laid)), expected)
        found = sent(run, PARAMS, *laid)
        assert {kind for kind, _ in found} == {"all-reduce"}
        assert max(size for _, size in found) == 128  # the weights
