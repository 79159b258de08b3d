"""Rollouts: a policy and an environment, one ``lax.scan`` over time, with a fresh episode wherever one ends.

    a_t ~ policy(params, o_t),    o'_{t+1}, s', r_t, ends = env_step(key, s_t, a_t),    reset where it ended

The actions are choices of ``sf.sample``. So ``sf.expectation`` of anything made out of a rollout has the gradient in which each action
is charged with what comes after it, and a rollout by itself is just a simulation: it refuses to be differentiated in the policy's
parameters. For the losses of this package, stop the parameters that go into the rollout and compute the log-probabilities again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn.programs import forget as forget_, sample
from jax_scorefn.typing import Array, Key, Params, PyTree

BAD_STEP = (
    "env_step must return (observation, state, reward, terminated, truncated): the first two of the shapes and dtypes that env_reset "
    "begins with, a scalar reward and two boolean scalars; {what}."
)

BAD_MEMORY = (
    "With memory= a policy is policy(params, observation, memory) and returns (distribution, memory), the memory of the shapes and "
    "dtypes that it begins with; {what}."
)
BAD_START = "start is the last of a rollout, or (observation, state) as env_reset returns them; not {given}."
OTHER_START = "start has the {name} {found}, where an episode begins with {begun}."

Reset = Callable[[Key], tuple[PyTree, PyTree]]
"""``env_reset(key) -> (observation, state)``."""
Step = Callable[[Key, PyTree, PyTree], tuple[PyTree, PyTree, Array, Array, Array]]
"""``env_step(key, state, action) -> (observation, state, reward, terminated, truncated)``, without a reset."""


class Place(NamedTuple):
    """Where a rollout stands, to go on from: the observation and state of now, return and length of the episode so far, memory."""

    observation: PyTree
    state: PyTree
    episode_return: Array
    episode_length: Array
    memory: PyTree = None


class Rollout(NamedTuple):
    """What happened in T steps. Each field has time as its first axis, but for ``last``.

    Attributes:
      observations: in which each action was taken.
      actions: the actions.
      r_t: rewards.
      terminated: whether the episode ended with this step.
      truncated: whether it was cut off after this step (False where it was terminated).
      next_observations: what each step led to, before a reset: what a critic is asked about for ``v_t``.
      episode_returns: sum of rewards of the episode that ended with this step; 0 where none did.
      episode_lengths: number of its steps; 0 where none did.
      last: where it stands now; pass it as ``start`` of the next.
      memories: of a policy with a memory, what it remembered when each action was taken; None without.
    """

    observations: PyTree
    actions: PyTree
    r_t: Array
    terminated: Array
    truncated: Array
    next_observations: PyTree
    episode_returns: Array
    episode_lengths: Array
    last: Place
    memories: PyTree = None


def rollout(
    policy: Callable[..., Any],
    env_step: Step,
    env_reset: Reset,
    params: Params,
    key: Key,
    num_steps: int,
    *,
    start: Place | tuple[PyTree, PyTree] | None = None,
    memory: PyTree = None,
    forget: bool = False,
    estimator: str = "score_function",
) -> Rollout:
    """``num_steps`` steps of a policy in an environment that starts again wherever an episode ends.

    Args:
      policy: ``policy(params, observation)`` returns the distribution of the action: ``sf.Categorical``, ``sf.Normal``, ...
      env_step: one step, without a reset; see :data:`Step`.
      env_reset: the beginning of an episode; see :data:`Reset`.
      params: of the policy.
      key: one key.
      num_steps: a Python int.
      start: where to go on from: ``last`` of the rollout before, or ``(observation, state)``, the beginning of an episode; None is
        what ``env_reset`` begins with.
      memory: what a recurrent policy remembers at the beginning of an episode, a pytree. The policy is then
        ``policy(params, observation, memory)`` and returns ``(distribution, memory)``; wherever an episode ends it forgets.
      forget: mark the ends of episodes with :func:`jax_scorefn.programs.forget`. Under ``expectation`` actions are then charged up to
        the end of their own episode only: another objective than the sum of the rewards of the window.
      estimator: of the actions, as in :func:`jax_scorefn.sample`. ``"pathwise"`` differentiates through policy, dynamics and rewards,
        for environments whose step is differentiable in state and action.

    Returns:
      :class:`Rollout`. For many environments: ``jax.vmap(lambda key: rollout(...))(keys)``.

    Raises:
      TypeError: where ``env_step``, or a policy with a memory, does not return what it should; and when it is differentiated in the
        policy's parameters outside of ``expectation``.
      ValueError: for ``num_steps`` that is not a positive int.

    Bias: under ``expectation``, none, for the sum of the rewards of the window, resets and all. Cost: a step of the policy, of the
    environment, and a reset, for each step.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> env_reset = lambda key: (jnp.zeros(1), jnp.zeros(()))
      >>> def env_step(key, position, action):
      ...     position = position + 2.0 * action - 1.0
      ...     return position[None], position, -position**2, jnp.abs(position) > 3, jnp.array(False)
      >>> policy = lambda params, o: sf.Bernoulli(logits=params[0] * o[0] + params[1])
      >>> run = lambda params, key: sf.policy_gradient.rollout(policy, env_step, env_reset, params, key, 20)
      >>> grad = jax.jit(jax.grad(sf.expectation(lambda params, key: run(params, key).r_t.sum(), num_samples=64)))
      >>> print(grad(jnp.array([-1.0, 0.0]), jax.random.key(0)).shape)
      (2,)

    References: schulman2015.
    """
    num_steps = _checks.positive_int("num_steps", num_steps)
    _checks.flags(forget=forget)
    key_start, key = jax.random.split(key)
    memory = jax.tree.map(jnp.asarray, memory)
    place = begin(env_reset, key_start, memory=memory) if start is None else _placed(start, memory)
    if start is not None:
        _same_kind(place, jax.eval_shape(env_reset, key_start), memory)

    def step(place: Place, key: Key) -> tuple[Place, Rollout]:
        key_action, key_step, key_reset = jax.random.split(key, 3)
        if memory is None:
            dist, remembered = policy(params, place.observation), None
        else:
            dist, remembered = _remembered(policy(params, place.observation, place.memory), memory)
        action = sample(key_action, dist, estimator=estimator, name="action")
        observation, state, reward, terminated, truncated = _checked(env_step(key_step, place.state, action), place)
        total = place.episode_return + reward.astype(place.episode_return.dtype)
        length = place.episode_length + 1
        ended = terminated | truncated
        after = _where(ended, (*env_reset(key_reset), memory), (observation, state, remembered))
        if forget:
            after = forget_(after, when=ended)
        row = Rollout(
            place.observation, action, reward, terminated, truncated & ~terminated, observation,
            jnp.where(ended, total, 0.0), jnp.where(ended, length, 0), place, place.memory,
        )  # fmt: skip
        place = Place(after[0], after[1], jnp.where(ended, 0.0, total), jnp.where(ended, 0, length), after[2])
        return place, row._replace(last=None)  # pyright: ignore[reportArgumentType]

    last, rows = jax.lax.scan(step, place, jax.random.split(key, num_steps))
    return rows._replace(last=last)


def begin(env_reset: Reset, key: Key, *, memory: PyTree = None) -> Place:
    """Where an episode begins, for ``start=`` of :func:`rollout`, which ends with such a place too: the carry of a training loop.

    Args:
      env_reset: as in :func:`rollout`.
      key: one key. For many environments: ``jax.vmap(lambda key: begin(env_reset, key))(keys)``.
      memory: as in :func:`rollout`.

    Returns:
      :class:`Place`.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> place = sf.policy_gradient.begin(lambda key: (jnp.ones(2), jnp.zeros(())), jax.random.key(0))
      >>> print(place.observation, place.episode_return)
      [1. 1.] 0.0
    """
    return _placed(env_reset(key), jax.tree.map(jnp.asarray, memory))


def legal_logits(logits: Array, legal: Array) -> Array:
    """Logits with probability 0 for what is not legal: minus infinity there, and no gradient.

    Args:
      logits: real numbers (..., K).
      legal: booleans of that shape, or one that broadcasts to it.

    Returns:
      Logits of the same dtype. Where nothing is legal all are minus infinity, which is no distribution: log-probabilities are NaN.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> dist = sf.Categorical(logits=sf.policy_gradient.legal_logits(jnp.zeros(3), jnp.array([True, False, True])))
      >>> print(jax.nn.softmax(dist.logits))
      [0.5 0.  0.5]
    """
    return jnp.where(legal, logits, -jnp.inf)


def _placed(start: Any, memory: PyTree) -> Place:
    """Where a rollout begins."""
    if isinstance(start, Place):
        if start.memory is not None and memory is None:
            raise TypeError(BAD_MEMORY.format(what="start has a memory, and memory= is not given"))
        return start if start.memory is not None else start._replace(memory=memory)
    if not isinstance(start, tuple) or len(start) != 2:
        raise TypeError(BAD_START.format(given=_checks.describe(start)))
    return Place(start[0], start[1], jnp.zeros(()), jnp.zeros((), jnp.int32), memory)


def _same_kind(place: Place, begins: Any, memory: PyTree) -> None:
    """A start from elsewhere is what the environment and the memory begin with, but for its numbers."""
    pairs = [("observation", place.observation, begins[0]), ("state", place.state, begins[1])]
    pairs += [("memory", place.memory, memory)] if memory is not None else []
    for name, given, wanted in pairs:
        if (found := jax.tree.map(_type, given)) != (begun := jax.tree.map(_type, wanted)):
            raise TypeError(OTHER_START.format(name=name, found=found, begun=begun))


def _remembered(returned: Any, memory: PyTree) -> Any:
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(BAD_MEMORY.format(what=f"it returned {_checks.describe(returned)}"))
    if (found := jax.tree.map(_type, returned[1])) != (begun := jax.tree.map(_type, memory)):
        raise TypeError(BAD_MEMORY.format(what=f"it returned {found}, and began with {begun}"))
    return returned


def _checked(returned: Any, place: Place) -> Any:
    if not isinstance(returned, tuple) or len(returned) != 5:
        size = f"{len(returned)} things" if isinstance(returned, tuple) else type(returned).__name__
        raise TypeError(BAD_STEP.format(what=f"it returned {size}"))
    observation, state, reward, terminated, truncated = returned
    for name, got, wanted in (("observation", observation, place.observation), ("state", state, place.state)):
        if (found := jax.tree.map(_type, got)) != (begun := jax.tree.map(_type, wanted)):
            raise TypeError(BAD_STEP.format(what=f"the {name} is {found}, and that of env_reset {begun}"))
    reward, terminated, truncated = map(jnp.asarray, (reward, terminated, truncated))
    for name, x, kind in (("reward", reward, None), ("terminated", terminated, bool), ("truncated", truncated, bool)):
        if x.shape != () or (kind is bool and x.dtype != jnp.bool_):
            raise TypeError(BAD_STEP.format(what=f"{name} is {_type(x)}"))
    if not jnp.issubdtype(reward.dtype, jnp.floating):
        reward = reward.astype(float)
    return observation, state, reward, terminated, truncated


def _type(x: Any) -> str:
    x = jnp.asarray(x) if not hasattr(x, "dtype") else x
    return f"{x.dtype}{list(jnp.shape(x))}"


def _where(flag: Array, chosen: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), chosen, other)
