"""f as plain Python: one host call for each chunk, the user's errors, and no silent zero."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf

NORMAL = sf.family(lambda m: sf.Normal(loc=m, scale=1.0))
M = jnp.array([0.5, -0.5])


class Counted:
    """A black box that counts its host calls and the draws it saw."""

    def __init__(self, vectorized):
        self.calls, self.draws, self.vectorized = 0, 0, vectorized

    def __call__(self, x):
        assert isinstance(x, np.ndarray)
        self.draws += len(x) if self.vectorized else 1
        self.calls += 1
        return np.sum(x**2, axis=-1)


@pytest.mark.parametrize(
    ("chunk_size", "how"),
    covering(
        [(size, how) for size in (None, 4, 5, 12) for how in ("jit", "value_and_grad", "hessian", "eager")],
        lambda size, how: bool(size and 12 % size),
    ),
)
def test_one_host_call_for_each_chunk_forwards_and_backwards_together(chunk_size, how):
    count = Counted(vectorized=True)
    box = sf.black_box(count, vectorized=True)
    loss = lambda m, key: sf.score_function(box, NORMAL, m, key, num_samples=12, chunk_size=chunk_size)
    run = {
        "eager": jax.grad(loss), "jit": jax.jit(jax.grad(loss)), "value_and_grad": jax.jit(jax.value_and_grad(loss)),
        "hessian": jax.hessian(loss),
    }[how]  # fmt: skip
    got = jax.block_until_ready(run(M, jax.random.key(0)))
    assert count.calls == -(-12 // (chunk_size or 12)) and count.draws == 12
    reference = lambda m, key: sf.score_function(lambda x: jnp.sum(x**2), NORMAL, m, key, num_samples=12)
    transform = {"eager": jax.grad, "jit": jax.grad, "value_and_grad": jax.value_and_grad, "hessian": jax.hessian}[how]
    wanted = jax.jit(transform(reference))(M, jax.random.key(0))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_one_draw_at_a_time_or_the_whole_chunk_give_the_same():
    single, whole = Counted(False), Counted(True)
    grads = [
        jax.jit(
            lambda m, k, c=c: sf.score_function_grad(sf.black_box(c, vectorized=c.vectorized), NORMAL, m, k, num_samples=10)
        )(M, jax.random.key(0))
        for c in (single, whole)
    ]  # fmt: skip
    np.testing.assert_array_equal(*grads)
    assert (single.draws, single.calls, whole.draws, whole.calls) == (10, 10, 10, 1)


def test_pytrees_of_draws_results_with_a_shape_and_vmap_over_problems():
    fam = sf.family(lambda p: sf.Joint({"a": sf.Normal(loc=p, scale=1.0), "b": sf.Bernoulli(logits=p)}))
    box = sf.black_box(lambda x: np.array([x["a"], x["b"], 1.0]), result_shape=(3,))
    values = jax.jit(jax.vmap(lambda p, k: sf.score_function(box, fam, p, k)))(
        jnp.arange(2.0), jax.random.split(jax.random.key(0), 2)
    )
    plain = jax.jit(jax.vmap(lambda p, k: sf.score_function(lambda x: jnp.stack([x["a"], x["b"], 1.0]), fam, p, k)))(
        jnp.arange(2.0), jax.random.split(jax.random.key(0), 2)
    )
    np.testing.assert_allclose(values, plain, rtol=1e-5)


def test_f_in_jax_may_add_what_depends_on_the_parameters():
    box = sf.black_box(lambda x: float(np.sum(x) > 0))
    in_jax = lambda x: (jnp.sum(x) > 0).astype(float)
    grad, plain = (
        jax.jit(jax.grad(lambda m, f=f: sf.score_function(lambda x: f(x) + jnp.sum(m**2), NORMAL, m, jax.random.key(0))))(M)
        for f in (box, in_jax)
    )  # fmt: skip
    np.testing.assert_allclose(grad, plain, rtol=1e-4)


@pytest.mark.parametrize("how", [lambda f: f, jax.jit])
def test_the_users_exception_and_message_arrive(how):
    seen = []

    def f(x):
        seen.append(x)
        if len(seen) == 5:
            raise KeyError("the simulator lost episode 5")
        return 0.0

    grad = how(lambda m, key: sf.score_function_grad(sf.black_box(f), NORMAL, m, key, num_samples=10))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"KeyError: 'the simulator lost episode 5'"):
        jax.block_until_ready(grad(M, jax.random.key(0)))
    assert len(seen) == 5


def test_what_is_refused():
    box = sf.black_box(lambda x: 0.0)
    run = lambda f: jax.jit(lambda m, k: sf.score_function(f, NORMAL, m, k))(M, jax.random.key(0))
    with pytest.raises(TypeError, match="A black box was differentiated in its input"):
        sf.pathwise_grad(box, NORMAL, M, jax.random.key(0))
    with pytest.raises(TypeError, match="black_box wants a function"):
        sf.black_box(3.0)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"returned shape \(2,\) where result_shape=\(\)"):
        jax.block_until_ready(run(sf.black_box(lambda x: x)))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"so \(64, ...\) for 64 draws"):
        jax.block_until_ready(run(sf.black_box(lambda x: 0.0, vectorized=True)))

    def loss(m):
        return sf.score_function(sf.black_box(lambda x: float(m[0])), NORMAL, m, jax.random.key(0))

    with pytest.raises(
        TypeError, match="closes over m, which is being traced.*keep the part that uses the parameters in JAX"
    ):
        jax.grad(loss)(M)
    partial = lambda m: sf.score_function(
        sf.black_box(functools.partial(lambda m, x: float(m[0]), m)), NORMAL, m, jax.random.key(0)
    )
    with pytest.raises(TypeError, match="closes over partial arguments"):
        jax.jit(partial)(M)
    defaults = lambda m: sf.score_function(sf.black_box(lambda x, m=m: float(m[0])), NORMAL, m, jax.random.key(0))
    with pytest.raises(TypeError, match="closes over defaults"):
        jax.jit(defaults)(M)
