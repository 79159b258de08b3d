"""Half precision: what is computed is that of float32, and what is given out has the dtype that was given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering
from policy_calls import CALLS, covered, functions_with, random_row

import jax_scorefn.policy_gradient as pg

B, H = jnp.bfloat16, jnp.float16
STEPS = 700

OTHERS = {
    "token_log_probs": lambda w: pg.token_log_probs(
        jnp.outer(w["l"], w["r"]), jnp.arange(STEPS) % STEPS, jnp.arange(STEPS) > 3
    ),
    "group_advantages": lambda w: pg.group_advantages(w["r"], group_axis=0),
    "group_advantages_over_std": lambda w: pg.group_advantages(w["r"], group_axis=0, divide_by_std=True),
    "informative": lambda w: jnp.where(pg.informative(w["r"], group_axis=0), w["r"], jnp.zeros((), w["r"].dtype)),
    "entropy": lambda w: pg.entropy(w["r"]),
    "categorical_kl": lambda w: pg.categorical_kl(w["r"], w["v_t"]),
    "mean_loss": lambda w: pg.mean_loss(pg.Loss(w["r"], jnp.ones_like(w["r"]))),
    "sampling_logits": lambda w: pg.sampling_logits(w["r"], temperature=2.0),
    "legal_logits": lambda w: pg.legal_logits(w["r"], jnp.arange(STEPS) > 3),
}


def in_dtype(row, dtype):
    """Numbers that half precision has, large and small, in a dtype."""
    rounded = lambda x: np.asarray(jnp.asarray(x).astype(B).astype(H)).astype(np.float32)
    return {k: jnp.asarray(rounded(x), dtype) if x.dtype == np.float32 else x for k, x in row.items()}


def test_every_function_is_called():
    arrays = {"log_prob_t", "old_log_prob_t", "r_t", "v_tm1", "returns", "logits", "losses", "x"}
    assert set().union(*map(functions_with, arrays)) == covered() | {name.removesuffix("_over_std") for name in OTHERS}


@pytest.mark.parametrize("name, dtype", covering([(name, dtype) for name in (CALLS | OTHERS) for dtype in (B, H)]))
def test_half_precision_is_float32_of_the_same_call(name, dtype):
    call = (CALLS | OTHERS)[name]
    if name == "token_log_probs":  # the outer product is made in half precision
        call = lambda w: pg.token_log_probs(w["square"], jnp.arange(STEPS) % 5, jnp.arange(STEPS) > 3)
    row = random_row(1, STEPS)
    row |= {"r": 3 + row["r"], "discount": np.ones(STEPS, np.float32), "terminated": np.arange(STEPS) % 500 == 499}
    row |= {
        "truncated": np.zeros(STEPS, bool),
        "square": np.random.default_rng(0).normal(size=(STEPS, 5)).astype(np.float32),
    }

    def total(l, row):
        outputs = call({**row, "l": l})
        return sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(outputs)), outputs

    run = jax.jit(lambda row: jax.value_and_grad(total, has_aux=True)(row["l"], row))
    (_, half), half_grad = run(in_dtype(row, dtype))
    (_, single), single_grad = run(in_dtype(row, jnp.float32))
    for x, y in zip([*jax.tree.leaves(half), half_grad], [*jax.tree.leaves(single), single_grad], strict=True):
        wanted = jnp.float32 if isinstance(half, pg.Loss) and x.ndim == 0 else dtype
        assert x.dtype == wanted and y.dtype == jnp.float32
        eps = float(jnp.finfo(x.dtype).eps)
        np.testing.assert_allclose(
            np.asarray(x, np.float32), np.asarray(y.astype(x.dtype), np.float32), rtol=eps, atol=1e-6
        )


def test_sums_in_half_precision_are_wrong():
    """The broken twin of all of them."""
    ones = jnp.ones(1000, B)
    running = jax.lax.scan(lambda c, x: (c + x, None), jnp.zeros((), B), ones)[0]
    assert running == 256 != pg.discounted_returns(ones)[0] == 1000


def test_the_numbers_in_bfloat16():
    zeros, ones = jnp.zeros(1000, B), jnp.ones(1000, B)
    l, ref, rewards = jnp.full(600, -0.5, B), jnp.full(600, -1.0, B), jnp.array([1004, 1003, 1002, 1001])
    answer = np.array([False, True])

    @jax.jit
    def run():
        return (
            pg.discounted_returns(ones)[0],
            pg.gae(ones, zeros, zeros, discount_t=1.0, lambda_=1.0)[0],
            pg.entropy_loss(-ones[:599]).sum,
            pg.grpo(jnp.zeros(1025, B), jnp.zeros(1025, B), 1.0, reduction="token_mean").weight,
            jax.grad(lambda l: pg.kl_loss(l, ref).sum)(l)[0],
            jax.grad(lambda l: pg.rloo(l, rewards).sum)(jnp.zeros((4, 2), B))[:, 0],
            pg.token_log_probs(jnp.zeros((2, 32_000), B), np.array([0, 7]), answer)[1],
        )

    returns, advantage, entropy, weight, slope, slopes, log_prob = run()
    assert returns == advantage == 1000 and entropy == -599 and weight == 1025
    assert abs(slope - 300) <= 1  # of 600 costs of 0.5
    np.testing.assert_allclose(np.asarray(slopes, float), [-2, -2 / 3, 2 / 3, 2], rtol=4e-3)
    assert log_prob.dtype == B and log_prob == jnp.asarray(-np.log(32_000), B)


def test_the_numbers_in_float16():
    def token_mean(l):
        return pg.mean_loss(
            jax.vmap(lambda l: pg.grpo(l, jnp.zeros(512, H), jnp.ones((), H), reduction="token_mean"))(l)
        )

    @jax.jit
    def run():
        near, far = jnp.array([998, 1000, 1002, 1003], H), jnp.array([0, 300, 600, 900], H)
        how = {"group_axis": 0, "baseline": "mean"}
        of_groups = pg.group_advantages(near, **how), pg.group_advantages(far, **how, divide_by_std=True)
        large = pg.mean_loss(pg.Loss(jnp.full(3, 40_000, H), jnp.ones(3, H)))
        return jax.value_and_grad(token_mean)(jnp.zeros((160, 512), H)), of_groups, large

    (value, slopes), (near, far), large = run()
    assert value == -1 and np.all(np.asarray(slopes) == np.float16(-1 / (160 * 512)))
    np.testing.assert_allclose(np.asarray(near, float), [-2.75, -0.75, 1.25, 2.25], rtol=1e-3)
    np.testing.assert_allclose(np.asarray(far, float), np.array([-450, -150, 150, 450]) / 387.2983346, rtol=1e-3)
    assert large == 40_000


def test_the_widest_of_several_dtypes_is_computed_in(x64):
    l, r = np.full(3, -1.0), np.full(3, 1 + 1e-12)
    mixed = pg.reward_to_go(l, jnp.asarray(r, jnp.float32))
    assert mixed.sum.dtype == jnp.float64
    assert pg.discounted_returns(jnp.ones(3, jnp.float32)).dtype == jnp.float32
    assert pg.gae(jnp.ones(3, jnp.float32), l, r).dtype == jnp.float32  # of the rewards, as it was given
