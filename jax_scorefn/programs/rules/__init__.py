"""The rules of primitives, one function for each family; see ``_base`` for what a rule says."""

from jax_scorefn.programs.rules import _elementwise as _elementwise
from jax_scorefn.programs.rules import _indexing as _indexing
from jax_scorefn.programs.rules import _mixing as _mixing
from jax_scorefn.programs.rules import _random as _random
from jax_scorefn.programs.rules import _shapes as _shapes
from jax_scorefn.programs.rules._base import RULES as RULES
from jax_scorefn.programs.rules._base import Map as Map
from jax_scorefn.programs.rules._base import Operation as Operation
from jax_scorefn.programs.rules._base import Rule as Rule
from jax_scorefn.programs.rules._base import rule as rule
