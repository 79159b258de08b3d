"""From what a user passes as ``baseline=`` to a baseline."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jax_scorefn import _checks
from jax_scorefn._trees import to_float
from jax_scorefn.baselines import _ema, _learned
from jax_scorefn.baselines._base import Baseline
from jax_scorefn.baselines._of_draws import leave_one_out
from jax_scorefn.typing import Bias

_NONE = Baseline("none", lambda draws: jnp.zeros_like(draws.values), Bias.NONE, 1, "No baseline.", linear=True)


def resolve(baseline: Any, num_samples: int, group_size: int = 1) -> Baseline:
    """The baseline of a call: "auto" is leave-one-out where there are two draws, and none for one."""
    if baseline is None or (isinstance(baseline, str) and baseline == "auto" and num_samples == 1):
        return _NONE
    if isinstance(baseline, str) and baseline == "auto":
        baseline = leave_one_out
    if isinstance(baseline, Baseline):
        num_groups = num_samples // group_size
        if num_groups < baseline.min_groups:
            message = _checks.TOO_FEW_FOR_BASELINE if group_size == 1 else _checks.TOO_FEW_GROUPS_FOR_BASELINE
            given = {"baseline": baseline.name, "wanted": baseline.min_groups, "given": num_groups, "size": group_size}
            raise ValueError(message.format(**given))
        return baseline
    for module, kind, made_by in ((_ema, _ema.EMA, _ema.ema), (_learned, _learned.Learned, _learned.learned)):
        if isinstance(baseline, kind) or baseline is made_by:
            raise TypeError(module.UNBOUND)
    if callable(baseline):
        name = getattr(baseline, "__name__", "baseline")
        return Baseline(name, lambda draws: to_float(baseline(draws.values)), Bias.NONE, 1, "A user's function.")
    raise TypeError(_checks.BAD_BASELINE.format(given=_checks.describe(baseline)))
