"""What is random: distributions of one draw, and families of them."""

from jax_scorefn.distributions._adapters import as_distribution as as_distribution, as_law as as_law
from jax_scorefn.distributions._alternatives import Alternative as Alternative, swapped as swapped
from jax_scorefn.distributions._autoregressive import Autoregressive as Autoregressive
from jax_scorefn.distributions._base import (
    Distribution as Distribution,
    declared as declared,
    is_distribution as is_distribution,
)
from jax_scorefn.distributions._beta import Beta as Beta
from jax_scorefn.distributions._beta_binomial import BetaBinomial as BetaBinomial
from jax_scorefn.distributions._binomial import Binomial as Binomial
from jax_scorefn.distributions._categorical import Categorical as Categorical, OneHotCategorical as OneHotCategorical
from jax_scorefn.distributions._compose import Joint as Joint
from jax_scorefn.distributions._continuous import (
    Exponential as Exponential,
    Gamma as Gamma,
    Uniform as Uniform,
    Weibull as Weibull,
)
from jax_scorefn.distributions._dirichlet import Dirichlet as Dirichlet
from jax_scorefn.distributions._discrete import Bernoulli as Bernoulli, Geometric as Geometric, Poisson as Poisson
from jax_scorefn.distributions._divergences import kl as kl
from jax_scorefn.distributions._family import Family as Family, GivenDraws as GivenDraws, family as family
from jax_scorefn.distributions._grids import Grid as Grid
from jax_scorefn.distributions._location_scale import (
    Cauchy as Cauchy,
    Gumbel as Gumbel,
    HalfNormal as HalfNormal,
    Laplace as Laplace,
    Logistic as Logistic,
)
from jax_scorefn.distributions._mixture import Mixture as Mixture
from jax_scorefn.distributions._multinomial import Multinomial as Multinomial
from jax_scorefn.distributions._negative_binomial import NegativeBinomial as NegativeBinomial
from jax_scorefn.distributions._normal import MultivariateNormal as MultivariateNormal, Normal as Normal
from jax_scorefn.distributions._pushed_normal import LogNormal as LogNormal, TanhNormal as TanhNormal
from jax_scorefn.distributions._student_t import StudentT as StudentT
from jax_scorefn.distributions._ties import off_ties as off_ties
from jax_scorefn.distributions._truncated_normal import TruncatedNormal as TruncatedNormal
from jax_scorefn.distributions._views import (
    CategoricalView as CategoricalView,
    Row as Row,
    WeakDerivative as WeakDerivative,
)
from jax_scorefn.distributions._von_mises import VonMises as VonMises

_INTERNAL = {
    "Alternative",
    "CategoricalView",
    "Row",
    "WeakDerivative",
    "declared",
    "is_distribution",
    "off_ties",
    "swapped",
}
"""What other packages of the library take, and no page of the documentation has."""
