"""Runs laid over the devices of a mesh with Explicit axes, where the type of an array says how it lies: the numbers are the same.

Parameters and key are made outside of the mesh, as they are where a mesh is set around an existing training loop.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from versions import explicit_meshes

import jax_scorefn as sf
from jax_scorefn.programs import _trace

pytestmark = [pytest.mark.sharded, pytest.mark.usefixtures("unchecked_keys")]

LOGIT, KEY = jnp.float32(0.3), jax.random.key(5)


def bit(key, logit):
    return sf.sample(key, sf.Bernoulli(logits=logit))


def in_a_jit(p, key):
    """A jitted function of the program's own key and parameter."""
    return (jax.jit(lambda q, k: bit(k, q))(p, key) + 1) ** 2


def beside_a_jit(p, key):
    """A jitted function without a choice, which is bound whole."""
    return jax.jit(lambda q, k: jnp.sum(jax.random.normal(k, (3,))) * q)(p, key) * bit(jax.random.split(key)[0], p)


def categorical(p, key):
    return sf.sample(key, sf.Categorical(logits=p * jnp.arange(20.0))).astype(float)


def special(p, key):
    return jax.nn.logsumexp(p * sf.sample(key, sf.Normal(loc=p * jnp.ones(3), scale=1.0)))


def enumerated(p, key):
    return jnp.sum(sf.sample(key, sf.Bernoulli(logits=p * jnp.ones(3)), estimator="exact")) ** 2


def branches(p, key):
    return lax.cond(p > 0, lambda k: bit(k, p), lambda k: jax.random.uniform(k) + bit(jax.random.split(k)[0], -p), key)


def recomputed(p, key):
    return jax.checkpoint(lambda k: bit(k, p) * p)(key)


def keys_in_the_carry(p, key):
    step = lambda k, _: (jax.random.split(k)[0], bit(k, p))
    return jnp.sum(lax.scan(step, key, None, length=3)[1])


def zero_in_the_carry(p, key):
    """Plain JAX does not map this one: the first carry is of another type than what comes around."""
    return lax.scan(lambda c, k: (c + bit(k, p + c), None), 0.0, jax.random.split(key, 3))[0]


def ends_by_itself(p, key):
    """In two blocks, of which the second is not run; what is NaN if it goes on is not."""

    def play(s):
        money, rounds, key = s
        key, now = jax.random.split(key)
        return money + 2.0 * bit(now, p) - 1.0, rounds + p, key

    goes_on = lambda s: (s[0] > 0) & (s[0] < 3)
    return sf.programs.while_loop(goes_on, play, (1.0, 0.0, key), max_steps=40)[1]


def beside_another(p, key):
    """Choices with alternatives, some of which could share a lane, and a count."""

    def step(x, k):
        a, b = jax.random.split(k)
        bits = sf.sample(a, sf.Bernoulli(logits=p * jnp.ones(3) + x), estimator="coupled")
        return x + jnp.mean(bits), jnp.sum(bits**2) + sf.sample(
            b, sf.Poisson(rate=jnp.exp(p)), estimator="coupled"
        ).astype(float)

    return jnp.sum(lax.scan(step, 0.0 * p, jax.random.split(key, 3))[1])


def placed(p, key):
    z = jnp.broadcast_to(bit(key, p), (4,)) * jnp.arange(4.0)
    return jnp.sum(jax.sharding.reshard(z, PartitionSpec(None))) ** 2


PROGRAMS = [in_a_jit, beside_a_jit, categorical, special, enumerated, branches, recomputed, keys_in_the_carry,
            zero_in_the_carry, ends_by_itself, beside_another, placed]  # fmt: skip


SHORT = (in_a_jit, enumerated, zero_in_the_carry)
CASES = covering(
    [*((program, True) for program in PROGRAMS), (in_a_jit, False), (zero_in_the_carry, False)],
    lambda program, jitted: program if program in SHORT else None,
)


@explicit_meshes
@pytest.mark.parametrize(("program", "jitted"), CASES, ids=lambda x: getattr(x, "__name__", f"jitted {x}"))
def test_a_program_in_an_explicit_mesh_is_the_same_program(program, jitted):
    lost = "ignore" if program is branches else "raise"  # p decides the branch: the expectation jumps there

    def run(sharding):
        loss = jax.value_and_grad(sf.expectation(program, num_samples=4, sharding=sharding, lost=lost))
        return (jax.jit(loss) if jitted else loss)(LOGIT, KEY)

    mesh = jax.make_mesh((2,), ("draws",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        spread, not_spread = run(NamedSharding(mesh, PartitionSpec("draws"))), run(None)
    alone = not_spread if program is placed else run(None)  # outside of a mesh there is nowhere to place anything
    for a, b, c in zip(spread, not_spread, alone, strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(b, c, rtol=1e-5, atol=1e-6)


def test_a_program_that_is_traced_outside_of_the_mesh_is_seen(monkeypatch):
    monkeypatch.setattr(_trace, "onto_mesh", lambda tree: tree)
    with pytest.raises(ValueError, match="not found in mesh"):
        test_a_program_in_an_explicit_mesh_is_the_same_program(in_a_jit, True)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_parameters_may_lie_along_an_axis_of_their_own(chunk_size):
    mesh = jax.make_mesh((2, 2), ("draws", "model"), axis_types=(AxisType.Explicit,) * 2)

    def program(p, key):
        return jnp.sum(jax.jit(lambda k, q: bit(k, q))(key, p) * jnp.arange(4.0)) ** 2

    run = lambda sharding: jax.jit(
        jax.grad(sf.expectation(program, num_samples=5, sharding=sharding, chunk_size=chunk_size))
    )
    logits = jnp.linspace(-1.0, 1.0, 4)
    alone = run(None)(logits, KEY)
    with jax.set_mesh(mesh):
        laid = jax.device_put(logits, NamedSharding(mesh, PartitionSpec("model")))
        np.testing.assert_allclose(
            run(NamedSharding(mesh, PartitionSpec("draws")))(laid, KEY), alone, rtol=1e-5, atol=1e-6
        )
