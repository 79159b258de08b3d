"""Mixtures: a component is chosen, and draws.   p(x) = sum_k w_k p_k(x)

    score       log p by logsumexp; at a weight of exactly 0 as well, where d log p / dw_k = p_k / p
    sum         sum_k w_k sum_i v_ki f(x_ki), over the points of the components
    path        dx = sum_k w_k p_k / p dx_k - sum_k F_k dw_k / p              (figurnov2018, for draws of one number)

The path keeps the part of the mixture that is below the draw; dx_k is how a draw of component k at x would move (``_paths``). As
sum_k dw_k = 0, F_k may be F_k - 1: of the two the one with more digits is taken.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._surrogate import nan_with
from jax_scorefn._trees import is_float, stop, take_rows
from jax_scorefn.distributions._base import Distribution, distribution
from jax_scorefn.distributions._categorical import Categorical
from jax_scorefn.distributions._categories import logits_of, probs_and_logs
from jax_scorefn.distributions._fields import LogWeights, Weights, confine
from jax_scorefn.distributions._grids import Grid, refuse_above
from jax_scorefn.distributions._paths import has_path, names_with_path, on_path, tails, velocity
from jax_scorefn.noise import uniform
from jax_scorefn.typing import Array, Capability, Key, PyTree

NOT_COMPONENTS = (
    "Mixture wants components= as one distribution of jax_scorefn whose fields have a leading axis of K (as one that is made under "
    "jax.vmap has), or as a list of K distributions; with K = {size} weights it got {given}."
)
WEIGHTS = (
    "Mixture wants {field} of shape (K,); they have shape {shape}. A batch of mixtures is jax.vmap over a function that makes one, "
    "and a product of independent mixtures is a Joint."
)
DRAWS_DIFFER = (
    "The components of a Mixture draw the same kind of thing: one structure, one shape, one dtype, and all of them discrete or all of "
    "them continuous; these draw {given}."
)
NO_PATH = (
    "A draw of a Mixture of {kind} was differentiated in its parameters, along which it has no path: that takes components of one "
    "kind whose draw is one number, of {kinds}. Use a score-function estimator (sf.score_function), or stop the parameters that go "
    "into the draw with jax.lax.stop_gradient."
)
PER_COMPONENT = Capability.LOG_PROB | Capability.SAMPLE | Capability.MOMENTS | Capability.QUADRATURE
"""What a mixture can do where all its components can."""


@distribution()
class Mixture(Distribution):
    """One of K components is chosen by weight, and makes the whole draw.

    Args:
      logits: unnormalised log-weights, shape ``(K,)``; -inf leaves a component out; or
      probs: unnormalised weights; one of the two is given, not both. Derivatives at a weight of 0 are right.
      components: one distribution whose fields have a leading axis of K, as ``Normal(loc=means, scale=1.0)`` or one that is made
        under ``jax.vmap``; or a list of K distributions, of one kind or several, whose draws are alike.

    The components are distributions of a whole draw: those with fields of shape ``(K, D)`` make draws of D coordinates which are all
    of one component. For D independent mixtures take a ``Joint`` of D.

    A draw is that of component ``Categorical(...).from_uniform(u)``: the first uniform chooses, and the rest are the component's,
    where components are made of uniforms. Where they are not, it is ``Categorical.sample`` of the first key of
    ``jax.random.split(key)``, and the component's ``sample`` of the second. A list makes K draws and takes one.

    Draws of one number are reparameterized, to the second order, where the components are of one kind that knows how much of it is
    below a number, as Normal and Gamma do (figurnov2018; what is raised where they are not names all these kinds). The derivative in
    the weights is carried by draws between the components: where these are so far apart that there are none, ``pathwise`` misses it,
    and its standard error does not show it. Score the draw, or sum over the component (``sf.sample(key, sf.Categorical(...),
    estimator="exact")``).

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> @sf.family
      ... def two(p):
      ...     return sf.Mixture(logits=p["logits"], components=sf.Normal(loc=p["loc"], scale=jnp.ones(2)))
      >>> params = {"logits": jnp.array([0.0, 1.0]), "loc": jnp.array([-1.0, 2.0])}
      >>> for name, g in sf.exact_grad(lambda x: x**2, two, params).items():
      ...     print(name, " ".join(f"{value:.3f}" for value in g))
      loc -0.538 2.924
      logits -0.590 0.590
    """

    components: Any
    logits: LogWeights = None
    probs: Weights = None

    def _log_weights(self) -> Array:
        """Of shape (K,), unnormalised, with K components there."""
        logits = logits_of(self)
        if logits.ndim != 1:
            raise ValueError(WEIGHTS.format(field="logits" if self.probs is None else "probs", shape=logits.shape))
        size, of = logits.shape[0], self.components
        if isinstance(of, Distribution):
            shapes = [np.shape(leaf) for leaf in jax.tree.leaves(of)]
            if any(shape[:1] != (size,) for shape in shapes):
                given = f"one {of.name} with fields of shapes {shapes}"
                raise ValueError(NOT_COMPONENTS.format(size=size, given=given))
            for name, domain in of.domains.items():  # under vmap a number is not known, and could not be told
                if (field := getattr(of, name)) is not None and name not in of.static:
                    confine(of, name, jnp.asarray(field), domain, given=field)
        elif not (isinstance(of, list | tuple) and len(of) == size and all(isinstance(c, Distribution) for c in of)):
            given = f"{len(of)} of them" if isinstance(of, list | tuple) else _checks.describe(of)
            raise (ValueError if isinstance(of, list | tuple) else TypeError)(
                NOT_COMPONENTS.format(size=size, given=given)
            )
        return logits

    def _weights(self) -> tuple[Array, Array]:
        """Normalised, and their logarithms."""
        return probs_and_logs(self, self._log_weights())

    @property
    def _choice(self) -> Categorical:
        return Categorical(logits=self.logits, probs=self.probs)

    @property
    def _one(self) -> list[Distribution]:
        """One distribution for each kind of component; of a batch its first one."""
        if isinstance(self.components, Distribution):
            return [jax.tree.map(lambda leaf: leaf[0], self.components)]
        return list(self.components)

    def _each(self, one: Callable[..., PyTree], *beside: Any) -> PyTree:
        """``one(component)`` of every component, on a leading axis; ``beside`` are more of the structure of the components."""
        if isinstance(self.components, Distribution):
            return jax.vmap(one)(self.components, *beside)
        rows = [one(*row) for row in zip(self.components, *beside, strict=True)]
        kinds = {str(jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), row)) for row in rows}
        if len(kinds) > 1:
            raise TypeError(DRAWS_DIFFER.format(given=", ".join(sorted(kinds))))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)

    @property
    def capabilities(self) -> Capability:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What all components can do; a path for draws of one number, and a support where they share it."""
        self._log_weights()
        parts = self._one
        shared = functools.reduce(operator.and_, (part.capabilities for part in parts))
        some = functools.reduce(operator.or_, (part.capabilities for part in parts))
        if Capability.SUPPORT in some and (Capability.QUADRATURE | Capability.REPARAMETERIZED) & some:
            raise TypeError(DRAWS_DIFFER.format(given=", ".join(part.name for part in parts)))
        found = shared & PER_COMPONENT
        if _alike(parts):
            found |= shared & (Capability.SUPPORT | Capability.FINITE)
        if Capability.FROM_UNIFORM in shared and len({str(part.uniform_like()) for part in parts}) == 1:
            found |= Capability.FROM_UNIFORM
        if len({type(part) for part in parts}) == 1 and has_path(parts[0]):
            sizes = {math.prod(np.shape(leaf)) for part in parts for leaf in jax.tree.leaves(part)}
            found |= Capability.REPARAMETERIZED if sizes == {1} else Capability(0)
        return found

    @property
    def normalized(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every component has its constant."""
        return all(part.normalized for part in self._one)

    def log_prob(self, x: PyTree) -> Array:
        """Log of the sum of the components' densities by weight: a float scalar."""
        return log_mixed(*self._weights(), self._each(lambda component: component.log_prob(x)))

    def uniform_like(self) -> Any:
        """A uniform that chooses the component, and those of the component."""
        return self._choice.uniform_like(), self._one[0].uniform_like()

    def from_uniform(self, u: Any) -> PyTree:
        return self._moving(
            lambda still: still._drawn(still._choice.from_uniform(u[0]), lambda c: c.from_uniform(u[1]))
        )

    def sample(self, key: Key) -> PyTree:
        if Capability.FROM_UNIFORM in self.capabilities:
            return self.from_uniform(uniform(key, self.uniform_like()))
        key_choice, key_draw = jax.random.split(key)
        return self._moving(
            lambda still: still._drawn(still._choice.sample(key_choice), lambda c: c.sample(jax.random.clone(key_draw)))
        )

    def _drawn(self, chosen: Array, draw: Callable[[Distribution], PyTree]) -> PyTree:
        if isinstance(self.components, Distribution):
            x = draw(take_rows(self.components, chosen))
        else:
            x = take_rows(self._each(draw), chosen)
        w = self._weights()[0]  # the number of a component is a number whatever they are
        return jax.tree.map(lambda leaf: nan_with(leaf, w) if is_float(leaf) else leaf, x)

    def _moving(self, draw: Callable[[Mixture], PyTree]) -> PyTree:
        """The draw of a mixture that stands still, put on its path; without one it raises when it is differentiated."""
        if Capability.REPARAMETERIZED in self.capabilities:
            whole = jax.tree.map(lambda leaf: float(leaf) if isinstance(leaf, int) else leaf, self)
            return on_path(_velocity, stop(draw(stop(self))), whole)
        kind, kinds = (
            " and ".join(sorted({part.name for part in self._one})),
            ", ".join(sorted(names_with_path(Distribution))),
        )
        return draw(guard(self, order=0, message=NO_PATH.format(kind=kind, kinds=kinds)))

    def mean(self) -> PyTree:
        w = self._weights()[0]
        return jax.tree.map(lambda m: jnp.tensordot(w, m, axes=1), self._each(lambda component: component.mean()))

    def covariance_times(self, v: PyTree) -> PyTree:
        """Within the components and between them: sum_k w_k (C_k v + d_k d_k^T v), d_k the distance of mean k to the mean."""
        w, mean = self._weights()[0], self.mean()
        within = self._each(lambda component: component.covariance_times(v))
        apart = jax.tree.map(lambda m, center: m - center[None], self._each(lambda component: component.mean()), mean)
        along = [jnp.tensordot(d, u, axes=u.ndim) for d, u in zip(*map(jax.tree.leaves, (apart, v)), strict=True)]
        between = w * functools.reduce(operator.add, along)
        return jax.tree.map(lambda c, d: jnp.tensordot(w, c, axes=1) + jnp.tensordot(between, d, axes=1), within, apart)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """The support that the components share; or the nodes of all of them."""
        options = {"num_nodes": num_nodes, "max_value": max_value, "max_points": max_points}
        w, shares = self._weights()[0], Capability.SUPPORT in self.capabilities
        if isinstance(self.components, Distribution) or shares:
            grids = self._each(lambda component: component.grid(**options))
            sizes = [grids.weights.shape[1]] * w.shape[0]
            if shares:
                points = jax.tree.map(lambda leaf: leaf[0], grids.points)
                log_probs = jax.vmap(log_mixed, (None, None, 1))(*self._weights(), grids.log_probs)
                return Grid(points, log_probs, w @ grids.weights)
            whole = jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:])), grids)
        else:
            parts = [component.grid(**options) for component in self.components]
            sizes = [part.weights.shape[0] for part in parts]
            whole = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
        refuse_above(max_points, self.name, sum(sizes), f"{len(sizes)} components")
        owner = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        return Grid(
            whole.points, jax.vmap(self.log_prob)(whole.points), take_rows(w, jnp.asarray(owner)) * whole.weights
        )


