"""Environments of other libraries as ``env_step`` and ``env_reset``: gymnax and pgx (the optional extra ``rl``).

Nothing is imported here: an adapter asks an environment for what it does, not for what it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn.policy_gradient._rollout import Reset, Step
from jax_scorefn.typing import Array, Key, PyTree


class Environment(NamedTuple):
    """The two functions of :func:`rollout`: ``rollout(policy, *environment, params, key, num_steps)``."""

    step: Step
    reset: Reset


class Board(NamedTuple):
    """What the player to move sees: the observation, and which actions are legal."""

    observation: Array
    legal: Array


def from_gymnax(env: Any, env_params: Any = None) -> Environment:
    """An environment of gymnax 1.0, with termination and truncation apart.

    Args:
      env: as ``gymnax.make(name)`` returns it, first of its pair. For derivatives through its dynamics pass
        ``env.with_transition_gradients()``.
      env_params: the second of that pair; None is ``env.default_params``.

    Returns:
      :class:`Environment`.
    """
    env_params = env.default_params if env_params is None else env_params

    def step(key: Key, state: PyTree, action: PyTree) -> Any:
        observation, state, reward, terminated, _ = env.step_env(key, state, action, env_params)
        return observation, state, reward, terminated, env.is_truncated(state, env_params)

    return Environment(step, lambda key: env.reset_env(key, env_params))


def from_pgx(env: Any, opponent: Any = None) -> Environment:
    """A game of pgx, seen by one player; in a game of two the opponent's moves are part of the environment.

    The player is drawn anew for each episode, and so is who begins. Rewards are the player's own.

    Args:
      env: as ``pgx.make(name)`` returns it: a game of one or of two players who take turns.
      opponent: ``opponent(key, board)`` returns a move, given a :class:`Board`; None moves at random among what is legal.

    Returns:
      :class:`Environment` whose observations are :class:`Board`.

    Raises:
      ValueError: for games of more than two players.
    """
    if env.num_players > 2:
        raise ValueError(f"from_pgx is for games of one or two players; {env.id} has {env.num_players}.")
    opponent = opponent or (lambda key, board: jax.random.categorical(key, jnp.where(board.legal, 0.0, -jnp.inf)))
    two = env.num_players == 2

    def look(state: Any) -> Board:
        return Board(state.observation, state.legal_action_mask)

    def answer(key: Key, state: Any, me: Array) -> Any:
        """The opponent's move, where it is the opponent's turn."""
        key_choice, key_move = jax.random.split(key)
        moved = env.step(state, opponent(key_choice, look(state)), key_move)
        theirs = (state.current_player != me) & ~state.terminated & ~state.truncated
        return jax.tree.map(lambda a, b: jnp.where(theirs, a, b), moved, state), theirs

    def reset(key: Key) -> Any:
        key_init, key_me, key_answer = jax.random.split(key, 3)
        state, me = env.init(key_init), jax.random.bernoulli(key_me).astype(jnp.int32) if two else jnp.int32(0)
        if two:
            state, _ = answer(key_answer, state, me)
        return look(state), (state, me)

    def step(key: Key, place: Any, action: Array) -> Any:
        key_move, key_answer = jax.random.split(key)
        state, me = place
        state = env.step(state, action, key_move)
        reward = state.rewards[me]
        if two:
            state, theirs = answer(key_answer, state, me)
            reward = reward + jnp.where(theirs, state.rewards[me], 0.0)
        return look(state), (state, me), reward, state.terminated, state.truncated

    return Environment(step, reset)
