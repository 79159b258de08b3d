"""Training loops with optax: compiled inside, with progress and saved state outside."""

from jax_scorefn.training._fit import Fitted as Fitted, fit as fit
from jax_scorefn.training._snr import (
    SnrState as SnrState,
    adapt_num_samples as adapt_num_samples,
    track_snr as track_snr,
)
