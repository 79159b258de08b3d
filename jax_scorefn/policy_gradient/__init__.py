"""Policy gradients: returns and advantages, losses, rollouts and sequences. Arrays in, arrays out, time first."""

from jax_scorefn.policy_gradient._answer_losses import cispo as cispo, grpo as grpo, gspo as gspo
from jax_scorefn.policy_gradient._answers import (
    best_of_group as best_of_group,
    collect_informative as collect_informative,
    informative as informative,
    overlong_penalty as overlong_penalty,
    whiten as whiten,
)
from jax_scorefn.policy_gradient._clipped import ppo_clip as ppo_clip
from jax_scorefn.policy_gradient._corrections import (
    Correction as Correction,
    SamplerGap as SamplerGap,
    sampler_correction as sampler_correction,
)
from jax_scorefn.policy_gradient._critic import (
    ReturnScale as ReturnScale,
    ScaleState as ScaleState,
    all_actions as all_actions,
    critic_loss as critic_loss,
)
from jax_scorefn.policy_gradient._environments import (
    Board as Board,
    Environment as Environment,
    from_brax as from_brax,
    from_gymnax as from_gymnax,
    from_jumanji as from_jumanji,
    from_pgx as from_pgx,
)
from jax_scorefn.policy_gradient._group_advantages import group_advantages as group_advantages
from jax_scorefn.policy_gradient._head import token_log_probs_of_head as token_log_probs_of_head
from jax_scorefn.policy_gradient._loss import Loss as Loss, mean_loss as mean_loss
from jax_scorefn.policy_gradient._packing import unpack as unpack
from jax_scorefn.policy_gradient._penalties import (
    categorical_kl as categorical_kl,
    entropy as entropy,
    entropy_loss as entropy_loss,
    kl_loss as kl_loss,
    kl_penalty as kl_penalty,
)
from jax_scorefn.policy_gradient._returns import (
    VTrace as VTrace,
    discounted_returns as discounted_returns,
    gae as gae,
    lambda_returns as lambda_returns,
    vtrace as vtrace,
)
from jax_scorefn.policy_gradient._rollout import (
    Place as Place,
    Rollout as Rollout,
    begin as begin,
    legal_logits as legal_logits,
    rollout as rollout,
)
from jax_scorefn.policy_gradient._sampling import sampling_logits as sampling_logits
from jax_scorefn.policy_gradient._sequences import rloo as rloo, token_log_probs as token_log_probs
from jax_scorefn.policy_gradient._targets import n_step_returns as n_step_returns, retrace as retrace, upgo as upgo
from jax_scorefn.policy_gradient._trajectory import (
    actor_critic as actor_critic,
    reinforce as reinforce,
    reward_to_go as reward_to_go,
)
