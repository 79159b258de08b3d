"""How the derivative of one random choice is estimated: a file for each way, and a line for it here, in the order of messages."""

# isort: off
from jax_scorefn.programs.sites import _score as _score
from jax_scorefn.programs.sites import _pathwise as _pathwise
from jax_scorefn.programs.sites import _exact as _exact
from jax_scorefn.programs.sites import _coupled as _coupled
from jax_scorefn.programs.sites import _measure_valued as _measure_valued
from jax_scorefn.programs.sites._base import SITES as SITES
from jax_scorefn.programs.sites._base import SiteEstimator as SiteEstimator
from jax_scorefn.programs.sites._base import parts_of as parts_of
from jax_scorefn.programs.sites._compared import SECOND_DERIVATIVE as SECOND_DERIVATIVE
from jax_scorefn.programs.sites._compared import Compared as Compared
from jax_scorefn.programs.sites._base import Branches as Branches
from jax_scorefn.programs.sites._base import batched as batched
