"""Environments of other libraries as ``env_step`` and ``env_reset``: gymnax, pgx (the optional extra ``rl``), jumanji and brax.

Nothing is imported here: an adapter asks an environment for what it does, not for what it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.policy_gradient._rollout import Reset, Step
from jax_scorefn.typing import Array, Key, PyTree

TOO_MANY_PLAYERS = "from_pgx is for games of one or two players; {game} has {given}."

RESETS = (
    "{name}: {wrapper} begins a new episode by itself, so the observation that an episode ended with is lost, which v_t is asked of. "
    "Pass the environment inside of it (env.unwrapped, or env.env); rollout begins episodes anew."
)
AUTO = ("AutoResetWrapper", "VmapAutoResetWrapper")


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


def from_jumanji(env: Any) -> Environment:
    """An environment of jumanji, with termination (a discount of 0) and truncation apart.

    Args:
      env: as ``jumanji.make(name)`` returns it, for one agent.

    Returns:
      :class:`Environment`. Its observations are jumanji's own, with an ``action_mask`` where some moves are illegal
      (:func:`legal_logits`).

    Raises:
      ValueError: for a wrapper that begins new episodes by itself.
    """
    _refuse_resets("from_jumanji", env)

    def step(key: Key, state: PyTree, action: PyTree) -> Any:
        state, told = env.step(state, action)  # its state has a key of its own
        last, over = told.last(), told.discount == 0
        return told.observation, state, told.reward, last & over, last & ~over

    def reset(key: Key) -> Any:
        state, told = env.reset(key)
        return told.observation, state

    return Environment(step, reset)


def from_brax(env: Any, *, episode_length: int | None = None) -> Environment:
    """An environment of brax, with termination and truncation apart.

    Args:
      env: as ``brax.envs.get_environment(name)`` returns it, or within a wrapper that does not begin new episodes.
      episode_length: after so many steps an episode is cut off; None is never, or as the wrapper has it.

    Returns:
      :class:`Environment`.

    Raises:
      ValueError: for a wrapper that begins new episodes by itself, and a length below 1.
    """
    _refuse_resets("from_brax", env)
    most = None if episode_length is None else _checks.positive_int("episode_length", episode_length)

    def step(key: Key, place: Any, action: PyTree) -> Any:
        state, t = place
        state, t = env.step(state, action), t + 1
        cut = state.info.get("truncation", jnp.zeros(())) > 0
        over = (state.done > 0) & ~cut
        if most is not None:
            cut = cut | (t >= most)
        return state.obs, (state, t), state.reward, over, cut & ~over

    def reset(key: Key) -> Any:
        state = env.reset(key)
        return state.obs, (state, jnp.zeros((), jnp.int32))

    return Environment(step, reset)


def _refuse_resets(name: str, env: Any) -> None:
    """Wrappers are looked through by the names that both libraries have for what is inside."""
    inside: Any = env
    for _ in range(20):
        if type(inside).__name__ in AUTO:
            raise ValueError(RESETS.format(name=name, wrapper=type(inside).__name__))
        inside = vars(inside).get("_env", vars(inside).get("env")) if hasattr(inside, "__dict__") else None
        if inside is None:
            return


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
        raise ValueError(TOO_MANY_PLAYERS.format(game=env.id, given=env.num_players))
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
