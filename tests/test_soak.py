"""Long runs: the memory of a process grows no more than that of the same loop in plain JAX."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

START = """
import gc, json, pathlib, sys
import jax, jax.numpy as jnp
from jax.lax import stop_gradient
import jax_scorefn as sf

def resident():
    gc.collect()
    status = pathlib.Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

bits = sf.family(lambda logits: sf.Bernoulli(logits=logits))
f = lambda x: jnp.sum((x - 0.4) ** 2)

def ours(logits, key, draws=8):
    return sf.score_function_grad(f, bits, logits, key, num_samples=draws)

def plain(logits, key, draws=8):
    def loss(logits):
        x = stop_gradient(jax.random.bernoulli(key, jax.nn.sigmoid(logits), (draws, 3)).astype(float))
        log_prob = jnp.sum(x * jax.nn.log_sigmoid(logits)[None] + (1 - x) * jax.nn.log_sigmoid(-logits)[None], axis=1)
        values = jax.vmap(f)(x)
        return jnp.mean((values - (jnp.sum(values) - values) / (draws - 1)) * log_prob)
    return jax.grad(loss)(logits)

grad, total = {"ours": ours, "plain": plain}[sys.argv[1]], int(sys.argv[2])
logits, keys = jnp.zeros(3), list(jax.random.split(jax.random.key(0), 100))
"""
CALLS = (
    START
    + """
run = jax.jit(grad)
found = []
for i in range(total):
    run(logits, keys[i % 100])
    if i in (total // 10, total - 1):
        run(logits, keys[0]).block_until_ready()
        found.append(resident())
print(json.dumps(found))
"""
)
COMPILATIONS = (
    START
    + """
found = []
for i in range(total):
    jax.jit(lambda p, k: grad(p, k, 2 + i % 50))(logits, keys[0]).block_until_ready()  # a new function each time
    if i in (total // 10, total - 1):
        jax.clear_caches()
        found.append(resident())
print(json.dumps(found))
"""
)


def grown(code, side, total):
    """Mebibytes from a tenth of the loop on to its end."""
    command = [sys.executable, "-W", "ignore", "-c", code, side, str(total)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    early, late = json.loads(done.stdout.splitlines()[-1])
    return late - early


@pytest.mark.parametrize(("code", "total"), [(CALLS, 2_000_000), (COMPILATIONS, 2_000)], ids=["calls", "compilations"])
def test_memory_grows_no_more_than_in_plain_jax(code, total):
    ours, plain = (grown(code, side, total) for side in ("ours", "plain"))
    # 10 MiB in a tenth of an hour is what an allocator does by itself; a word kept in each of two million calls would be 16
    assert ours <= max(plain, 0) + 10, (ours, plain)
