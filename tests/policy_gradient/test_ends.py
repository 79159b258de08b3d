"""Where ranges end: dtypes that are narrow, numbers that are huge or equal but for rounding, bounds that are arrays, rows of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg


@pytest.mark.parametrize("chunk", [1, 16, 256])
def test_gradients_of_a_head_are_added_up_wide(chunk):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(np.abs(rng.normal(size=(1024, 4))), jnp.bfloat16)
    head = jnp.asarray(rng.normal(size=(4, 64)) / 4, jnp.bfloat16)
    tokens, answer = rng.integers(0, 64, 1024), np.arange(1024) > 0

    def total(log_probs):
        return lambda h, w: jnp.sum(log_probs(h, w).astype(jnp.float32))

    blocks = lambda h, w: pg.token_log_probs_of_head(h, w, tokens, answer, chunk_size=chunk, vocabulary_chunk=4 * chunk)
    whole = lambda h, w: pg.token_log_probs(jnp.matmul(h, w), tokens, answer)
    found = jax.jit(jax.grad(total(blocks), argnums=(0, 1)))(hidden, head)
    wanted = jax.jit(jax.grad(total(whole), argnums=(0, 1)))(hidden.astype(jnp.float32), head.astype(jnp.float32))
    for got, exact in zip(found, wanted, strict=True):
        assert got.dtype == jnp.bfloat16
        error = np.abs(np.asarray(got, np.float32) - np.asarray(exact))
        assert error.max() < 0.01 * np.abs(exact).max()  # a bfloat16 has 8 bits


def test_a_row_of_one_token_and_of_none():
    for length in (0, 1):
        nothing = jnp.zeros(length, int), jnp.zeros(length, bool)
        assert pg.token_log_probs_of_head(jnp.ones((length, 2)), jnp.ones((2, 3)), *nothing).tolist() == [0.0] * length
        for lead in ((), (2,)):
            mask, x = pg.unpack(jnp.zeros((*lead, length), int), 3, jnp.ones((*lead, length)))
            assert mask.shape == x.shape == (3 * (2 if lead else 1), length)


def slope(kind, l, old=None):
    of = lambda l: pg.kl_penalty(l, 0.0, kind=kind, **({} if old is None else {"old_log_prob_t": old}))
    return float(jax.grad(of)(l)), float(jax.grad(jax.grad(of))(l))


def test_a_penalty_far_from_its_reference_has_its_own_gradient_or_none():
    assert slope("k3", -20.01) == (0.0, 0.0) and slope("k3", -19.99)[0] < -4e8
    for l in (-1.0, -15.0, -20.01, -300.0):  # weighed: that of KL, weight (k1), and its own derivative
        np.testing.assert_allclose(slope("k3", l, l), (l, l + 1), rtol=1e-6)
    for kind in ("k1", "k2", "k3"):
        assert slope(kind, 30.0, 5.0) == (0.0, 0.0)  # beyond the bound of a weight
    with pytest.raises(TypeError, match="it got None"):
        pg.kl_penalty(jnp.zeros(2), None)


@pytest.mark.nans
def test_ids_of_64_bits_are_told_apart():
    ids = np.array([0, 2**32, 0, 2**32])
    returns = jnp.array([1.0, 2.0, 3.0, 5.0])
    np.testing.assert_allclose(pg.group_advantages(returns, group_ids=ids), [-2.0, -3.0, 2.0, 3.0])
    np.testing.assert_allclose(pg.group_advantages(returns, group_ids=ids.tolist()), [-2.0, -3.0, 2.0, 3.0])
    assert pg.informative(jnp.array([1.0, 2.0, 1.0, 3.0]), group_ids=ids).tolist() == [False, True, False, True]
    mask = pg.unpack(np.array([0, 2**32, 1, -1]), 2)[0]
    assert mask.tolist() == [[True, False, False, False], [False, False, True, False]]
    answer = np.array([False, True, True])
    ids = np.array([0, 0, 2**32])
    found = jax.jit(lambda answer: pg.token_log_probs(jnp.zeros((3, 2)), np.zeros(3, int), answer, segment_ids=ids))(
        answer
    )
    assert np.isnan(found).tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8])
def test_more_segments_than_their_numbers_have_bits_for(dtype):
    mask = pg.unpack(jnp.array([0, 0, 1, 127], dtype), 300)[0]
    assert mask.sum() == 4 and np.flatnonzero(mask.any(axis=1)).tolist() == [0, 1, 127]


def test_top_p_of_one_is_all():
    logits = 3 * jax.random.normal(jax.random.key(0), (8, 50_000))
    assert np.isfinite(pg.sampling_logits(logits, top_p=1.0)).all()
    assert np.isfinite(pg.sampling_logits(jnp.log(jnp.array([0.5, 0.5, 1e-9])), top_p=1.0)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.nans
def test_what_is_not_a_number_is_not_called_equal(bad):
    x = jnp.array([1.0, bad, 2.0, 5.0])
    assert np.isnan(pg.whiten(x)).any()
    assert np.isnan(pg.group_advantages(x, group_axis=0, divide_by_std=True)).any()
    assert pg.informative(x, group_axis=0).all()
    assert not np.isnan(pg.whiten(x, mask=jnp.isfinite(x))).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e19, 1e30])
def test_advantages_over_a_deviation_have_no_scale(scale):
    x = jnp.array([1.0, 2.0, 6.0])
    found = pg.group_advantages(x * scale, group_axis=0, divide_by_std=True)
    np.testing.assert_allclose(found, pg.group_advantages(x, group_axis=0, divide_by_std=True), rtol=1e-6)


@pytest.mark.float32
def test_one_that_differs_among_many_is_enough():
    assert pg.whiten(jnp.ones(100_000).at[7].set(1.001))[7] > 100
    assert pg.informative(jnp.full(64, 1000.0).at[3].add(0.005), group_axis=0).all()
    assert pg.group_advantages(jnp.array([1e8, 1e8 + 64, 1e8 + 128]), group_axis=0, divide_by_std=True)[2] > 0.9
    # equal but for what a sum in another order leaves
    assert not pg.informative(jnp.array([0.1, 0.1 * (1 + 2**-22)]), group_axis=0).any()


@pytest.mark.parametrize("ulps", [1, 4, 12, 14, 100])
def test_what_is_informative_has_advantages(ulps):
    x = np.float32(1) + np.array([[0, ulps * 2**-23]], np.float32)
    told = np.asarray(pg.informative(x, group_axis=1))
    for ddof in (0, 1):
        assert (
            np.asarray(pg.group_advantages(x, group_axis=1, divide_by_std=True, ddof=ddof)) != 0
        ).tolist() == told.tolist()


@pytest.mark.parametrize(("mean", "deviation"), [(100, 0.05), (1e3, 0.9), (1e4, 5), (1e5, 50), (0, 1e-25), (0, 1e25)])
def test_a_scale_of_returns_keeps_a_deviation_beside_a_large_mean(mean, deviation):
    scale, rng = pg.ReturnScale(decay=0.9), np.random.default_rng(0)
    batches = np.asarray(mean + deviation * rng.normal(size=(20, 1024)), np.float32)
    state = jax.lax.scan(lambda s, x: (scale.update(s, x), None), scale.init(), batches)[0]
    wanted = np.float64(batches).std()
    np.testing.assert_allclose(state.deviation, wanted, rtol=0.05)
    np.testing.assert_allclose(state.mean, np.float64(batches).mean(), atol=0.2 * wanted)


@pytest.mark.usefixtures("x64")
def test_a_scale_of_returns_is_the_same_state_with_64_bits():
    scale = pg.ReturnScale()
    state = jax.lax.scan(lambda s, x: (scale.update(s, x), None), scale.init(), jnp.ones((4, 3)))[0]
    assert {x.dtype for x in state} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("options", [{"group_axis": 0}, {"group_ids": np.zeros(2, int)}])
def test_who_is_not_there_takes_nobodys_place(options):
    kept = pg.best_of_group(jnp.array([5.0, -jnp.inf]), 1, **options, mask=jnp.array([False, True]))
    assert kept.tolist() == [False, True]


def test_both_levels_of_gspo_agree_far_from_zero():
    l = jnp.array([-5000.0, -1.0, -2.0, -0.5])
    old = l - jnp.array([0.0, 3e-4, 4e-4, 8e-4])
    grads = [
        jax.grad(lambda l, level=level: pg.gspo(l, old, 1.0, level=level, clip_high=0.2).sum)(l)
        for level in ("sequence", "token")
    ]
    np.testing.assert_allclose(*grads, rtol=1e-6)


def test_a_penalty_of_lengths_is_computed_wide():
    found = pg.overlong_penalty(jnp.asarray(8064, jnp.bfloat16), longest=8190, cushion=190)
    assert found == jnp.asarray((8190 - 190 - 8064) / 190, jnp.bfloat16)


ROW = jnp.zeros(3)
BOUNDS = {
    "grpo": (lambda x: pg.grpo(ROW, ROW, 1.0, clip=x), 2.0),
    "gspo": (lambda x: pg.gspo(ROW, ROW, 1.0, clip_high=x), -1.0),
    "cispo": (lambda x: pg.cispo(ROW, ROW, 1.0, clip=x), 2.0),
    "ppo_clip": (lambda x: pg.ppo_clip(ROW, ROW, ROW, max_log_ratio=x), -1.0),
    "critic_loss": (lambda x: pg.critic_loss(ROW, ROW, clip=x, old_v_tm1=ROW), -1.0),
    "sampler_correction": (lambda x: pg.sampler_correction(ROW, ROW, kind="band", low=x, high=2.0), 3.0),
    "temperature": (lambda x: pg.sampling_logits(ROW, temperature=x), 0.0),
    "of a head": (lambda x: pg.token_log_probs_of_head(jnp.ones((2, 1)), jnp.ones((1, 2)), np.zeros(2, int), np.zeros(2, bool), temperature=x), 0.0),
    "top_p": (lambda x: pg.sampling_logits(ROW, top_p=x), 1.5),
    "top_k": (lambda x: pg.sampling_logits(ROW, top_k=x), 1.5),
    "ddof": (lambda x: pg.group_advantages(ROW, group_axis=0, ddof=x), 2.0),
    "vtrace": (lambda x: pg.vtrace(ROW, ROW, ROW, ROW, clip_rho=x), -1.0),
    "decay": (lambda x: sf.baselines.ema(x), 1.5),
    "snr": (lambda x: sf.training.track_snr(x), 1.5),
}  # fmt: skip
KINDS = {"python": float, "numpy": np.float32, "array": jnp.asarray, "narrow": lambda x: jnp.asarray(x, jnp.bfloat16)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", covering(list(BOUNDS), {"grpo": "losses", "temperature": "samplers", "decay": "elsewhere"}.get)
)
def test_a_bound_is_looked_at_whatever_holds_it(name, kind):
    call, number = BOUNDS[name]
    bad = KINDS[kind](number)
    with pytest.raises(ValueError):
        call(bad)
    with pytest.raises(ValueError):
        jax.jit(lambda y: (call(bad), y)[1])(1.0)  # what is not traced is seen under jit too


def test_no_bound_is_a_large_one():
    ratio = jnp.array([1e3, -1e3, 0.0])
    for loss in (pg.grpo, pg.cispo):
        for advantage in (1.0, 0.0, -1.0):
            value, gradient = jax.value_and_grad(
                lambda l, a=advantage, f=loss: f(l, jnp.zeros(3), a, clip_high=jnp.inf).sum
            )(ratio)
            assert np.isfinite(value) and np.isfinite(gradient).all()


def test_what_is_refused_says_why():
    with pytest.raises(TypeError, match="n is a positive"):
        pg.n_step_returns(ROW, ROW, ROW, n=1.5)
    with pytest.raises(TypeError, match="keep is a positive"):
        pg.best_of_group(ROW, 1.5, group_axis=0)
    pg.sampler_correction(ROW, ROW, kind="truncate", high=0.4)  # its lower bound is not used
    reset = lambda key: (jnp.zeros(2), jnp.zeros(()))
    step = lambda key, state, action: (jnp.zeros(2), state, 0.0, jnp.array(False), jnp.array(False))
    policy = lambda p, o: sf.Bernoulli(logits=p)
    start = pg.begin(reset, jax.random.key(0))
    for name, other in {"observation": {"observation": jnp.zeros(3)}, "state": {"state": jnp.zeros(1)}}.items():
        with pytest.raises(TypeError, match=f"start has the {name}"):
            pg.rollout(policy, step, reset, 0.0, jax.random.key(1), 3, start=start._replace(**other))
    with pytest.raises(TypeError, match="start has the memory"):
        pg.rollout(
            policy,
            step,
            reset,
            0.0,
            jax.random.key(1),
            3,
            start=start._replace(memory=jnp.zeros(2)),
            memory=jnp.zeros(3),
        )


def test_keys_are_kept_by_the_sampler_of_groups_that_differ():
    rewards = np.array([[1.0, 0.0], [1.0, 1.0]])
    sample = lambda i: (rewards, {"key": jax.random.split(jax.random.key(i), 2)})
    data = pg.collect_informative(sample, 3)[1]
    assert jax.dtypes.issubdtype(data["key"].dtype, jax.dtypes.prng_key) and data["key"].shape == (3,)
