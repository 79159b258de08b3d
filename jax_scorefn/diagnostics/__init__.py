"""Measure an estimator: its bias, its noise, what it costs; and choose one by that."""

from jax_scorefn.diagnostics._audit import audit as audit
from jax_scorefn.diagnostics._check import BiasCheck as BiasCheck, check_unbiased as check_unbiased
from jax_scorefn.diagnostics._lost import LostGradients as LostGradients, lost_gradients as lost_gradients
from jax_scorefn.diagnostics._moments import (
    Moments as Moments,
    effective_sample_size as effective_sample_size,
    gradient_moments as gradient_moments,
    snr as snr,
)
from jax_scorefn.diagnostics._report import AuditReport as AuditReport, Row as Row
from jax_scorefn.diagnostics._verdict import Verdict as Verdict
