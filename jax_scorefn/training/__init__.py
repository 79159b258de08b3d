"""Training loops with optax: compiled inside, with progress and saved state outside."""

from jax_scorefn.training._fit import Fitted as Fitted
from jax_scorefn.training._fit import fit as fit
from jax_scorefn.training._snr import SnrState as SnrState
from jax_scorefn.training._snr import adapt_num_samples as adapt_num_samples
from jax_scorefn.training._snr import track_snr as track_snr
