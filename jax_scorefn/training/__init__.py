"""Training loops with optax: compiled inside, with progress and saved state outside."""

from jax_scorefn.training._fit import Fitted as Fitted
from jax_scorefn.training._fit import fit as fit
