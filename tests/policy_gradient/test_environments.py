"""gymnax and pgx behind the two functions of a rollout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

gymnax = pytest.importorskip("gymnax")
pgx = pytest.importorskip("pgx")
pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]


def test_cart_pole_ends_where_it_falls_and_is_cut_off_at_five_hundred():
    env, env_params = gymnax.make("CartPole-v1")
    step, reset = pg.from_gymnax(env, env_params)
    policy = lambda p, o: sf.Bernoulli(logits=p * (o[2] + 0.5 * o[3] + 0.05 * o[0] + 0.1 * o[1]))

    def run(p, key):
        steps = pg.rollout(lambda q, o: _as_int(policy(q, o)), step, reset, p, key, 600)
        return steps.terminated, steps.truncated, steps.episode_lengths, steps.episode_returns, steps.r_t

    for p, kind in ((0.0, 0), (50.0, 1)):  # a coin, and a policy that balances
        ends = jax.jit(jax.vmap(lambda k, p=p: run(p, k)))(jax.random.split(jax.random.key(0), 8))
        assert np.any(ends[kind]) and (kind == 0) == (not np.any(ends[1]))
        lengths = np.asarray(ends[2])
        np.testing.assert_array_equal(lengths, ends[3])
        assert np.all(np.asarray(ends[4]) == 1.0)
        assert lengths.max() < 200 if kind == 0 else lengths.max() == 500


def _as_int(dist):
    return sf.Categorical(logits=jnp.stack([jnp.zeros(()), dist.logits]))


def test_the_pendulum_can_be_differentiated_through():
    env, env_params = gymnax.make("Pendulum-v1")
    step, reset = pg.from_gymnax(env.with_transition_gradients(), env_params)
    policy = lambda p, o: sf.Normal(loc=p @ o, scale=0.3)

    def objective(p, key):
        key_reset, key = jax.random.split(key)
        observation, state = reset(key_reset)

        def one(carry, k):
            observation, state = carry
            action = sf.sample(k, policy(p, observation), estimator="pathwise")
            observation, state, reward, _, _ = step(k, state, action[None])
            return (observation, state), reward

        return jnp.sum(jax.lax.scan(one, (observation, state), jax.random.split(key, 10))[1])

    grad = jax.jit(jax.grad(sf.expectation(objective, num_samples=4)))(jnp.array([0.1, -0.2, 0.3]), jax.random.key(0))
    assert np.all(np.isfinite(grad)) and np.all(grad != 0)


@pytest.mark.parametrize("name", covering(["kuhn_poker", "tic_tac_toe"]))
def test_a_game_of_two_is_played_to_its_end_by_legal_moves(name):
    environment = pg.from_pgx(pgx.make(name))
    policy = lambda p, board: sf.Categorical(logits=pg.legal_logits(jnp.full(board.legal.shape, p), board.legal))
    run = jax.jit(jax.vmap(lambda k: pg.rollout(policy, *environment, 0.0, k, 20)))
    steps = run(jax.random.split(jax.random.key(0), 256))
    ended = np.asarray(steps.terminated)
    returns = np.asarray(steps.episode_returns)[ended]
    legal = np.take_along_axis(np.asarray(steps.observations.legal), np.asarray(steps.actions)[..., None], axis=-1)
    assert np.all(legal)
    if name == "tic_tac_toe":  # first or second at random, both moving at random: as many won as lost
        assert set(np.unique(returns)) == {-1.0, 0.0, 1.0}
        assert np.asarray(steps.episode_lengths)[ended].max() <= 5
        won, lost = np.mean(returns == 1), np.mean(returns == -1)
        assert abs(won - lost) < 5 * np.sqrt((won + lost) / len(returns))
    assert abs(returns.mean()) < 5 * returns.std() / len(returns) ** 0.5


def test_an_opponent_may_be_given_and_games_of_four_are_refused():
    def first_legal(key, board):
        return jnp.argmax(board.legal)

    environment = pg.from_pgx(pgx.make("tic_tac_toe"), opponent=first_legal)
    policy = lambda p, board: sf.Categorical(logits=pg.legal_logits(p, board.legal))
    steps = jax.jit(jax.vmap(lambda k: pg.rollout(policy, *environment, jnp.zeros(9), k, 20)))(
        jax.random.split(jax.random.key(0), 512)
    )
    returns = np.asarray(steps.episode_returns)[np.asarray(steps.terminated)]
    assert returns.mean() < -0.1  # filling the board row by row beats a player who moves at random
    with pytest.raises(ValueError, match="one or two players"):
        pg.from_pgx(_Four())


class _Four:
    num_players, id = 4, "whist"


@pytest.mark.default
@pytest.mark.float32  # theirs mixes int32 and int64
def test_credit_is_found_in_a_game():
    environment = pg.from_pgx(pgx.make("tic_tac_toe"))
    policy = lambda p, board: sf.Categorical(logits=pg.legal_logits(p, board.legal))
    loss = sf.expectation(lambda p, key: pg.rollout(policy, *environment, p, key, 6).r_t.sum(), num_samples=16)
    grad = jax.jit(jax.grad(loss))(jnp.zeros(9), jax.random.key(0))
    assert np.all(np.isfinite(grad)) and np.any(grad != 0)