def _velocity(x: Array, mixture: Mixture, moved: Mixture) -> Array:
    """The derivative of a draw at x, for the tangent of all the fields."""
    of_each = mixture._each(functools.partial(velocity, x), moved.components)
    below, above = mixture._each(functools.partial(tails, x))
    log_probs, log_prob = mixture._each(lambda component: component.log_prob(x)), mixture.log_prob(x)
    w, dw = jax.jvp(lambda m: m._weights()[0], (mixture,), (moved,))
    pinned = jnp.isinf(log_prob)  # a draw that has rounded to an end stays there
    share = w * jnp.where(pinned, 0, jnp.exp(_in_range(log_probs - log_prob)))
    column = lambda row: row.reshape((-1,) + (1,) * x.ndim)
    part = jnp.where(stop(jnp.sum(column(w) * below)) < 0.5, below, -above)
    per = jnp.where(pinned, 0, jnp.exp(-log_prob))
    return jnp.sum(column(share) * of_each - column(dw) * part * per, axis=0)


def _alike(parts: list[Distribution]) -> bool:
    """Whether they differ in the numbers of their fields alone."""
    shapes = lambda part: [np.shape(leaf) for leaf in jax.tree.leaves(part)]
    return len({str(jax.tree.structure(part)) for part in parts}) == 1 and all(
        shapes(part) == shapes(parts[0]) for part in parts
    )


def _in_range(log_ratio: Array) -> Array:
    """Log of a density over that of the mixture, which is at most 1 / w_k: what is above belongs to no weight that a float holds."""
    return jnp.minimum(log_ratio, float(np.log(jnp.finfo(log_ratio.dtype).max)) - 1)


def log_mixed(w: Array, log_w: Array, log_probs: Array) -> Array:
    """Log sum_k w_k p_k of arrays (K,). A weight of 0 has a logarithm without a derivative, and adds its own as log1p(w_k p_k / p)."""
    terms = log_w + log_probs
    nowhere = jnp.all(terms == -jnp.inf)
    base = jax.nn.logsumexp(jnp.where(nowhere, 0, terms))
    nothing = w == 0
    ratio = jnp.where(nothing, jnp.exp(_in_range(log_probs - base)), 0)
    return jnp.where(nowhere, -jnp.inf, base + jnp.log1p(jnp.sum(jnp.where(nothing, w, 0) * ratio)))
