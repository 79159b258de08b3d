"""NumPyro's models and guides with discrete sites: an ELBO for SVI, and the effect handler behind it."""

from jax_scorefn.contrib.numpyro._choices import as_choices as as_choices
from jax_scorefn.contrib.numpyro._elbo import CreditELBO as CreditELBO
