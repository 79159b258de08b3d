"""The rules of primitives, one function for each family; see ``_base`` for what a rule says."""

from jax_scorefn.programs.rules import (
    _elementwise as _elementwise,
    _indexing as _indexing,
    _mixing as _mixing,
    _random as _random,
    _shapes as _shapes,
)
from jax_scorefn.programs.rules._base import (
    RULES as RULES,
    Map as Map,
    Operation as Operation,
    Rule as Rule,
    rule as rule,
)
