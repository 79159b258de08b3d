"""Every function of ``policy_gradient`` that takes arrays of steps, called on one row of them: what the property tests run through."""

import inspect

import jax.numpy as jnp
import numpy as np

import jax_scorefn.policy_gradient as pg

STOPPED = {
    "reinforce": ["v_t", "baseline"],
    "reward_to_go": ["v_t", "baseline"],
    "vtrace": ["log_rho"],
    "actor_critic": ["advantage"],
    "critic_loss": ["target"],
    "critic_loss_clipped": ["target", "baseline"],
    "retrace": ["log_rho"],
    "all_actions": ["target"],
    "ppo_clip": ["old", "advantage"],
    "grpo": ["old", "gain"],
    "grpo_tokens": ["old", "gain"],
    "grpo_sequences": ["old", "gain"],
    "gspo": ["old", "gain"],
    "gspo_tokens": ["old", "advantage"],
    "cispo": ["old", "advantage"],
    "sampler_correction": ["l", "old"],
    "kl_penalty": ["ref", "old"],
    "kl_loss": ["ref"],
}
"""What each function says that it never differentiates."""


def ends(row):
    return {name: row[name] for name in ("terminated", "truncated")}


def with_ends(row):
    return {"discount_t": row["discount"], "mask": row.get("mask"), **ends(row)}


CALLS = {
    "discounted_returns": lambda w: pg.discounted_returns(w["r"], v_t=w["v_t"], **with_ends(w)),
    "gae": lambda w: pg.gae(w["r"], w["v_tm1"], w["v_t"], lambda_=0.7, **with_ends(w)),
    "lambda_returns": lambda w: pg.lambda_returns(w["r"], w["v_tm1"], w["v_t"], lambda_=0.7, **with_ends(w)),
    "vtrace": lambda w: pg.vtrace(
        w["r"],
        w["v_tm1"],
        w["v_t"],
        w["log_rho"],
        lambda_=0.7,
        clip_rho=1.3,
        clip_c=0.9,
        clip_pg_rho=1.5,
        **with_ends(w),
    ),
    "reinforce": lambda w: pg.reinforce(w["l"], w["r"], baseline=w["baseline"], v_t=w["v_t"], **with_ends(w)),
    "reward_to_go": lambda w: pg.reward_to_go(w["l"], w["r"], baseline_t=w["baseline"], v_t=w["v_t"], **with_ends(w)),
    "actor_critic": lambda w: pg.actor_critic(w["l"], w["advantage"], mask=w.get("mask")),
    "critic_loss": lambda w: pg.critic_loss(w["v_tm1"], w["target"], mask=w.get("mask")),
    "critic_loss_clipped": lambda w: pg.critic_loss(
        w["v_tm1"], w["target"], clip=0.3, old_v_tm1=w["baseline"], mask=w.get("mask")
    ),
    "n_step_returns": lambda w: pg.n_step_returns(w["r"], w["v_tm1"], w["v_t"], n=3, **with_ends(w)),
    "retrace": lambda w: pg.retrace(
        w["r"], w["target"], w["v_tm1"], w["v_t"], w["log_rho"], lambda_=0.7, **with_ends(w)
    ),
    "upgo": lambda w: pg.upgo(w["r"], w["v_tm1"], w["v_t"], **with_ends(w)),
    "all_actions": lambda w: pg.all_actions(
        jnp.stack([w["l"], w["old"]], axis=1), jnp.stack([w["target"], 2 * w["target"]], axis=1), mask=w.get("mask")
    ),
    "ppo_clip": lambda w: pg.ppo_clip(w["l"], w["old"], w["advantage"], mask=w.get("mask")),
    "grpo": lambda w: pg.grpo(w["l"], w["old"], w["gain"], mask=w.get("mask")),
    "grpo_tokens": lambda w: pg.grpo(w["l"], w["old"], -w["gain"], mask=w.get("mask"), reduction="token_mean"),
    "grpo_sequences": lambda w: pg.grpo(w["l"], w["old"], w["gain"], mask=w.get("mask"), reduction="sequence_mean"),
    "gspo": lambda w: pg.gspo(w["l"], w["old"], w["gain"], clip=0.3, clip_high=0.4, mask=w.get("mask")),
    "gspo_tokens": lambda w: pg.gspo(w["l"], w["old"], w["advantage"], level="token", clip=0.3, mask=w.get("mask")),
    "cispo": lambda w: pg.cispo(w["l"], w["old"], w["advantage"], clip_high=0.5, mask=w.get("mask")),
    "sampler_correction": lambda w: pg.sampler_correction(w["l"], w["old"], mask=w.get("mask")).weights,
    "whiten": lambda w: pg.whiten(w["advantage"], mask=w.get("mask")),
    "kl_penalty": lambda w: pg.kl_penalty(w["l"], w["ref"], old_log_prob_t=w["old"], mask=w.get("mask")),
    "kl_loss": lambda w: pg.kl_loss(w["l"], w["ref"], terminated=w["terminated"], mask=w.get("mask")),
    "entropy_loss": lambda w: pg.entropy_loss(w["l"], terminated=w["terminated"], mask=w.get("mask")),
    "rloo": lambda w: pg.rloo(
        jnp.stack([w["l"], w["old"]]), jnp.asarray([1.0, 3.0], w["l"].dtype), mask=_twice(w.get("mask"))
    ),
}


def _twice(mask):
    return None if mask is None else jnp.stack([mask, mask])


def functions_with(parameter):
    """Names of the public functions that have a parameter of this name."""
    functions = {name: f for name, f in vars(pg).items() if inspect.isfunction(f)}
    return {name for name, f in functions.items() if parameter in inspect.signature(f).parameters}


def covered():
    return {function_of(name) for name in CALLS}


def function_of(name):
    """The function of a call, of which there may be several."""
    for end in ("_tokens", "_sequences", "_clipped"):
        name = name.removesuffix(end)
    return name


def random_row(seed, steps):
    """Steps that were all chosen, of several episodes, with values as one critic gives them: ``v_t`` is the next ``v_tm1``."""
    rng = np.random.default_rng(seed)
    names = ("l", "old", "ref", "r", "v_tm1", "v_t", "log_rho", "advantage", "target", "baseline")
    row = {name: rng.normal(size=steps).astype(np.float32) for name in names}
    row |= {name: -1 - np.abs(row[name]) for name in ("l", "old", "ref")}
    row["discount"] = rng.uniform(0.5, 1.0, size=steps).astype(np.float32)
    kind = rng.choice(4, size=steps, p=[0.7, 0.1, 0.1, 0.1])
    row["terminated"], row["truncated"] = kind == 1, kind == 2
    row["discount"][kind == 3] = 0.0
    row["gain"] = row["advantage"][0]
    row["v_t"][:-1] = np.where(kind == 0, np.roll(row["v_tm1"], -1), row["v_t"])[:-1]
    return row
