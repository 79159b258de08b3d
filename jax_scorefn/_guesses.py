"""Names that people look for in the package, and where what they mean is."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

NO_SUCH_NAME = "jax_scorefn has no {name!r}{meant}"

GUESSES = {
    "reinforce": "sf.score_function (of a trajectory: sf.policy_gradient.reinforce)",
    "score": "sf.score_function",
    "log_derivative": "sf.score_function",
    "rloo": "sf.score_function, whose default baseline is leave-one-out (of answers of a sequence model: sf.policy_gradient.rloo)",
    "grad": "sf.score_function_grad(f, family, params, key), or jax.grad of sf.score_function or of sf.expectation(program)",
    "value_and_grad": "jax.value_and_grad of sf.score_function or of sf.expectation(program)",
    "reparameterize": "sf.pathwise",
    "reparameterization": "sf.pathwise",
    "reparam": "sf.pathwise",
    "enumerate": "sf.exact",
    "dice": "sf.magic_box (sf.score_function and sf.expectation are right at every order by it)",
    "vimco": "sf.iwae",
    "kl_divergence": "sf.kl(p, q)",
    "entropy": "the method of a distribution, dist.entropy()",
    "leave_one_out": "sf.baselines.leave_one_out, the default of sf.score_function",
    "baseline": "sf.baselines",
    "importance_sampling": "the option proposal= of sf.score_function",
    "fit": "sf.training.fit",
    "train": "sf.training.fit",
    "choose": "sf.audit",
    "simulate": "sf.sample in a program, and sf.expectation of it",
    "distribution": "sf.distributions",
    "logp": "sf.family(log_prob=..., sampler=...)",
    "log_prob": "a method of a distribution, dist.log_prob(x), and family(params, x)",
    "categorical": "sf.random.categorical",
    "bernoulli": "sf.random.bernoulli",
    "MultivariateNormalDiag": "sf.Normal, whose loc and scale may have any shape: the coordinates of one draw",
    "MultivariateNormalTri": "sf.MultivariateNormal(loc=..., scale_tril=...)",
    "Independent": "the distribution itself: the coordinates of a draw are independent, and log_prob is their sum",
    "MixtureSameFamily": "sf.Mixture(components=..., logits=...)",
    "Delta": "the value itself, which needs no distribution",
    "RelaxedBernoulli": "sf.gumbel_softmax of a family of sf.Bernoulli",
} | {name: f"sf.policy_gradient.{there}" for name, there in {
    "ppo": "ppo_clip", "ppo_clip": "ppo_clip", "grpo": "grpo", "gae": "gae", "vtrace": "vtrace", "rollout": "rollout",
    "actor_critic": "actor_critic", "a2c": "actor_critic", "reward_to_go": "reward_to_go",
}.items()}  # fmt: skip
"""Name -> what to take."""


def guessed(name: str, there: Sequence[str]) -> AttributeError:
    """The error for a name that the package does not have, which is one of those that are there, or means something else."""
    close = [f"sf.{other}" for other in difflib.get_close_matches(name, there, n=2)]
    meant = f": take {GUESSES[name]}." if name in GUESSES else f". Did you mean {' or '.join(close)}?" if close else "."
    return AttributeError(NO_SUCH_NAME.format(name=name, meant=meant))
