"""Losses: their expected gradients against the exact ones of small decision processes, and what must not change them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from jax_scorefn.testing import PrisonersDilemma, TabularMDP, assert_unbiased, replicate

pytestmark = pytest.mark.usefixtures("unchecked_keys")
RNG = np.random.default_rng(3)
HORIZON = 5


def process(discount, *, states=3, noise=1.0):
    transition = RNG2(states).dirichlet(np.full(states, noise), size=(states, 2))
    reward = RNG2(states + 1).normal(size=(states, 2))
    return TabularMDP(transition, reward, np.full(states, 1 / states), discount)


def RNG2(seed):
    return np.random.default_rng(seed)


LOGITS = jnp.asarray(RNG.normal(size=(3, 2)), jnp.float32)
CRITIC = jnp.asarray(RNG.normal(size=3), jnp.float32)


def trajectory(mdp, horizon=HORIZON):
    """(log-probabilities of theta, the trajectory, values before and after) on one sampled trajectory."""

    def sample(key, theta, behaviour=None):
        steps = jax.tree.map(jax.lax.stop_gradient, mdp.sample(theta if behaviour is None else behaviour, key, horizon))
        log_probs = jax.nn.log_softmax(theta)[steps.states, steps.actions]
        return log_probs, steps

    return sample


@functools.cache
def exact_gradient(gamma):
    return np.asarray(jax.jit(jax.grad(lambda t: process(gamma).expected_return(t, horizon=HORIZON)))(LOGITS))


def reinforce(l, steps, gamma, v):
    return pg.reinforce(l, steps.r_t, discount_t=gamma, baseline=0.5)


def to_go(l, steps, gamma, v):
    return pg.reward_to_go(l, steps.r_t, discount_t=gamma)


def to_go_with_a_critic(l, steps, gamma, v):
    return pg.reward_to_go(l, steps.r_t, discount_t=gamma, baseline_t=v[steps.states])


def discounts(gamma):
    return jnp.asarray(gamma ** np.arange(HORIZON), jnp.float32)


def advantages(l, steps, gamma, v):
    a = pg.discounted_returns(steps.r_t, discount_t=gamma) - v[steps.states]
    return pg.actor_critic(l, a * discounts(gamma))


def clipped(l, steps, gamma, v):
    a = pg.discounted_returns(steps.r_t, discount_t=gamma) - v[steps.states]
    return pg.ppo_clip(l, l, a * discounts(gamma))


def grouped(l, steps, gamma, v):
    return pg.grpo(l, l, pg.discounted_returns(steps.r_t, discount_t=gamma)[0])


ESTIMATORS = [reinforce, to_go, to_go_with_a_critic, advantages, clipped, grouped]


@pytest.mark.statistical
@pytest.mark.parametrize("gamma", covering([0.9, 1.0]))
@pytest.mark.parametrize("loss", ESTIMATORS, ids=lambda f: f.__name__)
def test_the_expected_gradient_is_that_of_the_process(loss, gamma):
    sample = trajectory(process(gamma))

    def gradient(key):
        def total(theta):
            l, steps = sample(key, theta)
            return -loss(l, steps, gamma, CRITIC).sum

        return jax.grad(total)(LOGITS)

    runs = replicate(gradient, jax.random.key(1), 20_000, batch=20_000)
    assert_unbiased(runs, exact_gradient(gamma), precision=0.06)


@pytest.mark.statistical
def test_without_the_discount_of_the_state_it_is_another_gradient():
    """The broken twin: advantages without D_t, discount 0.5."""
    mdp = process(0.5)
    exact = jax.jit(jax.grad(lambda t: mdp.expected_return(t, horizon=HORIZON)))(LOGITS)
    sample = trajectory(mdp)

    def gradient(key, right):
        def total(theta):
            l, steps = sample(key, theta)
            a = pg.discounted_returns(steps.r_t, discount_t=0.5)
            return -pg.actor_critic(l, a * (discounts(0.5) if right else 1.0)).sum

        return jax.grad(total)(LOGITS)

    run = lambda right: replicate(lambda k: gradient(k, right), jax.random.key(2), 20_000, batch=20_000)
    assert_unbiased(run(True), exact, precision=0.06)
    with pytest.raises(AssertionError):
        assert_unbiased(run(False), exact, precision=0.2)


@pytest.mark.statistical
@pytest.mark.parametrize("lambda_", covering([0.6, 0.0]))  # 0 is the same code
def test_with_an_exact_critic_every_lambda_is_right(lambda_):
    mdp = TabularMDP(process(0.9).transition, process(0.9).reward, process(0.9).start, 0.9)
    horizon = 40  # of an infinite horizon: what is left after it is worth the critic's value
    theta = LOGITS
    v = jax.jit(mdp.values)(theta)
    sample = trajectory(mdp, horizon)

    def gradient(key):
        def total(t):
            l, steps = sample(key, t)
            before = v[steps.states]
            # the value of the state that a step led to: that of the next one, and after the last of its expectation
            after = jnp.concatenate(
                [before[1:], (jnp.asarray(mdp.transition, v.dtype)[steps.states[-1], steps.actions[-1]] @ v)[None]]
            )
            a = pg.gae(steps.r_t, before, after, discount_t=0.9, lambda_=lambda_)
            return -pg.actor_critic(l, a * jnp.asarray(0.9 ** np.arange(horizon), v.dtype)).sum

        return jax.grad(total)(theta)

    runs = replicate(gradient, jax.random.key(4), 10_000, batch=10_000)
    # beyond the horizon the score goes on: 0.9^40 = 1.5 % of a gradient that is bounded by the largest one
    of_both = jax.jit(lambda t: (jax.grad(lambda t: _window(mdp, t, v, horizon))(t), jax.grad(mdp.expected_return)(t)))
    exact_window, exact = of_both(theta)
    assert_unbiased(runs, exact_window, precision=0.05)
    assert np.max(np.abs(exact_window - exact)) < 0.02 * np.max(np.abs(exact))


def _window(mdp, theta, v, horizon):
    moves, rewards = mdp.of_policy(theta)
    now, total = jnp.asarray(mdp.start, rewards.dtype), 0.0
    for t in range(horizon):
        total, now = total + mdp.discount**t * now @ rewards, now @ moves
    return total + mdp.discount**horizon * now @ v


@pytest.mark.statistical
def test_off_policy_v_trace_without_bounds_is_unbiased():
    gamma = 0.9
    behaviour = 0.5 * LOGITS
    sample = trajectory(process(gamma))
    v = jnp.zeros(3)

    def gradient(key):
        def total(theta):
            l, steps = sample(key, theta, behaviour)
            rho = l - jax.nn.log_softmax(behaviour)[steps.states, steps.actions]
            got = pg.vtrace(
                steps.r_t,
                v[steps.states],
                jnp.zeros(HORIZON),
                rho,
                discount_t=gamma,
                clip_rho=None,
                clip_c=None,
                clip_pg_rho=None,
            )
            # a step is reached with the ratio of all that came before it
            reached = jnp.exp(jax.lax.stop_gradient(jnp.cumsum(rho) - rho))
            return -pg.actor_critic(l, got.advantages * discounts(gamma) * reached).sum

        return jax.grad(total)(LOGITS)

    runs = replicate(gradient, jax.random.key(5), 20_000, batch=20_000)
    assert_unbiased(runs, exact_gradient(gamma), precision=0.06)


@pytest.mark.statistical
# Both losses meet a shorter process by default.
@pytest.mark.parametrize("loss", covering([to_go, reinforce]), ids=lambda f: f.__name__)
def test_a_long_nearly_deterministic_process(loss):
    """20 steps, and a policy that takes one of its actions with probability 0.98."""
    mdp = process(0.95, noise=0.05)
    theta = jnp.asarray([[2.0, -2.0], [-2.0, 2.0], [2.0, -2.0]])
    exact = jax.jit(jax.grad(lambda t: mdp.expected_return(t, horizon=20)))(theta)
    sample = trajectory(mdp, 20)

    def gradient(key):
        def total(t):
            l, steps = sample(key, t)
            return -loss(l, steps, 0.95, CRITIC).sum

        return jax.grad(total)(theta)

    assert_unbiased(replicate(gradient, jax.random.key(6), 40_000, batch=20_000), exact, precision=0.1)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "loss",
    covering([reinforce, to_go, to_go_with_a_critic]),
    ids=lambda f: f.__name__,
)
def test_second_derivatives_are_unbiased(loss):
    mdp = process(0.9)
    exact = jax.jit(jax.hessian(lambda t: mdp.expected_return(t, horizon=HORIZON)))(LOGITS)
    sample = trajectory(mdp)

    def hessian(key):
        def total(theta):
            l, steps = sample(key, theta)
            return -loss(l, steps, 0.9, CRITIC).sum

        return jax.hessian(total)(LOGITS)

    assert_unbiased(replicate(hessian, jax.random.key(7), 20_000, batch=5000), exact, precision=0.15)


@pytest.mark.statistical
def test_the_prisoners_dilemma_differentiated_by_the_other_player():
    """d^2 V_1 / d first d second, the matrix that opponent shaping needs, by DiCE; 10 rounds."""
    game, rounds = PrisonersDilemma(), 10
    first, second = jnp.asarray([0.3, 0.5, -0.4, 0.2, -0.6]), jnp.asarray([-0.2, 0.4, 0.1, -0.5, 0.3])
    value_of_the_first = lambda a, b: game.values(a, b, horizon=rounds)[0]
    exact = jax.jit(jax.jacfwd(jax.grad(value_of_the_first, argnums=1), argnums=0))(first, second)
    payoffs = jnp.asarray(game.payoffs)

    def play(key):
        def step(places, k):
            one, two = (
                jax.random.bernoulli(key, jax.nn.sigmoid(t))
                for key, t in zip(jax.random.split(k), _at(places), strict=True)
            )
            mine = 2 * (~one).astype(int) + (~two).astype(int)
            theirs = 2 * (~two).astype(int) + (~one).astype(int)
            return (1 + mine, 1 + theirs), (places, one, two, payoffs[mine])

        def _at(places):
            return first[places[0]], second[places[1]]

        return jax.lax.scan(step, (jnp.zeros((), int), jnp.zeros((), int)), jax.random.split(key, rounds))[1]

    def mixed(key):
        (mine, theirs), one, two, r_t = play(key)

        def value(a, b):
            l = jax.nn.log_sigmoid(jnp.where(one, a[mine], -a[mine])) + jax.nn.log_sigmoid(
                jnp.where(two, b[theirs], -b[theirs])
            )
            return -pg.reward_to_go(
                l, r_t, discount_t=game.discount, baseline_t=np.float32(-1.5) * np.arange(rounds, 0, -1, np.float32)
            ).sum

        return jax.jacfwd(jax.grad(value, argnums=1), argnums=0)(first, second)

    runs = replicate(mixed, jax.random.key(8), 100_000, batch=50_000)
    assert_unbiased(runs, exact, precision=0.15)


@pytest.mark.default
def test_known_values_of_the_prisoners_dilemma(x64):
    game = PrisonersDilemma()
    theta = RNG2(0).normal(size=5)

    @jax.jit
    def run(zeros, theta):
        slopes = jax.grad(lambda a, b: game.values(a, b)[0], argnums=(0, 1))(zeros, zeros)
        return game.values(zeros, zeros), slopes, game.values(theta, theta)[0]

    (one, two), (own, other), endless = run(np.zeros(5), theta)
    long = game.values(jnp.asarray(theta), jnp.asarray(theta), horizon=900)[
        0
    ]  # a loop of Python: not compiled as a whole
    np.testing.assert_allclose([one, two], -37.5, rtol=1e-12)
    np.testing.assert_allclose(own, [-0.25, -1.5, -1.5, -1.5, -1.5], rtol=1e-10)
    np.testing.assert_allclose(other, [0.5, 3, 3, 3, 3], rtol=1e-10)
    np.testing.assert_allclose(long, endless, rtol=1e-12)


def test_the_short_corridor_and_horizons(x64):
    corridor = sf.testing.short_corridor()
    of_p = jax.jit(corridor.expected_return)
    for p in (0.3, 2 - 2**0.5, 0.8):
        logits = np.broadcast_to(np.log([1 - p, p]), (4, 2))
        endless = of_p(logits)
        np.testing.assert_allclose(endless, 2 * (p - 2) / (p * (1 - p)), rtol=1e-10)
        # a loop of Python in 3000 steps: not one to compile as a whole
        np.testing.assert_allclose(corridor.expected_return(jnp.asarray(logits), horizon=3000), endless, rtol=1e-9)
    steps = jax.device_get(jax.jit(lambda key: corridor.sample(jnp.zeros((4, 2)), key, 200))(jax.random.key(0)))
    assert bool(steps.mask[0]) and not bool(steps.mask[-1])
    assert int(steps.mask.sum()) == -int(steps.r_t.sum()) == int(np.argmax(steps.terminated)) + 1


@pytest.mark.parametrize(
    "change, words",
    [
        ({"transition": np.ones((3, 2, 3))}, "do not sum to 1"),
        ({"reward": np.ones((2, 3))}, "transition"),
        ({"start": np.ones(3)}, "start do not sum"),
        ({"discount": 1.2}, "between 0 and 1"),
    ],
)
def test_a_process_that_is_none_is_refused(change, words):
    mdp = process(0.9)
    fields = {name: getattr(mdp, name) for name in ("transition", "reward", "start", "discount")}
    with pytest.raises(ValueError, match=words):
        TabularMDP(**fields | change)


# What must not change a loss

L, OLD = (jnp.asarray(RNG2(i).normal(size=12) * 0.3 - 1.0, jnp.float32) for i in range(2))
R, ADV, V = (jnp.asarray(RNG2(10 + i).normal(size=12), jnp.float32) for i in range(3))
ENDS = {"terminated": jnp.arange(12) % 5 == 3, "truncated": jnp.arange(12) == 6}
LOSSES = {
    "reinforce": lambda l, r, a, old, v, mask, ends: pg.reinforce(
        l, r, baseline=0.3, discount_t=0.9, v_t=v, mask=mask, **ends
    ),
    "reward_to_go": lambda l, r, a, old, v, mask, ends: pg.reward_to_go(
        l, r, baseline_t=v, discount_t=0.9, v_t=v, mask=mask, **ends
    ),
    "actor_critic": lambda l, r, a, old, v, mask, ends: pg.actor_critic(l, a, mask=mask),
    "critic_loss": lambda l, r, a, old, v, mask, ends: pg.critic_loss(l, a, mask=mask),
    "ppo_clip": lambda l, r, a, old, v, mask, ends: pg.ppo_clip(l, old, a, mask=mask),
    "grpo": lambda l, r, a, old, v, mask, ends: pg.grpo(l, old, -0.7, mask=mask),
    "grpo_tokens": lambda l, r, a, old, v, mask, ends: pg.grpo(l, old, 0.7, mask=mask, reduction="token_mean"),
    "grpo_sequences": lambda l, r, a, old, v, mask, ends: pg.grpo(l, old, 0.7, mask=mask, reduction="sequence_mean"),
}


@pytest.mark.parametrize("name", covering(LOSSES, lambda name: name.split("_")[0]))
def test_padding_changes_neither_value_nor_gradient(name):
    """Behind a termination, whatever stands there. In a window that goes on rewards count, see ``test_masks``."""
    loss = LOSSES[name]
    pad = lambda x, fill: np.concatenate([x, np.full(3, fill, x.dtype)])

    @jax.jit
    def run(l, *rest):
        result = loss(l, *rest)
        return result.sum, jax.grad(lambda l: loss(l, *rest).sum)(l), result.weight

    ended = {**ENDS, "terminated": ENDS["terminated"] | (np.arange(12) == 11)}
    value, grad, weight = run(L, R, ADV, OLD, V, np.full(12, True), ended)
    mask = pad(np.full(12, True), False)
    ends = {key: pad(flag, True) for key, flag in ended.items()}
    padded, padded_grad, _ = run(
        pad(L, -np.inf), pad(R, np.nan), pad(ADV, np.nan), pad(OLD, 0.0), pad(V, np.inf), mask, ends
    )
    np.testing.assert_allclose(padded, value, rtol=1e-6)
    np.testing.assert_allclose(padded_grad[:12], grad, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(padded_grad[12:], 0.0)
    assert weight == run(pad(L, 0.0), pad(R, 0.0), pad(ADV, 0.0), pad(OLD, 0.0), pad(V, 0.0), mask, ends)[2]


@pytest.mark.parametrize("name", covering(LOSSES, lambda name: name.split("_")[0]))
def test_splitting_a_batch_changes_nothing(name):
    loss = LOSSES[name]
    batch = np.asarray(L) + 0.1 * np.arange(6, dtype=np.float32)[:, None]
    masks = jnp.asarray(np.arange(12) < np.array([12, 7, 9, 3, 12, 5])[:, None])
    run = jax.vmap(lambda l, m: loss(l, R, ADV, OLD, V, m, ENDS))

    def whole(x):
        return pg.mean_loss(run(x, masks))

    def split(x):
        return pg.mean_loss(*(run(x[part], masks[part]) for part in (slice(0, 1), slice(1, 4), slice(4, 6))))

    both = jax.jit(lambda x: (jax.value_and_grad(whole)(x), jax.value_and_grad(split)(x)))(batch)
    for a, b in zip(*both, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_value_is_minus_the_objective():
    mask = jnp.arange(12) < 9
    rewards = jnp.where(mask, R, 0.0)
    for loss in (pg.reinforce, pg.reward_to_go):
        run = jax.jit(
            lambda m, loss=loss: (
                loss(L, rewards, discount_t=0.9, mask=m),
                loss(L, rewards, discount_t=0.9, **ENDS, v_t=V, mask=m),
            )
        )
        got, several = run(mask)
        np.testing.assert_allclose(got.sum, -np.sum(np.asarray(R)[:9] * 0.9 ** np.arange(9)), rtol=1e-5)
        assert got.weight == 1.0
        assert several.weight == 3.0  # from 0, 4 and 7


def test_an_episode_is_not_charged_for_the_next_one():
    for loss in (pg.reinforce, pg.reward_to_go):
        run = jax.jit(jax.grad(lambda l, r, loss=loss: loss(l, r, discount_t=0.9, terminated=ENDS["terminated"]).sum))
        plain, raised = run(L, R), run(L, np.where(np.arange(12) < 4, R, R + np.float32(10)))
        np.testing.assert_allclose(plain[:4], raised[:4], rtol=1e-6)
        assert not np.allclose(plain[4:], raised[4:])


def test_a_reward_that_depends_on_the_parameters_keeps_its_derivative():
    loss = lambda p: pg.reward_to_go(jnp.zeros(3), p * jnp.array([1.0, 2.0, 3.0]), discount_t=0.5).sum
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(1.0), -(1 + 1 + 0.75))
    loss = lambda p: pg.reinforce(jnp.zeros(3), p * jnp.array([1.0, 2.0, 3.0]), discount_t=0.5, baseline=7.0).sum
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(1.0), -(1 + 1 + 0.75))


@jax.jit
def clipped_value_and_gradient(new, advantage):
    return jax.value_and_grad(lambda l: pg.ppo_clip(l, jnp.zeros(2), advantage).sum)(new)


@pytest.mark.parametrize("log_ratio", [1e3, -1e3, 0.0, np.log(1.2), np.log(0.8), 19.0])
@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
def test_ratios_of_any_size_have_finite_values_and_gradients(log_ratio, advantage):
    value, grad = clipped_value_and_gradient(np.full(2, log_ratio, np.float32), np.full(2, advantage, np.float32))
    assert np.isfinite(value) and np.all(np.isfinite(grad))
    ratio = np.exp(min(log_ratio, 20.0))
    wanted = -2 * min(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    if abs(log_ratio) == 1e3:
        np.testing.assert_array_equal(grad, 0.0)


def test_advantages_old_policies_and_targets_are_never_differentiated():
    by_policies = jax.grad(lambda old, a: pg.ppo_clip(L, old, a).sum + pg.actor_critic(L, a).sum, argnums=(0, 1))
    by_target = jax.grad(lambda t: pg.critic_loss(V, t).sum)
    by_baseline = jax.grad(lambda b: pg.reward_to_go(L, R, baseline_t=b).sum)
    grads = jax.jit(lambda old, a, b: (*by_policies(old, a), by_target(a), by_baseline(b)))(OLD, ADV, V)
    assert len(grads) == 4 and all(np.all(np.asarray(g) == 0) for g in grads)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: pg.grpo(L, OLD, ADV[:3]), TypeError, "an advantage for each answer"),
        (lambda: pg.grpo(L, OLD, 1.0, reduction="mean"), ValueError, "token_mean"),
        (lambda: pg.ppo_clip(L, OLD, ADV, clip=1.5), ValueError, "clip=1.5"),
        (lambda: pg.ppo_clip(L, OLD, ADV, clip_high=-0.1), ValueError, "clip_high"),
        (lambda: pg.ppo_clip(L, OLD[:3], ADV), TypeError, "old_log_prob_t has shape"),
        (lambda: pg.reward_to_go(L[:, None], R), TypeError, "log_prob_t has shape"),
        (lambda: pg.actor_critic(L, ADV, mask=jnp.ones(12)), TypeError, "mask is an array of booleans"),
    ],
)
def test_what_is_refused_and_how(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_expectation_gives_the_reward_to_go_by_itself():
    mdp = process(1.0)
    key = jax.random.key(0)
    transition, reward = jnp.log(jnp.asarray(mdp.transition, jnp.float32)), jnp.asarray(mdp.reward, jnp.float32)

    def program(theta, key):
        def step(state, k):
            ka, ks = jax.random.split(k)
            action = sf.sample(ka, sf.Categorical(logits=theta[state]))
            after = sf.sample(ks, sf.Categorical(logits=transition[state, action]))
            return after, (reward[state, action], state, action)

        return jax.lax.scan(step, jnp.zeros((), jnp.int32), jax.random.split(key, HORIZON))[1]

    auto = jax.jit(jax.grad(sf.expectation(lambda theta, key: jnp.sum(program(theta, key)[0]))))(LOGITS, key)

    @jax.jit
    def by_hand(theta, key):
        r_t, states, actions = program(jax.lax.stop_gradient(theta), jax.random.fold_in(key, 0))
        return jax.grad(lambda t: -pg.reward_to_go(jax.nn.log_softmax(t)[states, actions], r_t).sum)(theta)

    hand = by_hand(LOGITS, key)
    np.testing.assert_allclose(auto, hand, rtol=1e-4, atol=1e-5)
