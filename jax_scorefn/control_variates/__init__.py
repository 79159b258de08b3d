"""Control variates: functions h of a draw whose expectation is known.

    E[f(x)] = E[f(x) - c (h(x) - E h)]            value, for any c that does not depend on the draw
    grad    : the score multiplies f - c (h - E h), and c grad E h comes back as a term of its own

Where h follows f, little is left for the score to multiply. ``score_function(..., control_variate=)`` takes one or several. The
coefficient c is a number, or fitted by least squares on the other groups of draws, one for all parameters or one for each.
"""

from jax_scorefn.control_variates._base import (
    ControlTerm as ControlTerm,
    ControlVariate as ControlVariate,
    attach as attach,
    is_per_parameter as is_per_parameter,
)
from jax_scorefn.control_variates._delta import delta as delta
from jax_scorefn.control_variates._known import known as known

_INTERNAL = {"ControlTerm", "attach", "is_per_parameter"}
"""What other packages of the library take, and no page of the documentation has."""
