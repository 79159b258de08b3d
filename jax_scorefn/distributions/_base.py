"""The distribution of one whole draw.

A distribution knows ``sample(key)``, ``log_prob(x)`` (a scalar, whatever the shape of a draw) and what else it can do
(``capabilities``). Parameters of shape ``(D,)`` make one draw of D independent coordinates, whose log-probabilities are
summed; a batch of problems is ``jax.vmap`` over a function that builds the distribution of one.

Where a draw is a function of a fixed number of uniforms the distribution says so: ``uniform_like()`` gives their shape and
``from_uniform(u)`` makes the draw. That is all there is to sampling: ``sample(key)`` is ``from_uniform`` of the numbers of
``jax.random.uniform(key, ...)``, and with them makes the draw of ``jax.random``'s own sampler. (A distribution of rare events asks
for more digits of the small ones: see ``_uniforms.Fine``.)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from jax_scorefn import _checks
from jax_scorefn._guards import guard
from jax_scorefn._trees import stop
from jax_scorefn.distributions._alternatives import Alternative
from jax_scorefn.distributions._constructors import by_position_too
from jax_scorefn.distributions._fields import Domain, broadcast_fields, domains_of, float_fields, is_array
from jax_scorefn.distributions._grids import Grid, product_grid
from jax_scorefn.distributions._views import BinaryView, CategoricalView, WeakDerivative, binary_view
from jax_scorefn.noise import uniform
from jax_scorefn.typing import EVERY_ORDER, Array, Capability, Key, PyTree

T = TypeVar("T")
NOT_THERE = "{dist} has no {method}(); it has {given}."
NO_ENTROPY = (
    "No closed form is known for the entropy of {dist}. Estimate it by sf.expectation of the log-ratio, -dist.log_prob(x) at "
    "x = sf.sample(key, dist)."
)
NO_KL = (
    "No closed form is known for the relative entropy of {p} to {q}. Estimate it by sf.expectation of the log-ratio, "
    "p.log_prob(x) - q.log_prob(x) at x = sf.sample(key, p)."
)
CORNER = (
    "A parameter of {dist} was differentiated twice through its log-probability. The density has a corner, which moves with loc, "
    "and a second derivative of the log-density lacks what is in it. Use pathwise, where f is smooth, or derivatives of first order."
)
TOO_MANY_NODES = "num_nodes={num_nodes} is more than this quadrature can be computed for in float64: take fewer nodes."


@dataclass_transform(frozen_default=True)
def distribution(*, static: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Class decorator: a frozen dataclass, registered as a pytree whose ``static`` fields are metadata.

    A static field that holds an array is a leaf all the same. Made again of its leaves, whatever they are, a distribution is not
    made by its constructor.
    """

    def register(cls: type[T]) -> type[T]:
        cls = dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
        by_position_too(cls)
        names = [field.name for field in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
        cls.domains, cls.static = domains_of(cls), static  # pyright: ignore[reportAttributeAccessIssue]

        def split(x: T) -> tuple[list[str], Any]:
            fixed = tuple((name, getattr(x, name)) for name in static if not is_array(getattr(x, name)))
            return [name for name in names if name not in dict(fixed)], fixed

        def flatten(x: T) -> tuple[list[Any], Any]:
            leaves, fixed = split(x)
            return [getattr(x, name) for name in leaves], (tuple(leaves), fixed)

        def flatten_with_keys(x: T) -> tuple[list[Any], Any]:
            leaves, fixed = split(x)
            return [(jax.tree_util.GetAttrKey(name), getattr(x, name)) for name in leaves], (tuple(leaves), fixed)

        def unflatten(aux: Any, leaves: Any) -> T:
            x = object.__new__(cls)
            for name, value in (*zip(aux[0], leaves, strict=True), *aux[1]):
                object.__setattr__(x, name, value)
            return x

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return cls

    return register


class Distribution:
    """Base of the distributions: what is common to all of them. Subclasses are frozen dataclasses and pytrees.

    A distribution of one's own needs ``log_prob``, and ``sample`` or else ``uniform_like`` and ``from_uniform``. What it can do is
    read off the methods that it defines; what no method tells (that draws are reparameterized, that a grid is a whole support, and
    finite, or a quadrature, that choices can be relaxed) it says in ``also``.

    Raises:
      NotImplementedError: by a method that a distribution does not have.

    Example:
      >>> import jax, jax.numpy as jnp, jax_scorefn as sf
      >>> class Pareto(sf.Distribution):  # density a / x^(a + 1) above 1
      ...     also = sf.Capability.REPARAMETERIZED
      ...     def __init__(self, a):
      ...         self.a = a
      ...     def uniform_like(self):
      ...         return jax.ShapeDtypeStruct((), jnp.result_type(float))
      ...     def from_uniform(self, u):
      ...         return (1 - u) ** (-1 / self.a)
      ...     def log_prob(self, x):
      ...         return jnp.log(self.a) - (self.a + 1) * jnp.log(x)
      >>> grad = lambda key: sf.pathwise_grad(lambda x: 1 / x, sf.family(Pareto), 3.0, key)
      >>> g = sf.testing.replicate(grad, jax.random.key(0), 1000)
      >>> print(f"{g.mean():.4f} +- {g.std() / 1000**0.5:.4f}  (exact {1 / 16:.4f})")  # of a / (a + 1)
      0.0625 +- 0.0001  (exact 0.0625)
    """

    also: ClassVar[Capability] = Capability(0)
    """What it can do beside what its methods show."""
    capabilities: ClassVar[Capability] | property = Capability(0)
    """All that it can do. A class that says it itself is taken at its word, and so are its subclasses."""
    _says_all: ClassVar[bool] = False
    normalized: ClassVar[bool] | bool = True  # pyright: ignore[reportRedeclaration]
    """Whether ``log_prob`` has its constant; without it estimators normalise by the draws."""
    domains: ClassVar[dict[str, Domain]] = {}
    """What each parameter may be."""
    static: ClassVar[tuple[str, ...]] = ()
    """Fields that are metadata of the pytree, where they hold no array."""
    by_name: ClassVar[bool] = False
    """Whether libraries differ in the order of its parameters, so that they may be given by name alone."""
    rates_tell_all: ClassVar[bool] = False
    """Whether the rates of alternatives depend on all that a draw depends on, but for its uniforms."""

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        cls._says_all = cls._says_all or "capabilities" in vars(cls)
        if not cls._says_all:
            cls.capabilities = declared(cls)

    @property
    def name(self) -> str:
        """The distribution's name in messages."""
        return type(self).__name__

    def _fields(self) -> tuple[Array, ...]:
        """Parameters as float arrays in their domains. The first has the shape of a draw, of categories with an axis of them.

        A distribution whose draws have no one shape has none.
        """
        return ()

    def _lacks(self, method: str) -> NotImplementedError:
        given = _checks.name_of(self.capabilities)
        return NotImplementedError(NOT_THERE.format(dist=self.name, method=method, given=given))

    def sample(self, key: Key) -> PyTree:
        """One draw. Differentiable in the parameters where the distribution is reparameterized."""
        if Capability.FROM_UNIFORM not in self.capabilities:
            raise self._lacks("sample")
        return self.from_uniform(uniform(key, self.uniform_like()))

    def log_prob(self, x: PyTree) -> Array:
        """Log-density (log-mass for discrete distributions) of one whole draw: a float scalar."""
        raise self._lacks("log_prob")

    def sample_and_log_prob(self, key: Key) -> tuple[PyTree, Array]:
        """One draw, stopped, and its log-probability, whose derivative in the parameters is the score."""
        x = stop(stop(self).sample(key))
        return x, self.log_prob(x)

    def sample_and_log_probs(self, key: Key) -> tuple[PyTree, Array]:
        """One draw, stopped, and log-probabilities that sum to its own: one for each independent part of the draw.

        Their axes are the first axes of the draw. Here there is one part, the whole.
        """
        return self.sample_and_log_prob(key)

    def _log_probs(self, x: PyTree) -> Array:
        """Those of a draw that is given."""
        return self.log_prob(x)

    def uniform_like(self) -> Any:
        """Shape and dtype of the uniforms that make one draw (a ``jax.ShapeDtypeStruct``)."""
        raise self._lacks("uniform_like")

    def from_uniform(self, u: Any) -> PyTree:
        """The draw that uniforms in [0, 1) make."""
        raise self._lacks("from_uniform")

    def from_uniform_and_log_prob(self, u: Any) -> tuple[PyTree, Array]:
        """The draw that uniforms make, stopped, and its log-probability: ``sample_and_log_prob`` for uniforms."""
        x = stop(stop(self).from_uniform(u))
        return x, self.log_prob(x)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Points that stand for the distribution: its whole support, or quadrature nodes."""
        raise self._lacks("grid")

    def limited(self, *, order: float, message: str) -> Distribution:
        """The same distribution, which raises when it is differentiated more often: in its leaves, or, where one of them is an object
        that is no pytree, in what its methods return.
        """
        if order == EVERY_ORDER:
            return self
        limit = functools.partial(guard, order=order, message=message)
        is_opaque = any(is_distribution(leaf) for leaf in jax.tree.leaves(self))
        return cast(Distribution, Limited(self, limit)) if is_opaque else limit(self)

    def mean(self) -> PyTree:
        """E[x], floats in the structure of a draw."""
        raise self._lacks("mean")

    def covariance_times(self, v: PyTree) -> PyTree:
        """The covariance matrix times a vector, which has the structure of a draw, as has the result."""
        raise self._lacks("covariance_times")

    def mode(self) -> PyTree:
        """The likeliest draw, stopped."""
        raise self._lacks("mode")

    def entropy(self) -> Array:
        """E[-log p(x)], a float scalar, in nats: differentiable in the parameters, where a closed form is known."""
        raise NotImplementedError(NO_ENTROPY.format(dist=self.name))

    def _kl_to(self, other: Any) -> Array:
        """Relative entropy to another distribution of the class, whose first field has the same shape (see ``kl``)."""
        raise NotImplementedError(NO_KL.format(p=self.name, q=other.name))

    def bits(self) -> BinaryView:
        """The distribution as independent bits: its choices, where each is between two."""
        return binary_view(self.choices())

    def choices(self) -> CategoricalView:
        """The distribution as independent choices among finitely many categories."""
        raise self._lacks("choices")

    def alternative(self, u: Array, v: Array) -> Alternative:
        """The draw that a uniform makes for each independent part, beside another value of it, for which there is one more uniform."""
        raise self._lacks("alternative")

    def weak_derivative(self) -> WeakDerivative:
        """The distribution as scalar parameters, each with two distributions whose difference is the derivative in it."""
        raise self._lacks("weak_derivative")


SHOWN = {
    Capability.LOG_PROB: ("log_prob",),
    Capability.SAMPLE: ("sample",),
    Capability.FROM_UNIFORM: ("from_uniform", "uniform_like"),
    Capability.MOMENTS: ("mean", "covariance_times"),
    Capability.MODE: ("mode",),
    Capability.BITS: ("bits",),
    Capability.CHOICES: ("choices",),
    Capability.ALTERNATIVE: ("alternative",),
    Capability.WEAK_DERIVATIVE: ("weak_derivative",),
}
"""Capabilities that are methods."""


SMOOTH = Capability.REPARAMETERIZED | Capability.QUADRATURE
"""Of continuous distributions."""


def declared(cls: type[Distribution]) -> Capability:
    """What a class can do: what it defines, and what it says beside that."""
    found = cls.also
    for flag, names in SHOWN.items():
        if all(getattr(cls, name) is not getattr(Distribution, name) for name in names):
            found |= flag
    return found | Capability.SAMPLE if Capability.FROM_UNIFORM in found else found


def is_distribution(x: Any) -> bool:
    """Whether an object can be drawn from and scored."""
    return not isinstance(x, type) and callable(getattr(x, "sample", None)) and callable(getattr(x, "log_prob", None))


class Limited:
    """A distribution that JAX cannot see into, whose answers are limited."""

    def __init__(self, dist: Distribution, limit: Callable[[PyTree], PyTree]):
        self._dist, self._limit = dist, limit

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._dist, name)
        return (
            functools.wraps(found)(lambda *args, **options: self._limit(found(*args, **options)))
            if callable(found) and name != "uniform_like"  # which speaks of shapes
            else found
        )


class Independent(Distribution):
    """A distribution of independent parts of one kind: coordinates, choices, rows."""

    rates_tell_all = True

    def _log_prob(self, x: Array) -> Array:
        """Log-probability of each part."""
        raise NotImplementedError

    def _scored(self, u: Array) -> tuple[Array, Array]:
        """The draw that uniforms make, stopped, and the log-probability of each part."""
        x = stop(stop(self).from_uniform(u))
        return x, self._log_prob(x)

    def _log_probs(self, x: Array) -> Array:
        return self._log_prob(x)

    def log_prob(self, x: Array) -> Array:
        """Sum of the log-probabilities of the parts: a float scalar."""
        first, x = self._fields()[0], jnp.asarray(x)
        if Capability.REPARAMETERIZED in self.capabilities and not jnp.issubdtype(x.dtype, jnp.floating):
            x = x.astype(first.dtype)
        return jnp.sum(self._log_prob(jnp.broadcast_to(x, first.shape)))

    def sample_and_log_probs(self, key: Key) -> tuple[Array, Array]:
        """One draw, stopped, and the log-probability of each part."""
        if type(self).sample is Distribution.sample:
            return self._scored(uniform(key, stop(self).uniform_like()))
        x = stop(stop(self).sample(key))
        return x, self._log_prob(x)

    def sample_and_log_prob(self, key: Key) -> tuple[Array, Array]:
        x, log_probs = self.sample_and_log_probs(key)
        return x, jnp.sum(log_probs)

    def from_uniform_and_log_prob(self, u: Array) -> tuple[Array, Array]:
        x, log_probs = self._scored(u)
        return x, jnp.sum(log_probs)


class Elementwise(Independent):
    """A distribution of independent coordinates, all of one kind: parameters broadcast together to the shape of a draw.

    They are broadcast when it is made, so a distribution made under ``jax.vmap`` is one of all the coordinates when it comes out.
    """

    def __post_init__(self):
        broadcast_fields(self)

    def _fields(self) -> tuple[Array, ...]:
        """The parameters that decide the shape of a draw, as float arrays of that one shape."""
        return float_fields(self, *(name for name in self.domains if name not in self.static))

    def _nodes(self, number: Any) -> tuple[Array, dict[str, Array]]:
        """Nodes for each coordinate, shape ``(n, *event)``, and what is known of their weights (see ``product_grid``).

        So many of a quadrature; of a support all up to that value, which is None where nobody has said it.
        """
        raise NotImplementedError

    def _variance(self) -> tuple[Array | float, Array | float]:
        """Variance of each coordinate, as a scale and a number that it takes times the scale's square."""
        raise NotImplementedError

    def _entropy(self) -> Array:
        """Entropy of each coordinate."""
        raise NotImplementedError(NO_ENTROPY.format(dist=self.name))

    def _kl(self, other: Any) -> Array:
        """Relative entropy of each coordinate to that of another distribution of the class."""
        raise NotImplementedError(NO_KL.format(p=self.name, q=other.name))

    def entropy(self) -> Array:
        return jnp.sum(self._entropy())

    def _kl_to(self, other: Any) -> Array:
        return jnp.sum(self._kl(other))

    def covariance_times(self, v: Array) -> Array:
        scale, ratio = self._variance()
        return scale * (ratio * (scale * v))  # the square may be out of range where this is not

    def uniform_like(self) -> jax.ShapeDtypeStruct:
        """One uniform for each coordinate."""
        first = self._fields()[0]
        return jax.ShapeDtypeStruct(first.shape, first.dtype)

    def grid(self, *, num_nodes: int = 32, max_value: int | None = None, max_points: int = 2**16) -> Grid:
        """Product over the coordinates of the points of each."""
        nodes, weights = self._nodes(max_value if Capability.SUPPORT in self.capabilities else num_nodes)
        nodes = jax.lax.stop_gradient(nodes)
        return product_grid(self.name, nodes, self._log_prob(nodes), max_points, **weights)


def scale_uniform(u: Array, low: float, high: float) -> Array:
    """Uniforms in [0, 1) spread over [low, high), by the arithmetic of ``jax.random.uniform(minval=, maxval=)``."""
    low_, high_ = np.asarray(low, u.dtype), np.asarray(high, u.dtype)
    return jnp.maximum(low_, u * (high_ - low_) + low_)


def column(nodes: np.ndarray, like: Array) -> Array:
    """A list of n numbers as an array ``(n, *shape)`` with the shape and dtype of ``like`` behind it."""
    if not np.all(np.isfinite(nodes)):
        raise ValueError(TOO_MANY_NODES.format(num_nodes=len(nodes)))
    return jnp.broadcast_to(jnp.asarray(nodes, like.dtype).reshape((-1,) + (1,) * like.ndim), (len(nodes), *like.shape))
