"""Policy gradients: returns and advantages, losses, rollouts and sequences. Arrays in, arrays out, time first."""

from jax_scorefn.policy_gradient._environments import Board as Board
from jax_scorefn.policy_gradient._environments import Environment as Environment
from jax_scorefn.policy_gradient._environments import from_gymnax as from_gymnax
from jax_scorefn.policy_gradient._environments import from_pgx as from_pgx
from jax_scorefn.policy_gradient._groups import group_advantages as group_advantages
from jax_scorefn.policy_gradient._losses import Loss as Loss
from jax_scorefn.policy_gradient._losses import actor_critic as actor_critic
from jax_scorefn.policy_gradient._losses import critic_loss as critic_loss
from jax_scorefn.policy_gradient._losses import grpo as grpo
from jax_scorefn.policy_gradient._losses import mean_loss as mean_loss
from jax_scorefn.policy_gradient._losses import ppo_clip as ppo_clip
from jax_scorefn.policy_gradient._losses import reinforce as reinforce
from jax_scorefn.policy_gradient._losses import reward_to_go as reward_to_go
from jax_scorefn.policy_gradient._penalties import entropy_loss as entropy_loss
from jax_scorefn.policy_gradient._penalties import kl_loss as kl_loss
from jax_scorefn.policy_gradient._returns import VTrace as VTrace
from jax_scorefn.policy_gradient._returns import discounted_returns as discounted_returns
from jax_scorefn.policy_gradient._returns import gae as gae
from jax_scorefn.policy_gradient._returns import lambda_returns as lambda_returns
from jax_scorefn.policy_gradient._returns import vtrace as vtrace
from jax_scorefn.policy_gradient._rollout import Place as Place
from jax_scorefn.policy_gradient._rollout import Rollout as Rollout
from jax_scorefn.policy_gradient._rollout import legal_logits as legal_logits
from jax_scorefn.policy_gradient._rollout import rollout as rollout
from jax_scorefn.policy_gradient._sequences import rloo as rloo
from jax_scorefn.policy_gradient._sequences import token_log_probs as token_log_probs
