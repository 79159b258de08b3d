"""Decision processes that are small enough to be solved: the expected return as a differentiable function of the policy.

    finite horizon     J = sum_{t < T} discount^t d_t . r_pi,      d_{t+1} = d_t P_pi,     d_0 the start
    infinite horizon   J = d_0 . v,    v = r_pi + discount P_pi v: a linear system over the states that are not terminal

``P_pi(s, s') = sum_a pi(a | s) P(s, a, s')`` and ``r_pi(s) = sum_a pi(a | s) r(s, a)``. Differentiate by ``jax.grad`` and
``jax.hessian``, in float64 for references. They share no code with the estimators.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn._checks import denies
from jax_scorefn.typing import Array, Key

BAD_MDP = "TabularMDP: {what}."


class Trajectory(NamedTuple):
    """Steps of a tabular process, each of shape (T,): states, actions, rewards, whether a terminal state was reached, and padding."""

    states: Array
    actions: Array
    r_t: Array
    terminated: Array
    mask: Array


@dataclasses.dataclass(frozen=True)
class TabularMDP:
    """States and actions that are numbers, with known probabilities.

    Attributes:
      transition: probabilities (S, A, S): of the next state, given state and action.
      reward: expected rewards (S, A).
      start: probabilities (S,) of the first state.
      discount: between 0 and 1, a number or an array that may be traced; with 1 an infinite horizon needs terminal states.
      terminal: booleans (S,): states in which nothing more happens. None is none.

    Example: two states; action 1 moves on to the second, which is the end, and costs nothing; action 0 stays, and costs 1.
      >>> import numpy as np, jax.numpy as jnp, jax_scorefn as sf
      >>> transition = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
      >>> mdp = sf.testing.TabularMDP(transition, np.array([[-1.0, 0.0], [0.0, 0.0]]), np.array([1.0, 0.0]), 1.0,
      ...                             terminal=np.array([False, True]))
      >>> print(f"{mdp.expected_return(jnp.zeros((2, 2))):.3f} {mdp.expected_return(jnp.zeros((2, 2)), horizon=2):.3f}")
      -1.000 -0.750
    """

    transition: np.ndarray
    reward: np.ndarray
    start: np.ndarray
    discount: Array | float
    terminal: np.ndarray | None = None

    def __post_init__(self) -> None:
        s, a = np.shape(self.reward) if np.ndim(self.reward) == 2 else (0, 0)
        if np.shape(self.transition) != (s, a, s) or np.shape(self.start) != (s,) or not s * a:
            shapes = [np.shape(x) for x in (self.transition, self.reward, self.start)]
            raise ValueError(
                BAD_MDP.format(what=f"transition (S, A, S), reward (S, A), start (S,) are wanted, not {shapes}")
            )
        for name, table in (("transition", self.transition), ("start", self.start)):
            if not np.allclose(np.sum(table, axis=-1), 1) or np.min(table) < 0:
                raise ValueError(BAD_MDP.format(what=f"the probabilities of {name} do not sum to 1"))
        if denies(lambda x: (x >= 0) & (x <= 1), self.discount):
            raise ValueError(BAD_MDP.format(what=f"the discount is between 0 and 1, not {self.discount}"))

    @property
    def ends(self) -> np.ndarray:
        """Which states are terminal."""
        return np.zeros(len(self.start), bool) if self.terminal is None else np.asarray(self.terminal, bool)

    def of_policy(self, logits: Array) -> tuple[Array, Array]:
        """Transitions (S, S) and rewards (S,) under a policy with ``logits`` (S, A). Nothing comes after a terminal state."""
        probs = jax.nn.softmax(logits, axis=-1)
        going = jnp.asarray(~self.ends, probs.dtype)
        moves = jnp.einsum("sa,sat->st", probs, jnp.asarray(self.transition, probs.dtype))
        rewards = jnp.einsum("sa,sa->s", probs, jnp.asarray(self.reward, probs.dtype))
        return moves * going[:, None], rewards * going

    def values(self, logits: Array, *, horizon: int | None = None) -> Array:
        """Expected discounted return from each state, shape (S,), within ``horizon`` steps or for ever."""
        moves, rewards = self.of_policy(logits)
        if horizon is None:
            return jnp.linalg.solve(jnp.eye(len(rewards), dtype=rewards.dtype) - self.discount * moves, rewards)
        v = jnp.zeros_like(rewards)
        for _ in range(horizon):
            v = rewards + self.discount * moves @ v
        return v

    def expected_return(self, logits: Array, *, horizon: int | None = None) -> Array:
        """Expected discounted return J from the start: differentiable in the logits, to every order.

        Args:
          logits: of the policy, shape (S, A). For fewer parameters compute them from those.
          horizon: number of steps; None is for ever.

        Returns:
          A scalar.
        """
        values = self.values(logits, horizon=horizon)
        return jnp.asarray(self.start, values.dtype) @ values

    def sample(self, logits: Array, key: Key, horizon: int) -> Trajectory:
        """One trajectory of ``horizon`` steps, by ``lax.scan``; what comes after a terminal state is padding (``mask`` False)."""
        logits = jax.lax.stop_gradient(jnp.asarray(logits))
        transition = jnp.log(jnp.asarray(self.transition, logits.dtype))
        reward, ends = jnp.asarray(self.reward, logits.dtype), jnp.asarray(self.ends)
        key_start, key = jax.random.split(key)

        def step(state: Array, key: Key) -> Any:
            key_action, key_state = jax.random.split(key)
            action = jax.random.categorical(key_action, logits[state])
            after = jax.random.categorical(key_state, transition[state, action])
            after = jnp.where(ends[state], state, after)
            return after, Trajectory(
                state, action, jnp.where(ends[state], 0.0, reward[state, action]), ends[after], ~ends[state]
            )

        first = jax.random.categorical(key_start, jnp.log(jnp.asarray(self.start)))
        return jax.lax.scan(step, first, jax.random.split(key, horizon))[1]


def short_corridor() -> TabularMDP:
    """The short corridor with switched actions: three states that look alike, in the second of which left is right. Each step costs 1.

    Actions are left (0) and right (1); the goal is a fourth, terminal state. With probability p of right in all states the expected
    return is J(p) = 2 (p - 2) / (p (1 - p)), at best -11.6569 at p = 2 - sqrt(2).

    Returns:
      A :class:`TabularMDP` of four states and two actions, without a discount.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> p = 2 - 2**0.5
      >>> logits = jnp.broadcast_to(jnp.log(jnp.array([1 - p, p])), (4, 2))
      >>> print(f"{sf.testing.short_corridor().expected_return(logits):.3f}")
      -11.657

    References: suttonbarto2018 (example 13.1).
    """
    transition = np.zeros((4, 2, 4))
    for state, (left, right) in enumerate([(0, 1), (2, 0), (1, 3), (3, 3)]):
        transition[state, 0, left] = transition[state, 1, right] = 1.0
    reward = np.where(np.arange(4)[:, None] < 3, -1.0, 0.0) * np.ones((4, 2))
    return TabularMDP(transition, reward, np.eye(4)[0], 1.0, terminal=np.arange(4) == 3)


@dataclasses.dataclass(frozen=True)
class PrisonersDilemma:
    """The iterated prisoner's dilemma of two players who remember the last round, with exact values.

    A player has five logits of cooperation: for the start, and after CC, CD, DC, DD, seen from the player's own side.

    Attributes:
      discount: between 0 and 1, a number or an array that may be traced; below 1 where the game lasts for ever.
      payoffs: of the first player, for CC, CD, DC, DD.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> game = sf.testing.PrisonersDilemma()
      >>> print(f"{game.values(jnp.zeros(5), jnp.zeros(5))[0]:.3f}")
      -37.500
      >>> print(*(f"{slope:.3f}" for slope in jax.grad(lambda a: game.values(a, jnp.zeros(5))[0])(jnp.zeros(5))))
      -0.250 -1.500 -1.500 -1.500 -1.500

    References: foerster2018 (section 5).
    """

    discount: Array | float = 0.96
    payoffs: tuple[float, float, float, float] = (-1.0, -3.0, 0.0, -2.0)

    def values(self, first: Array, second: Array, *, horizon: int | None = None) -> tuple[Array, Array]:
        """Expected discounted payoffs of both, whose logits have shape (5,), within ``horizon`` rounds or for ever; differentiable to
        every order."""
        start, moves = self._rounds(first, second)
        if horizon is None:
            visits = jnp.linalg.solve((jnp.eye(4, dtype=moves.dtype) - self.discount * moves).T, start)
        else:
            now, visits = start, jnp.zeros_like(start)
            for t in range(horizon):
                visits, now = visits + self.discount**t * now, now @ moves
        mine = jnp.asarray(self.payoffs, moves.dtype)
        return visits @ mine, visits @ mine[jnp.array([0, 2, 1, 3])]

    def _rounds(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Probabilities (4,) of CC, CD, DC, DD in the first round, and (4, 4) from one round to the next."""
        one, two = jax.nn.sigmoid(first), jax.nn.sigmoid(second)[jnp.array([0, 1, 3, 2, 4])]  # CD is DC to the other

        def outcomes(p: Array, q: Array) -> Array:
            return jnp.stack([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)], axis=-1)

        return outcomes(one[0], two[0]), outcomes(one[1:], two[1:])
