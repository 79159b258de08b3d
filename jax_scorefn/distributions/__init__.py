"""What is random: laws of one draw, and families of them."""

from jax_scorefn.distributions._adapters import as_law as as_law
from jax_scorefn.distributions._autoregressive import Autoregressive as Autoregressive
from jax_scorefn.distributions._base import Distribution as Distribution
from jax_scorefn.distributions._binomial import Binomial as Binomial
from jax_scorefn.distributions._categorical import Categorical as Categorical
from jax_scorefn.distributions._categorical import OneHotCategorical as OneHotCategorical
from jax_scorefn.distributions._compose import Joint as Joint
from jax_scorefn.distributions._continuous import Beta as Beta
from jax_scorefn.distributions._continuous import Exponential as Exponential
from jax_scorefn.distributions._continuous import Gamma as Gamma
from jax_scorefn.distributions._continuous import Uniform as Uniform
from jax_scorefn.distributions._continuous import Weibull as Weibull
from jax_scorefn.distributions._discrete import Bernoulli as Bernoulli
from jax_scorefn.distributions._discrete import Geometric as Geometric
from jax_scorefn.distributions._discrete import Poisson as Poisson
from jax_scorefn.distributions._family import Family as Family
from jax_scorefn.distributions._family import GivenDraws as GivenDraws
from jax_scorefn.distributions._family import family as family
from jax_scorefn.distributions._grids import Grid as Grid
from jax_scorefn.distributions._location_scale import Cauchy as Cauchy
from jax_scorefn.distributions._location_scale import Gumbel as Gumbel
from jax_scorefn.distributions._location_scale import Laplace as Laplace
from jax_scorefn.distributions._location_scale import Logistic as Logistic
from jax_scorefn.distributions._normal import MultivariateNormal as MultivariateNormal
from jax_scorefn.distributions._normal import Normal as Normal
from jax_scorefn.distributions._normal import TanhNormal as TanhNormal
