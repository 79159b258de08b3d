"""Sites of a NumPyro function as choices of a program: an effect handler.

z = numpyro.sample("z", dist)     becomes     z = sf.sample(key, dist), each element of its batch a choice of its own
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpyro
from numpyro.distributions import ExpandedDistribution, Independent, MaskedDistribution
from numpyro.primitives import Messenger

from jax_scorefn.programs import sample

NO_KEY = "The choice {name} has no key. Run the function under numpyro.handlers.seed: seed(as_choices(guide), key)."
OUTER_PLATE = (
    "The choice {name} was drawn with the batch shape {drawn}, and a plate or handler outside of as_choices made it {wanted}. Put "
    "as_choices around all of them: as_choices(guide), with the plates inside of the guide."
)
MASK_INSIDE = (
    "The choice {name} has a mask inside of {dist}, so its log-probability is not that of its draw. Mask the whole distribution, "
    "with numpyro.handlers.mask or dist.mask."
)


class as_choices(Messenger):
    """Sites of a NumPyro function as choices of :func:`jax_scorefn.sample`: an effect handler.

    A site that has no value yet is drawn by ``sf.sample`` if ``estimators`` names it, or if its distribution has no reparameterized
    draw. Each element of its batch, of plates and of the distribution's own, is a choice of its own. All other sites stay as they
    are. ``numpyro.handlers.seed`` may stand inside or outside of this handler; plates stand inside. Neither a mask nor a scale
    changes the score of a choice: they are for its log-probability as a cost.

    Args:
      fn: function with NumPyro primitives; None to use it as a context manager.
      estimators: name of a site -> "score_function", "pathwise" or "exact", as in ``sf.sample``.

    Raises:
      ValueError: for a choice without a key, in a plate outside of the handler, or with a mask inside of its distribution.

    Example:
      >>> import jax, numpyro, numpyro.distributions as dist, jax_scorefn as sf
      >>> from jax_scorefn.contrib.numpyro import as_choices
      >>> def model(logit):
      ...     with numpyro.plate("data", 3):
      ...         z = numpyro.sample("z", dist.Bernoulli(logits=logit))
      ...     return (z**2).sum()
      >>> def program(logit, key):
      ...     return numpyro.handlers.seed(as_choices(model), key)(logit)
      >>> g = jax.vmap(jax.grad(sf.expectation(program)), (None, 0))(1.0, jax.random.split(jax.random.key(0), 4000))
      >>> print(f"{g.mean():.2f} +- {g.std() / 4000**0.5:.2f}  (exact 0.59)")
      0.61 +- 0.02  (exact 0.59)
    """

    def __init__(self, fn: Callable[..., Any] | None = None, *, estimators: Mapping[str, str] | None = None):
        self.estimators = dict(estimators or {})
        super().__init__(fn)

    def process_message(self, msg: Any) -> None:
        """Draw a site that is to be a choice."""
        if msg["type"] == "control_flow":  # its functions run in a trace of their own, behind a block
            again = lambda x: as_choices(x, estimators=self.estimators) if callable(x) else x
            msg["args"] = tuple(again(x) for x in msg["args"])
        if msg["type"] != "sample" or msg["value"] is not None:
            return
        estimator = self.estimators.get(msg["name"], None if msg["fn"].has_rsample else "score_function")
        if estimator is None or (estimator == "pathwise" and msg["fn"].has_rsample):
            return
        key = msg["kwargs"]["rng_key"]
        key = numpyro.prng_key() if key is None else key
        if key is None:
            raise ValueError(NO_KEY.format(name=msg["name"]))
        shape = (*msg["kwargs"].get("sample_shape", ()), *msg["fn"].batch_shape)
        msg["value"] = sample(
            key, _unmasked(msg["name"], msg["fn"]).expand(shape), estimator=estimator, name=msg["name"]
        )
        msg["infer"], msg["drawn"] = {**msg["infer"], "choice": estimator}, tuple(msg["fn"].batch_shape)

    def postprocess_message(self, msg: Any) -> None:
        """Was the choice drawn as what it is by now? After a scan it has an axis more."""
        if (
            "drawn" in msg
            and not msg.get("_control_flow_done")
            and (shape := tuple(msg["fn"].batch_shape)) != msg["drawn"]
        ):
            raise ValueError(OUTER_PLATE.format(name=msg["name"], drawn=msg["drawn"], wanted=shape))


def _unmasked(name: str, dist: Any) -> Any:
    """The distribution that a draw comes from; a mask hides it from the costs alone."""

    def bare(dist: Any) -> Any:
        if isinstance(dist, MaskedDistribution | ExpandedDistribution):
            return bare(dist.base_dist).expand(dist.batch_shape)
        if isinstance(dist, Independent):
            return bare(dist.base_dist).to_event(dist.reinterpreted_batch_ndims)
        return dist

    found, masked = bare(dist), lambda x: isinstance(x, MaskedDistribution)
    if any(map(masked, jax.tree.leaves(found, is_leaf=masked))):
        raise ValueError(MASK_INSIDE.format(name=name, dist=type(found).__name__))
    return found
