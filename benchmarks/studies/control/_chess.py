"""Chess on 5 x 5 squares against an opponent that moves at random: the share of games won, before, while and after it learns."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg
from benchmarks.studies.control._learning import apply, network, places, window_loss
from benchmarks.study import Record

PLANES, UNITS, GAMES = 14, 128, 256  # the position of now without its history; hidden units; games of an evaluation
LONGEST = 128  # moves of one side: the rules end a game after 256


def chess_features(board: Any) -> Any:
    return board.observation[..., :PLANES].reshape(-1)


def chess_policy(params: Any, board: Any) -> Any:
    return sf.Categorical(logits=pg.legal_logits(apply(params["policy"], chess_features(board)), board.legal))


def chess_value(params: Any, board: Any) -> Any:
    return jnp.tanh(apply(params["critic"], chess_features(board))[0])


def chess_start(key: Any) -> Any:
    first, second = jax.random.split(key)
    inputs = 25 * PLANES
    return {"policy": network((inputs, UNITS, 1225), first, 0.01), "critic": network((inputs, UNITS, 1), second, 0.1)}


def share(count: int, total: int) -> tuple[float, float, float]:
    """A share with Wilson's interval of 95 %."""
    interval = stats.binomtest(count, total).proportion_ci(method="wilson")
    return count / total, float(interval.low), float(interval.high)


def chess(
    seconds: float = 240.0,
    num_envs: int = 64,
    num_steps: int = 32,
    every: int = 10,
    games: int = GAMES,
    rate: float = 1e-3,
) -> Record:
    """REINFORCE with a learned baseline against an opponent that moves at random: games won, before, while and after it learns."""
    import pgx

    environment = pg.from_pgx(pgx.make("gardner_chess"))
    loss = window_loss(chess_policy, chess_value, environment, num_envs, num_steps, 1.0)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    @jax.jit
    def evaluate(params: Any, key: Any) -> Any:
        def game(key: Any) -> Any:
            steps = pg.rollout(chess_policy, environment.step, environment.reset, params, key, LONGEST)
            return steps.episode_returns[jnp.argmax(steps.terminated | steps.truncated)]

        return jax.vmap(game)(jax.random.split(key, games))

    @jax.jit
    def stretch(state: Any, key: Any) -> Any:
        def update(state: Any, key: Any) -> Any:
            params, opt_state, now = state
            grads, steps = jax.grad(loss, has_aux=True)(params, key, now)
            step, opt_state = optimizer.update(grads, opt_state, params)
            ended = steps.terminated | steps.truncated
            counts = jnp.stack([jnp.sum(ended & (steps.r_t > 0)), jnp.sum(ended & (steps.r_t < 0)), jnp.sum(ended)])
            return (optax.apply_updates(params, step), opt_state, steps.last), counts

        state, counts = jax.lax.scan(update, state, jax.random.split(key, every))
        return state, jnp.sum(counts, axis=0)

    key_params, key_places, key_train, key_test = jax.random.split(jax.random.key(0), 4)
    params = chess_start(key_params)
    state = (params, optimizer.init(params), jax.jit(lambda k: places(environment, k, num_envs))(key_places))
    before = np.asarray(evaluate(params, key_test))
    begin, counts = time.perf_counter(), []
    while time.perf_counter() - begin < seconds:
        state, row = stretch(state, jax.random.fold_in(key_train, len(counts)))
        counts.append(np.asarray(row).tolist())
    spent = time.perf_counter() - begin
    after = np.asarray(evaluate(state[0], jax.random.fold_in(key_test, 1)))
    found = {name: [share(int(np.sum(won(x))), games) for x in (before, after)] for name, won in
             (("won", lambda x: x > 0), ("lost", lambda x: x < 0))}  # fmt: skip
    learned = {  # in so many seconds, so none of it is what the seed decides
        **found, "counts": counts, "moves": [(i + 1) * every * num_envs * num_steps for i in range(len(counts))],
        "seconds": spent, "passed": found["won"][1][1] > found["won"][0][2],
    }  # fmt: skip
    return {"found": {"games": games}, "times": learned}
