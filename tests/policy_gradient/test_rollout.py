"""Rollouts: what they record, that credit is found in them, and environments of other libraries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

pytestmark = pytest.mark.usefixtures("unchecked_keys")
PARAMS = jnp.array([-0.4, 0.3])


def reset(key):
    x = jax.random.uniform(key, minval=-0.5, maxval=0.5)
    return jnp.stack([x, 0.0 * x]), (x, jnp.zeros((), jnp.int32))


def step(key, state, action):
    """A walk on the line that ends beyond 3 and is cut off after 6 steps."""
    x, t = state
    x = x + 2.0 * action - 1.0 + 0.1 * jax.random.normal(key)
    observation = jnp.stack([x, (t + 1).astype(x.dtype) / 6])
    return observation, (x, t + 1), -(x**2), jnp.abs(x) > 3.0, t + 1 >= 6


def policy(params, observation):
    return sf.Bernoulli(logits=params[0] * observation[0] + params[1])


run = functools.partial(pg.rollout, policy, step, reset)


@pytest.fixture(scope="module")
def many():
    with jax.debug_key_reuse(False):
        return jax.jit(jax.vmap(lambda k: run(PARAMS, k, 50)))(jax.random.split(jax.random.key(0), 64))


def test_it_records_what_happened(many):
    x, nxt = np.asarray(many.observations)[..., 0], np.asarray(many.next_observations)[..., 0]
    np.testing.assert_allclose(many.r_t, -(nxt**2), rtol=1e-5)
    np.testing.assert_array_equal(many.terminated, np.abs(nxt) > 3)
    ended = np.asarray(many.terminated | many.truncated)
    assert not np.any(many.terminated & many.truncated) and np.any(many.terminated) and np.any(many.truncated)
    np.testing.assert_array_equal(x[:, 1:][~ended[:, :-1]], nxt[:, :-1][~ended[:, :-1]])  # it goes on from where it was
    assert np.all(np.abs(x[:, 1:][ended[:, :-1]]) <= 0.5) and np.any(np.abs(nxt[ended]) > 3)  # or begins again
    assert set(np.unique(many.actions)) == {0.0, 1.0}
    assert abs(np.mean(nxt - x - (2 * np.asarray(many.actions) - 1))) < 0.02


def test_returns_and_lengths_of_episodes(many):
    for i in range(8):
        total, length = 0.0, 0
        for t in range(50):
            total, length = total + float(many.r_t[i, t]), length + 1
            if many.terminated[i, t] or many.truncated[i, t]:
                np.testing.assert_allclose(many.episode_returns[i, t], total, rtol=1e-4)
                assert many.episode_lengths[i, t] == length
                total, length = 0.0, 0
            else:
                assert many.episode_returns[i, t] == 0.0 and many.episode_lengths[i, t] == 0
        np.testing.assert_allclose(many.last.episode_return[i], total, rtol=1e-4, atol=1e-5)
        assert many.last.episode_length[i] == length


def test_it_goes_on_where_it_was_left():
    first = jax.jit(lambda k: run(PARAMS, k, 7))(jax.random.key(1))
    second = jax.jit(lambda k, start: run(PARAMS, k, 10, start=start))(jax.random.key(2), first.last)
    assert not first.terminated[-1] and not first.truncated[-1]
    np.testing.assert_array_equal(second.observations[0], first.next_observations[-1])
    np.testing.assert_array_equal(second.observations[0], first.last.observation)
    end = int(np.argmax(second.episode_lengths > 0))
    assert second.episode_lengths[end] == first.last.episode_length + end + 1


def log_probs(params, steps):
    return jax.vmap(lambda o, a: policy(params, o).log_prob(a))(steps.observations, steps.actions)


@pytest.mark.parametrize("forget", [False, True])
def test_expectation_charges_each_action_with_what_comes_after_it(forget):
    """Draw by draw the hand-written reward-to-go: of the window, or with the mark of each episode."""

    def auto(key):
        return jax.grad(sf.expectation(lambda p, key: run(p, key, 20, forget=forget).r_t.sum()))(PARAMS, key)

    def hand(key):
        steps = run(PARAMS, jax.random.fold_in(key, 0), 20)
        ends = {"terminated": steps.terminated | steps.truncated} if forget else {}
        return jax.grad(lambda p: -pg.reward_to_go(log_probs(p, steps), steps.r_t, **ends).sum)(PARAMS)

    keys = jax.random.split(jax.random.key(3), 100)
    got, wanted = jax.jit(jax.vmap(auto))(keys), jax.jit(jax.vmap(hand))(keys)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.max(np.abs(wanted)))
    assert sf.explain(lambda p, key: run(p, key, 20, forget=forget).r_t.sum())(PARAMS, keys[0]).costs


def test_with_the_mark_it_is_another_gradient():
    grads = {}
    for forget in (False, True):
        loss = sf.expectation(lambda p, key, forget=forget: run(p, key, 20, forget=forget).r_t.sum())
        grads[forget] = jax.jit(jax.vmap(lambda k, loss=loss: jax.grad(loss)(PARAMS, k)))(
            jax.random.split(jax.random.key(4), 4000)
        )
    apart = grads[False].mean(axis=0) - grads[True].mean(axis=0)
    error = (grads[False] - grads[True]).std(axis=0) / 4000**0.5
    assert np.max(np.abs(apart) / error) > 5
    assert grads[True].var(axis=0).sum() < grads[False].var(axis=0).sum()


def carried(key, x, action):
    """A walk, x' = x + a with reward x': after T steps the mean of a enters T (T + 1) / 2 times."""
    x = x + action
    return x[None], x, x, jnp.array(False), jnp.array(False)


def test_a_pathwise_rollout_goes_through_the_dynamics():
    def total(estimator):
        dist, begin = lambda w, o: sf.Normal(loc=w, scale=1.0), lambda key: (jnp.zeros(1), jnp.zeros(()))
        return lambda w, key: pg.rollout(dist, carried, begin, w, key, 6, estimator=estimator).r_t.sum()

    w, keys = jnp.array(0.3), jax.random.split(jax.random.key(5), 4000)
    path = jax.jit(jax.vmap(jax.grad(sf.expectation(total("pathwise"))), (None, 0)))(w, keys)
    np.testing.assert_allclose(path, 21.0, rtol=1e-6)  # no noise at all
    np.testing.assert_allclose(
        jax.jit(jax.grad(total("pathwise")))(w, keys[0]), 21.0, rtol=1e-6
    )  # nothing to be scored, no wrapper needed
    score = jax.jit(jax.vmap(jax.grad(sf.expectation(total("score"))), (None, 0)))(w, keys)
    assert abs(score.mean() - 21.0) < 5 * score.std() / 4000**0.5 and score.std() / 4000**0.5 < 2.0
    with pytest.raises(ValueError, match="estimator"):
        total("path")(w, keys[0])
    with pytest.raises(TypeError, match="reparameterized"):
        run(PARAMS, keys[0], 3, estimator="pathwise")


@pytest.mark.leaks
def test_on_its_own_it_refuses_to_be_differentiated_and_stopped_it_does_not():
    with pytest.raises(TypeError, match=r"choice action.*sf\.expectation"):
        jax.eval_shape(jax.grad(lambda p: run(p, jax.random.key(0), 5).r_t.sum()), PARAMS)

    def loss(p):
        steps = run(jax.lax.stop_gradient(p), jax.random.key(0), 5)
        return pg.reward_to_go(log_probs(p, steps), steps.r_t, terminated=steps.terminated | steps.truncated).sum

    grad = jax.jit(jax.grad(loss))(PARAMS)
    assert np.all(np.isfinite(grad)) and np.any(grad != 0)


def test_a_penalty_on_the_policy_is_a_term_of_the_objective():
    """Entropy along the way, charged like any other reward: exact against every way that three actions can go."""

    def env_step(key, state, action):
        return (state + action)[None], state + action, action - 0.3 * state, jnp.array(False), jnp.array(False)

    env_reset = lambda key: (jnp.zeros(1), jnp.zeros(()))

    def objective(p, key):
        steps = pg.rollout(policy, env_step, env_reset, p, key, 3)
        return jnp.sum(steps.r_t - 0.5 * log_probs(p, steps))

    policy = lambda p, o: sf.Bernoulli(logits=p[0] * o[0] + p[1])
    log_probs = lambda p, s: jax.vmap(lambda o, a: policy(p, o).log_prob(a))(s.observations, s.actions)

    def exact(p):
        total = 0.0
        for actions in np.ndindex(2, 2, 2):
            s, l, cost = 0.0, 0.0, 0.0
            for a in actions:
                one = policy(p, jnp.array([s])).log_prob(jnp.float32(a))
                cost, l, s = cost + a - 0.3 * s - 0.5 * one, l + one, s + a
            total = total + jnp.exp(l) * cost
        return total

    runs = sf.testing.replicate(
        lambda k: jax.grad(sf.expectation(objective))(PARAMS, k), jax.random.key(5), 20_000, batch=20_000
    )
    sf.testing.assert_unbiased(runs, jax.jit(jax.grad(exact))(PARAMS), precision=0.05)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda out: out[:4], "4 things"),
        (lambda out: (out[0][:1], *out[1:]), "observation is"),
        (lambda out: (*out[:2], out[2][None], *out[3:]), "reward is"),
        (lambda out: (*out[:3], out[3].astype(float), out[4]), "terminated is"),
    ],
)
def test_an_environment_that_does_not_fit_is_told_so(change, words):
    with pytest.raises(TypeError, match=words):
        pg.rollout(policy, lambda *args: change(step(*args)), reset, PARAMS, jax.random.key(0), 3)


def test_illegal_actions_have_probability_zero_and_finite_gradients():
    legal = jnp.array([True, False, True, False])
    dist = lambda t: sf.Categorical(logits=pg.legal_logits(t, legal))
    theta = jnp.array([0.1, 5.0, -0.3, 2.0])
    draws = jax.jit(jax.vmap(lambda k: dist(theta).sample(k)))(jax.random.split(jax.random.key(0), 1000))
    assert set(np.unique(draws)) == {0, 2}
    grad = jax.jit(jax.grad(lambda t: dist(t).log_prob(jnp.int32(2))))(theta)
    assert np.all(np.isfinite(grad)) and grad[1] == grad[3] == 0.0


# A policy that remembers, and where a rollout begins


def counting(params, observation, memory):
    """It counts its steps in the episode."""
    return sf.Bernoulli(logits=params[0] * observation[0] + params[1] * memory["count"]), {"count": memory["count"] + 1}


def test_a_memory_is_carried_on_and_forgotten_at_ends():
    memory = {"count": jnp.zeros(())}
    run = jax.jit(lambda key: pg.rollout(counting, step, reset, jnp.array([0.1, 0.2]), key, 40, memory=memory))
    steps = run(jax.random.key(0))
    ended = np.asarray(steps.terminated | steps.truncated)
    assert ended.any()
    count, wanted = 0, []
    for end in ended:
        wanted.append(count)
        count = 0 if end else count + 1
    np.testing.assert_array_equal(steps.memories["count"], wanted)
    assert steps.last.memory["count"] == count
    # two halves are the whole: the memory goes on with the place
    first = jax.jit(lambda k: pg.rollout(counting, step, reset, jnp.array([0.1, 0.2]), k, 7, memory=memory))(
        jax.random.key(1)
    )
    second = jax.jit(
        lambda k, start: pg.rollout(counting, step, reset, jnp.array([0.1, 0.2]), k, 3, start=start, memory=memory)
    )(jax.random.key(2), first.last)
    assert second.memories["count"][0] == first.last.memory["count"]
    with pytest.raises(TypeError, match="start has a memory"):
        pg.rollout(counting, step, reset, jnp.array([0.1, 0.2]), jax.random.key(1), 3, start=first.last)


def test_a_policy_that_remembers_has_its_gradient():
    """The choices of two steps by enumeration: the second sees what the memory holds."""

    def two(key, state, action):
        return jnp.zeros(1), state + 1, (state + 1.0) * action, jnp.array(False), jnp.array(False)

    begin = lambda key: (jnp.zeros(1), jnp.float32(0))

    def recurrent(p, observation, memory):
        return sf.Bernoulli(logits=p + memory), memory + 0.5

    total = lambda p, key: pg.rollout(recurrent, two, begin, p, key, 2, memory=jnp.zeros(())).r_t.sum()
    with jax.debug_key_reuse(False):
        g = sf.testing.replicate(
            lambda k: jax.grad(sf.expectation(total, num_samples=8))(0.3, k), jax.random.key(0), 4000
        )
    exact = jax.grad(lambda p: jax.nn.sigmoid(p) + 2 * jax.nn.sigmoid(p + 0.5))(0.3)
    sf.testing.assert_unbiased(g, exact, precision=0.05)


def test_a_start_is_an_observation_and_a_state():
    begin = reset(jax.random.key(3))
    run = jax.jit(lambda key: pg.rollout(policy, step, reset, PARAMS, key, 3, start=begin))
    np.testing.assert_array_equal(run(jax.random.key(0)).observations[0], begin[0])
    with pytest.raises(TypeError, match="start is the last of a rollout"):
        pg.rollout(policy, step, reset, PARAMS, jax.random.key(0), 3, start=begin[0])
    with pytest.raises(TypeError, match="returns .distribution, memory."):
        pg.rollout(lambda p, o, m: policy(p, o), step, reset, PARAMS, jax.random.key(0), 3, memory=jnp.zeros(()))
    with pytest.raises(TypeError, match="began with"):
        forgetful = lambda p, o, m: (policy(p, o), jnp.zeros(2))
        pg.rollout(forgetful, step, reset, PARAMS, jax.random.key(0), 3, memory=jnp.zeros(()))


@pytest.mark.usefixtures("unchecked_keys")
def test_a_rollout_from_a_beginning_is_the_one_that_begins_by_itself():
    memory, key = {"count": 0.0}, jax.random.key(0)
    run = lambda key, **start: pg.rollout(counting, step, reset, jnp.array([0.1, 0.2]), key, 12, **start)
    alone = run(key, memory=memory)
    place = pg.begin(reset, jax.random.split(key)[0], memory=memory)
    placed = run(key, start=place, memory=memory)
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), alone, placed))
    assert jax.tree.map(jnp.shape, place) == jax.tree.map(jnp.shape, placed.last)
