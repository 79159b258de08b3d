"""What a critic is for: its own loss, the gradient of all actions at once, and returns that are brought to one size.

critic_loss     1/2 (v - target)^2, or the larger of that and 1/2 (clip(v, old - c, old + c) - target)^2
all_actions     - sum_a pi(a | s) stop(q(s, a))
ReturnScale     running mean and deviation of returns
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from jax_scorefn import _checks
from jax_scorefn._checks import denies
from jax_scorefn.policy_gradient._arrays import counted, real, trajectory, wide
from jax_scorefn.policy_gradient._episodes import episodes
from jax_scorefn.policy_gradient._loss import Loss, loss_of
from jax_scorefn.typing import Array

ONE_OF_TWO = "critic_loss: clip= and old_v_tm1= go together: how far the value may move, and from where."
BAD_CLIP = "critic_loss: clip={given} must be above 0."
BAD_ACTIONS = (
    "all_actions takes logits and q of one shape, with the actions along the last axis, (T, A); it got {given}."
)


def critic_loss(
    v_tm1: Array,
    target_t: Array,
    *,
    clip: Array | float | None = None,
    old_v_tm1: Array | None = None,
    mask: Array | None = None,
) -> Loss:
    """Half the squared distance of the critic from its targets, which are not differentiated; weight: the number of steps.

    Args:
      v_tm1: value of the state in which each action was taken, shape (T,), differentiable in the critic's parameters.
      target_t: from :func:`lambda_returns`, :func:`vtrace` or :func:`discounted_returns`, shape (T,).
      clip: how far a value may move from the old one and still be drawn to its target, as in implementations of PPO; None is no
        bound.
      old_v_tm1: values before the updates on this batch, with ``clip``; never differentiated.
      mask: booleans (T,); False marks steps that nobody chose, which change nothing.

    Returns:
      :class:`Loss`.

    Raises:
      TypeError: for arrays that are not one trajectory.
      ValueError: for one of ``clip`` and ``old_v_tm1`` without the other, and a ``clip`` that is not above 0.

    Bias: none of the regression, for every order in ``v_tm1``; with targets that bootstrap, the fixed point is that of the targets.
    With ``clip`` the larger of two losses counts, which is another objective.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> print(sf.policy_gradient.critic_loss(jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])).sum)
      2.5
    """
    if (clip is None) != (old_v_tm1 is None):
        raise ValueError(ONE_OF_TWO)
    if denies(lambda x: x > 0, clip):
        raise ValueError(BAD_CLIP.format(given=clip))
    value, target, old = trajectory("critic_loss", "old_v_tm1", v_tm1=v_tm1, target_t=target_t, old_v_tm1=old_v_tm1)
    turns = episodes("critic_loss", value, mask)
    squares = 0.5 * turns.chosen(value - stop_gradient(target)) ** 2
    if clip is not None:
        moved = turns.chosen(value - stop_gradient(old))
        far = jnp.asarray(clip, moved.dtype)
        near = turns.chosen(stop_gradient(old - target)) + jnp.clip(moved, -far, far)
        squares = jnp.maximum(squares, 0.5 * near**2)
    return loss_of(squares, turns.mask)


def all_actions(logits: Array, q: Array, *, mask: Array | None = None) -> Loss:
    """The policy gradient summed over all actions of each state, with a critic's values of them: no noise of the action is left.

    Args:
      logits: of the policy, (T, A) for T states; minus infinity is an action that does not exist.
      q: the critic's values of the actions, (T, A); never differentiated. Those of actions that do not exist count nowhere.
      mask: booleans (T,); False marks states that count nowhere.

    Returns:
      :class:`Loss`: minus the expected value of the action in each state, and the number of states.

    Raises:
      TypeError: for other shapes.

    Bias: that of the critic, and of leaving out the discounts D_t of :func:`reward_to_go`.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> loss = lambda logits: sf.policy_gradient.all_actions(logits, jnp.array([[1.0, 3.0]])).sum
      >>> print(loss(jnp.zeros((1, 2))), jax.grad(loss)(jnp.zeros((1, 2))))
      -2.0 [[ 0.5 -0.5]]

    References: asadi2017, ciosek2018.
    """
    x, values = real("all_actions", "logits", logits), real("all_actions", "q", q)
    if x.ndim != 2 or values.shape != x.shape:
        raise TypeError(BAD_ACTIONS.format(given=f"{list(x.shape)}, {list(values.shape)}"))
    dtype = wide([x, values])
    like = jnp.zeros(x.shape[0], dtype)
    there = counted("all_actions", like, mask)
    probs = jax.nn.softmax(jnp.where(there[:, None], x.astype(dtype), 0.0), axis=-1)
    values = jnp.where(there[:, None] & (probs > 0), stop_gradient(values).astype(dtype), 0.0)
    return loss_of(-jnp.sum(probs * values, axis=-1), there)


class ScaleState(NamedTuple):
    """What :class:`ReturnScale` keeps: mean and deviation of the returns so far, and how much of a whole their weights are."""

    mean: Array
    deviation: Array
    weight: Array


@dataclasses.dataclass(frozen=True)
class ReturnScale:
    """Running mean and deviation of returns, so that a critic's targets keep their size while rewards grow: state in, state out.

    Attributes:
      decay: of the moving averages, in [0, 1). They are corrected for their start. Where returns differ by rounding, the deviation
        is 1.

    Example:
      >>> import jax.numpy as jnp, jax_scorefn as sf
      >>> scale = sf.policy_gradient.ReturnScale(decay=0.9)
      >>> state = scale.update(scale.init(), jnp.array([100.0, 300.0]))
      >>> print(scale.normalise(state, jnp.array([100.0, 300.0])), scale.restore(state, jnp.array([-1.0, 1.0])))
      [-1.  1.] [100. 300.]

    References: vanhasselt2016.
    """

    decay: Array | float = 0.99

    def __post_init__(self) -> None:
        _checks.decay("ReturnScale", self.decay)

    def init(self) -> ScaleState:
        """Nothing seen yet: mean 0, deviation 1."""
        zero = jnp.zeros((), jnp.float32)
        return ScaleState(zero, zero, zero)

    def update(self, state: ScaleState, returns: Array, mask: Array | None = None) -> ScaleState:
        """The state after a batch of returns, of any shape; one without any changes nothing."""
        x = real("ReturnScale", "returns", returns)
        there = counted("ReturnScale", x, mask)
        x = jnp.where(there, stop_gradient(x).astype(jnp.float32), 0.0)
        number = jnp.maximum(jnp.sum(there), 1).astype(jnp.float32)
        mean = lambda x: jnp.sum(jnp.where(there, x, 0.0)) / number
        middle = mean(x)
        away = jnp.where(there, x - middle, 0.0)
        size = jnp.max(jnp.abs(away), initial=0.0)
        own = size * jnp.sqrt(mean((away / jnp.where(size > 0, size, 1.0)) ** 2))
        weight = state.weight + (1.0 - self.decay) * (1.0 - state.weight)
        new = (1.0 - self.decay) / weight  # of all that was seen, what these are
        step = middle - state.mean
        parts = jnp.stack([jnp.sqrt(1 - new) * state.deviation, jnp.sqrt(new * (1 - new)) * step, jnp.sqrt(new) * own])
        after = ScaleState(state.mean + new * step, _length(parts), weight)
        return jax.tree.map(lambda new, old: jnp.where(jnp.any(there), new, old), after, state)

    def normalise(self, state: ScaleState, x: Array) -> Array:
        """(x - mean) / deviation."""
        mean, deviation = self._moments(state)
        return (x - mean) / deviation

    def restore(self, state: ScaleState, x: Array) -> Array:
        """What :meth:`normalise` made x of."""
        mean, deviation = self._moments(state)
        return x * deviation + mean

    def _moments(self, state: ScaleState) -> tuple[Array, Array]:
        known = state.deviation > 8 * jnp.finfo(jnp.float32).eps * jnp.abs(state.mean)
        return stop_gradient(state.mean), stop_gradient(jnp.where(known, state.deviation, 1.0))


def _length(x: Array) -> Array:
    """Of a vector, whose squares may overflow."""
    size = jnp.max(jnp.abs(x))
    return size * jnp.sqrt(jnp.sum((x / jnp.where(size > 0, size, 1.0)) ** 2))
