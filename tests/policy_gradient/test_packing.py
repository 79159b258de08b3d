"""Packed rows, logits that are never whole, and samplers that do not draw from the model: each against the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering, few

import jax_scorefn.policy_gradient as pg

RNG = np.random.default_rng(2)
# two rows: three answers with their prompts, and two with padding between; False is prompt, or what a tool said
IDS = np.array([[0, 0, 0, 0, 1, 1, 1, 2, 2, 2], [0, 0, 0, -1, -1, 1, 1, 1, 1, -1]])
CHOSEN = np.array([[0, 1, 1, 1, 0, 1, 1, 0, 1, 1], [0, 1, 1, 1, 0, 0, 1, 0, 1, 1]], bool)
L = (-0.3 - RNG.exponential(size=IDS.shape)).astype(np.float32)
OLD = (L + 0.2 * RNG.normal(size=L.shape)).astype(np.float32)
A = RNG.normal(size=(2, 3)).astype(np.float32)
LOSSES = {
    "grpo": lambda l, o, a, m: pg.grpo(l, o, a, mask=m),
    "token mean": lambda l, o, a, m: pg.grpo(l, o, a, reduction="token_mean", mask=m),
    "sequence mean": lambda l, o, a, m: pg.grpo(l, o, a, reduction="sequence_mean", mask=m),
    "gspo": lambda l, o, a, m: pg.gspo(l, o, a, clip=0.05, clip_high=0.1, mask=m),
    "cispo": lambda l, o, a, m: pg.cispo(l, o, a, mask=m),
    "rejected": lambda l, o, a, m: pg.grpo(
        l, o, a, mask=pg.sampler_correction(o, l, level="geometric", kind="reject", low=0.9, high=1.1, mask=m).keep
    ),
}


def apart(l):
    """Each answer in a row of its own, wherever it stood."""
    rows = []
    for b in range(2):
        for s in range(3):
            at = np.flatnonzero(IDS[b] == s)
            at = np.concatenate([at, np.full(10 - len(at), -1)])
            own = np.where(at >= 0, CHOSEN[b][at], False)
            rows.append((jnp.where(own, l[b, at], jnp.nan), np.where(own, OLD[b][at], np.nan), A[b, s], own))
    return tuple(jnp.stack(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("name", few(LOSSES, "token mean", "gspo"))
def test_packed_rows_are_their_answers(name):
    loss = LOSSES[name]

    def packed(l):
        mask, new, old = pg.unpack(IDS, 3, l, OLD, mask=CHOSEN)
        return pg.mean_loss(loss(new, old, A.reshape(-1), mask))

    def alone(l):
        return pg.mean_loss(loss(*apart(l)))

    run = jax.jit(lambda l: (jax.value_and_grad(packed)(l), jax.value_and_grad(alone)(l)))
    (value, slopes), (wanted, wanted_slopes) = run(L)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=1e-5, atol=1e-8)
    assert np.any(slopes) and not np.any(np.asarray(slopes)[~CHOSEN | (IDS < 0)])
    # whatever stands at what was not chosen
    strange = np.where(CHOSEN & (IDS >= 0), L, np.nan).astype(np.float32)
    (value, slopes), _ = run(strange)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert np.all(np.isfinite(slopes))


def test_a_twin_that_takes_the_row_for_one_answer_is_seen():
    mask, new, old = pg.unpack(IDS, 3, L, OLD, mask=CHOSEN)
    packed = pg.mean_loss(pg.gspo(new, old, A.reshape(-1), clip=1.0, clip_high=1.0, mask=mask))
    whole = pg.mean_loss(pg.gspo(L, OLD, A[:, 0], clip=1.0, clip_high=1.0, mask=CHOSEN & (IDS >= 0)))
    assert abs(packed - whole) > 1e-3


def test_lists_are_arrays():
    l, mask = [-1.0, -2.0], [True, False]
    assert pg.grpo(l, l, 1.0, mask=mask).weight == pg.gspo(l, l, 1.0, mask=mask).weight == 1
    assert pg.cispo(l, l, 1.0, mask=mask).weight == 1 and pg.kl_penalty(l, l, mask=mask).shape == (2,)
    assert pg.sampler_correction(l, l, mask=mask).keep.tolist() == mask and pg.unpack([0, 1], 2, l, mask=mask)[
        0
    ].shape == (2, 2)
    scored = pg.token_log_probs([[0.0, 0.0], [0.0, 0.0]], [0, 1], [False, True], segment_ids=[0, 0])
    np.testing.assert_allclose(scored, [0, -np.log(2)], rtol=1e-6)


def test_unpacked_rows():
    mask, l = pg.unpack(IDS[0], 3, L[0])
    assert mask.shape == l.shape == (3, 10) and np.all(np.asarray(mask).sum(axis=1) == [4, 3, 3])
    for call, error, words in (
        (lambda: pg.unpack(IDS, 0), ValueError, "num_segments is a positive Python int"),
        (lambda: pg.unpack(IDS.astype(float), 2), TypeError, "integers of shape"),
        (lambda: pg.unpack(IDS, 2, L[0]), TypeError, "arrays of the same shape"),
    ):
        with pytest.raises(error, match=words):
            call()


@pytest.mark.nans
def test_the_first_token_of_a_segment_has_no_probability():
    logits, tokens, ids = np.zeros((6, 4), np.float32), np.array([0, 1, 2, 3, 1, 2]), np.array([0, 0, 0, 1, 1, 1])
    answer = np.array([False, True, True, False, True, True])
    plain = jax.jit(lambda l: pg.token_log_probs(l, tokens, answer, segment_ids=ids))(logits)
    np.testing.assert_allclose(plain, np.where(answer, -np.log(4), 0), rtol=1e-6)
    wrong = answer | (np.arange(6) == 3)
    for score in (
        pg.token_log_probs,
        lambda l, *a, **k: pg.token_log_probs_of_head(l, np.eye(4, dtype=np.float32), *a, **k),
    ):
        with pytest.raises(ValueError, match=r"answer\[3\] is True"):
            score(logits, tokens, wrong, segment_ids=ids)
        traced = jax.jit(lambda w, score=score: score(logits, tokens, w, segment_ids=ids))(wrong)
        assert np.isnan(traced[3]) and np.all(np.isfinite(np.asarray(traced)[answer]))


@pytest.mark.parametrize(
    "chunk, vocabulary", covering([(256, 16_384), (4, 7), (1, 1), (5, 23), (100, 10)], lambda c, v: v < 23)
)
@pytest.mark.nans
def test_logits_in_blocks_are_logits(chunk, vocabulary, x64):
    length, width, size = 13, 6, 23
    hidden, head = jnp.asarray(RNG.normal(size=(length, width))), jnp.asarray(RNG.normal(size=(width, size)))
    tokens, answer = RNG.integers(0, size, length), np.arange(length) > 3
    weights = np.cos(np.arange(length))

    def plain(h, w, t):
        return jnp.sum(pg.token_log_probs(h @ w / t, tokens, answer) * weights)

    def blocks(h, w, t):
        found = pg.token_log_probs_of_head(
            h, w, tokens, answer, chunk_size=chunk, vocabulary_chunk=vocabulary, temperature=t
        )
        return jnp.sum(found * weights)

    run = jax.jit(lambda *a: [jax.value_and_grad(f, (0, 1, 2))(*a) for f in (plain, blocks)])
    (value, slopes), (other, other_slopes) = run(hidden, head, 1.7)
    np.testing.assert_allclose(other, value, rtol=1e-12)
    for a, b in zip(slopes, other_slopes, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)
    # what is masked may be anything
    strange = hidden.at[np.array([0, 1, length - 1])].set(jnp.nan)
    value, slopes = jax.jit(jax.value_and_grad(blocks))(strange, head, 1.7)
    assert np.isfinite(value) and np.all(np.isfinite(slopes))
    with pytest.raises(ValueError, match="chunk_size is a positive Python int"):
        pg.token_log_probs_of_head(hidden, head, tokens, answer, chunk_size=0)
    with pytest.raises(TypeError, match="takes one sequence"):
        pg.token_log_probs_of_head(hidden, head.T, tokens, answer)


def test_bfloat16_blocks_are_added_up_in_float32():
    hidden, head = jnp.ones((3, 8), jnp.bfloat16), jnp.zeros((8, 40_000), jnp.bfloat16)
    run = jax.jit(
        lambda h, w: pg.token_log_probs_of_head(h, w, np.array([0, 5, 39_999]), np.array([False, True, True]))
    )
    got = run(hidden, head)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float32)[1:], np.float32(jnp.asarray(-np.log(40_000), jnp.bfloat16)))


def test_a_draw_is_scored_as_it_was_drawn():
    """Frequencies of draws are the probabilities of what scores them; of the model itself they are not."""
    logits = jnp.asarray(RNG.normal(size=6), jnp.float32) * 2
    for how in ({"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.8}, {"temperature": 1.5, "top_k": 4, "top_p": 0.9}):
        sampled = pg.sampling_logits(logits, **how)
        draws = jax.random.categorical(jax.random.key(0), sampled, shape=(40_000,))
        share = np.bincount(np.asarray(draws), minlength=6) / 40_000
        np.testing.assert_allclose(share, jax.nn.softmax(sampled), atol=0.015)
        assert np.max(np.abs(share - jax.nn.softmax(logits))) > 0.03


def test_which_tokens_stay():
    logits = jnp.log(jnp.array([0.15, 0.5, 0.05, 0.3]))
    stays = lambda **how: np.isfinite(jax.jit(lambda x: pg.sampling_logits(x, **how))(logits)).tolist()
    assert stays(top_k=2) == [False, True, False, True]
    assert stays(top_p=0.79) == [False, True, False, True] and stays(top_p=0.85) == [True, True, False, True]
    assert stays(top_p=1e-9) == [False, True, False, False] and stays(top_p=1.0) == [True] * 4
    assert stays(top_k=1) == [False, True, False, False] and stays(top_k=9) == [True] * 4
    # of what the largest three leave, the fewest that reach p
    assert stays(top_k=3, top_p=0.53) == [False, True, False, True] and stays(top_k=3, top_p=0.5) == [
        False,
        True,
        False,
        False,
    ]
    equal = pg.sampling_logits(jnp.zeros(4), top_k=2)
    assert np.isfinite(equal).tolist() == [True, True, False, False]
    slopes = jax.jit(jax.grad(lambda x: jax.nn.log_softmax(pg.sampling_logits(x, top_k=2))[1]))(logits)
    assert np.all(np.isfinite(slopes)) and slopes[0] == slopes[2] == 0
    for how, words in (
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ):
        with pytest.raises(ValueError, match=words):
            pg.sampling_logits(logits, **how)
