"""NumPyro's models and guides as programs: sites that are choices, and an ELBO that credits each element with its own costs.

    ELBO = E_{z ~ q}[ sum over sites, and elements of their plates, of  scale (log p - log q) ]

Each term is a cost of its own to :func:`jax_scorefn.expectation`, charged with the choices that it depends on, and the other
particles are its baseline. The term of q at a choice is -(log q + expm1(stop(log q) - log q)): the same value, without the
derivative of log q itself, a score, which is noise alone. What is left out has mean 0 in every order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.handlers import replay, seed, substitute, trace
from numpyro.infer.elbo import ELBO
from numpyro.util import check_model_guide_match

from jax_scorefn.contrib.numpyro._choices import as_choices
from jax_scorefn.distributions import off_ties
from jax_scorefn.programs import Explanation, expectation, explain
from jax_scorefn.typing import Array, Key

ENUMERATED = (
    "CreditELBO enumerates no site by infer={{'enumerate': ...}}, and {names} of the {program} asked for it. Draw the site in the "
    "guide, with CreditELBO(estimators={{{name!r}: 'exact'}}) if it is to be summed there, or use numpyro's TraceEnum_ELBO."
)
MUTABLE = (
    "CreditELBO keeps no mutable state, as TraceGraph_ELBO does not{names}. Make it a parameter or an argument of the model, or use "
    "numpyro's Trace_ELBO, which knows no discrete sites."
)
UNKNOWN_SITES = "estimators= names {names}, drawn neither by the guide nor by the model; drawn are: {known}."
VECTORIZED = (
    "vectorize_particles is True (all particles at once), False (one after the other) or the number of particles at once, an int; "
    "it was {given}. For several devices see sf.expectation(sharding=)."
)


class CreditELBO(ELBO):
    """The ELBO of a model and a guide with discrete sites, for ``numpyro.infer.SVI`` wherever it takes ``TraceGraph_ELBO``.

    Discrete sites, and others that ``estimators`` names, are choices (see :class:`as_choices`), and each element of a plate is
    scored by the terms that depend on it. With more than one particle, the mean of the same term over the other particles is
    subtracted from each. Sites with reparameterized draws are differentiated along these.

    Args:
      num_particles: particles that the ELBO is averaged over, a Python int. From 2 on there is a baseline.
      vectorize_particles: True for all at once, False for one after the other, or an int for so many at once.
      estimators: name of a site -> "score_function", "pathwise" or "exact" (summed over its values; 4096 combinations at most).
      baseline: as for ``sf.expectation``.

    Raises:
      ValueError: for sites with ``infer={"enumerate": ...}``, for names in ``estimators`` that no site has, and for a bad option.
      NotImplementedError: for mutable sites.

    Bias: none, for derivatives of every order of the loss. The terms in a subsampling plate are scaled as in NumPyro, and each
    particle draws rows of its own. Cost: a run of guide and model for each particle, and its backward pass.

    Example:
      >>> import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist
      >>> from numpyro.infer import SVI
      >>> from jax_scorefn.contrib.numpyro import CreditELBO
      >>> def model(x):
      ...     with numpyro.plate("data", 3):
      ...         z = numpyro.sample("z", dist.Bernoulli(0.5))
      ...         numpyro.sample("x", dist.Normal(2.0 * z - 1.0, 1.0), obs=x)
      >>> def guide(x):
      ...     logits = numpyro.param("logits", jnp.zeros(3))
      ...     with numpyro.plate("data", 3):
      ...         numpyro.sample("z", dist.Bernoulli(logits=logits))
      >>> svi = SVI(model, guide, numpyro.optim.Adam(0.05), CreditELBO(num_particles=8))
      >>> found = svi.run(jax.random.key(0), 1000, jnp.array([-1.0, 0.2, 0.7]), progress_bar=False)
      >>> print(*(f"{logit:.2f}" for logit in found.params["logits"]), " (exact: twice the data)")
      -2.00 0.40 1.40  (exact: twice the data)
    """

    can_infer_discrete = True

    def __init__(
        self,
        num_particles: int = 1,
        vectorize_particles: bool | int = True,
        *,
        estimators: Mapping[str, str] | None = None,
        baseline: Any = "auto",
    ):
        if not isinstance(vectorize_particles, bool | int) or (chunk := int(vectorize_particles)) < 0:
            raise ValueError(VECTORIZED.format(given=vectorize_particles))
        super().__init__(num_particles=num_particles, vectorize_particles=bool(vectorize_particles))
        self.estimators = dict(estimators or {})
        self.options = {
            "num_samples": num_particles,
            "baseline": baseline,
            "chunk_size": None if vectorize_particles is True else max(chunk, 1),
        }

    def loss(self, rng_key: Key, param_map: Any, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Array:
        """The negative ELBO, whose derivatives in ``param_map`` are those of its expectation."""
        return expectation(self._particle(model, guide, args, kwargs), **self.options)(param_map, rng_key)

    def explain(self, rng_key: Key, param_map: Any, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Explanation:
        """Which choices each term of one particle is charged with (see :func:`jax_scorefn.explain`)."""
        return explain(self._particle(model, guide, args, kwargs))(param_map, rng_key)

    def _particle(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Callable[[Any, Key], Array]:
        """The negative ELBO of one run, as a program."""

        def particle(params: Any, key: Key) -> Array:
            in_model, in_guide = jax.random.split(key)
            run = lambda fn: trace(as_choices(substitute(fn, data=params), estimators=self.estimators))
            guided = run(seed(guide, in_guide)).get_trace(*args, **kwargs)
            modelled = run(replay(seed(model, in_model), guided)).get_trace(*args, **kwargs)
            self._check(modelled, guided)
            terms = [-_term(site) for site in _sample_sites(modelled)]
            terms += [_term(site, choice="choice" in site["infer"]) for site in _sample_sites(guided)]
            return sum(map(jnp.sum, terms), start=jnp.zeros(()))

        return particle

    def loss_with_mutable_state(self, *args: Any, **kwargs: Any) -> Any:
        """Raises: there is none."""
        self.loss(*args, **kwargs)  # which names the sites
        raise NotImplementedError(MUTABLE.format(names=""))

    def _check(self, modelled: Any, guided: Any) -> None:
        check_model_guide_match(modelled, guided)
        for program, found in (("guide", guided), ("model", modelled)):
            mutable = [name for name, site in found.items() if site["type"] == "mutable"]
            if mutable:
                raise NotImplementedError(MUTABLE.format(names=f"; the {program} has {', '.join(mutable)}"))
            asked = [site["name"] for site in _sample_sites(found) if site["infer"].get("enumerate")]
            if asked:
                raise ValueError(ENUMERATED.format(names=", ".join(asked), program=program, name=asked[0]))
        known = list(dict.fromkeys(site["name"] for site in (*_drawn(guided), *_drawn(modelled))))
        unknown = [name for name in self.estimators if name not in known]
        if unknown:
            raise ValueError(UNKNOWN_SITES.format(names=", ".join(unknown), known=", ".join(known) or "none"))


def _sample_sites(found: Any) -> list[Any]:
    return [site for site in found.values() if site["type"] == "sample"]


def _drawn(found: Any) -> list[Any]:
    return [site for site in _sample_sites(found) if not site["is_observed"]]


def _term(site: Any, *, choice: bool = False) -> Array:
    """Scale times log-probability, element by element; without the derivative of mean 0 where the site is a choice of its own."""
    given = (site["intermediates"],) if site["intermediates"] else ()
    log_prob = off_ties(site["fn"]).log_prob(site["value"], *given)
    if choice:
        log_prob = log_prob + jnp.expm1(jax.lax.stop_gradient(log_prob) - log_prob)
    return log_prob if site["scale"] is None else site["scale"] * log_prob
