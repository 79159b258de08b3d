"""What is refused, and the words it is refused with. Every check runs when a function is traced, on shapes and dtypes alone."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_scorefn._trees import is_inexact, to_float
from jax_scorefn._users_code import OF_A_DRAW, noted
from jax_scorefn.typing import Array, Capability, PyTree

NOT_A_FAMILY = """{name} needs a family as its second argument, not {given}. Make one with sf.family:
  sf.family(dist_fn)                                    # dist_fn(params) returns a distribution of one draw
  sf.family(log_prob=log_prob, sampler=sampler)         # log_prob(params, x) and sampler(key, params)
  sf.family(log_prob=log_prob, samples=xs)              # draws made elsewhere, on the leading axis
  sf.family(log_prob=log_prob, support=xs)              # a finite set of values, on the leading axis
  sf.family(log_prob=log_prob)                          # a density alone, with draws from proposal="""
NOT_A_FORM = """sf.family takes one of these forms; it got {given}.
  sf.family(dist_fn)                                    # dist_fn(params) returns a distribution of one draw
  sf.family(log_prob=log_prob, sampler=sampler)         # log_prob(params, x) and sampler(key, params)
  sf.family(log_prob=log_prob, samples=xs)              # draws made elsewhere, on the leading axis (log_proposal= goes here)
  sf.family(log_prob=log_prob, support=xs)              # a finite set of values, on the leading axis
  sf.family(log_prob=log_prob)                          # a density alone, with draws from proposal="""
UNKNOWN_OPTION = "{name} has no option {given}. Its options: {options}."
NOT_CALLABLE = "{name} needs a function of one draw as its first argument, not {given}."
NO_FLOAT_PARAMS = (
    "The parameters have no floating-point leaf (leaves: {leaves}), so there is nothing to differentiate. "
    "Pass the parameters as floats, for instance jnp.asarray(params, dtype=float)."
)
NO_KEY = "{name} draws at random and needs a key, not None: pass jax.random.key(seed)."
NOT_A_FLAG = "{name} is True or False, not {given}."
BAD_KEY = (
    "A key is one jax.random.key(seed) (or one legacy uint32 key of jax.random.PRNGKey), not {given}. "
    "For a batch of keys map over them: jax.vmap(lambda key: ...)(keys)."
)
NOT_POSITIVE_INT = "{option} is {kind} (it has to be known before anything is traced), not {given!r}."
BAD_DECAY = "{name} wants a decay in [0, 1); it got {given!r}."
WRONG_NUM_SAMPLES = (
    "The family holds {number} given draws and num_samples={given} was asked for. Leave num_samples out, or give the "
    "family the draws that are wanted."
)
MISSING_CAPABILITY = "{estimator} needs a distribution that has {wanted}; {dist} has {given}. {instead}"
NO_ESTIMATOR = "No estimator can draw from it: pass score_function a proposal=, a distribution to draw from instead."
NO_OTHER = "No other estimator of {what} works with it."
CAPABILITY_WORDS = {
    Capability.LOG_PROB: "a log-probability",
    Capability.SAMPLE: "a sampler",
    Capability.GIVEN_DRAWS: "given draws",
    Capability.REPARAMETERIZED: "reparameterized draws",
    Capability.FROM_UNIFORM: "draws made from uniforms",
    Capability.SUPPORT: "a support that can be listed",
    Capability.QUADRATURE: "a quadrature",
    Capability.MOMENTS: "a known mean and covariance",
    Capability.MODE: "a known mode",
    Capability.BITS: "independent bits",
    Capability.FINITE: "a finite support",
    Capability.CHOICES: "independent choices",
    Capability.RELAXED: "draws with something between them (Bernoulli, OneHotCategorical)",
    Capability.ALTERNATIVE: "alternatives to a draw",
    Capability.WEAK_DERIVATIVE: "a weak derivative",
}
BAD_VALUE = (
    "f must return one real array of a fixed shape for one draw (for E[f] it may be complex), not {given}. Several results: stack "
    "them in an array, or call the estimator once for each with the same key."
)
NOT_SCALAR_VALUE = (
    "The gradient forms need f to return a scalar for one draw; it returned shape {shape}. Sum or average it inside f, "
    "or use jax.jacobian of the estimator itself."
)
COMPLEX_VALUE = (
    "The gradient forms differentiate a real number, and f returned {dtype}. For the gradient of the real part return jnp.real(...) "
    "from f, or differentiate jnp.real of the estimator itself."
)
OWN_DENSITY = (
    "{f} asks for log q, the density of the family at the parameters that {name} was given, and {name} subtracts log q itself: it "
    "would count twice. Give {f} as the log of the target alone, log p(x, data). For log p - log q as it stands there are pathwise "
    "and score_function. If q is a part of the target, make another family of the same function, and ask that."
)
LOG_PROB_SHAPE = (
    "The log-probability of one draw must be a scalar; {dist} returned shape {shape}. If the draw is one event with "
    "several parts, make it an event: our own distributions sum over their parameters' shape; otherwise distrax.Independent, "
    "tfd.Independent, or .to_event(n) in NumPyro. If it is a batch of problems, write the distribution of one and use jax.vmap."
)
LOG_PROB_DTYPE = "The log-probability of one draw must be a real float; {dist} returned {dtype}."
FLOAT_PARAMETER = "{dist} got {field} of dtype {dtype}; its parameters are real floats."
ONE_OF_TWO = "{dist} takes {first} or {second}, one of the two and not both."
TOO_FEW_FOR_BASELINE = (
    "The baseline {baseline} needs at least {wanted} draws and got {given}: raise num_samples, or pass baseline=None."
)
TOO_FEW_GROUPS_FOR_BASELINE = (
    "The baseline {baseline} needs at least {wanted} groups of draws, and there are {given} of {size}: the draws of a group depend "
    "on each other, so a baseline is made of the other groups. Raise num_samples, or pass baseline=None."
)
BAD_BASELINE = (
    "A baseline is a member of sf.baselines (leave_one_out, batch_mean, optimal_constant, self_critical, ema(decay).attach(state), "
    "learned(apply).attach(state, context)), a function of the values, or None; not {given}."
)
BASELINE_SHAPE = (
    "The baseline {baseline} returned shape {given} for values of shape {wanted}: return one number for each draw and "
    "element of f, or a shape that broadcasts to it."
)
ORDER = (
    "{name} estimates derivatives up to order {order} and was differentiated once more, which would give a wrong number "
    "without a word. For higher orders use score_function (every order) or exact."
)


def describe(x: Any) -> str:
    """A value in an error message: its dtype and shape if it is an array, else its type and what it prints as."""
    if isinstance(x, jax.Array | np.ndarray):
        return f"an array {x.dtype}{list(x.shape)}"
    kind = next((kind for kind in (bool, int, float) if isinstance(x, kind)), None)  # JAX has subclasses of these
    text = repr(x if kind is None else kind(x))
    name = type(x).__name__ if kind is None else kind.__name__
    return f"{name} ({text if len(text) < 60 else text[:57] + '...'})"


def positive_int(option: str, value: Any, least: int = 1) -> int:
    """A static int that is not too small."""
    kind = {0: "a non-negative Python int", 1: "a positive Python int"}.get(least, f"a Python int, at least {least}")
    message = NOT_POSITIVE_INT.format(option=option, kind=kind, given=value)
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(message) from error
    if isinstance(value, bool):
        raise TypeError(message)
    if number < least:
        raise ValueError(message)
    return number


def decay(name: str, value: Any) -> None:
    """The part of a running mean that is kept: a number, or an array that may be traced."""
    if denies(lambda x: (x >= 0) & (x < 1), value):
        raise ValueError(BAD_DECAY.format(name=name, given=value))


def denies(good: Callable[[np.ndarray], Any], value: Any) -> bool:
    """Whether a number, or one of an array of them, is not ``good``. Of what is traced, and of None, nothing is known."""
    return not (value is None or isinstance(value, Tracer) or np.all(good(np.asarray(value))))


def is_real_scalar(value: Any) -> bool:
    """Whether it is a real number, of Python or in an array without axes."""
    return isinstance(value, int | float) or (getattr(value, "shape", None) == () and jnp.isrealobj(value))


def key(name: str, value: Any) -> None:
    """One typed key or one legacy key."""
    if value is None:
        raise TypeError(NO_KEY.format(name=name))
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        if shape == ():
            return
    elif dtype == jnp.uint32 and shape in ((2,), (4,)):  # as long as a key of one of JAX's generators
        return
    raise TypeError(BAD_KEY.format(given=describe(value)))


def flags(**given: Any) -> None:
    """True or False: another value that Python takes for one of them was meant for something else."""
    for name, value in given.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(NOT_A_FLAG.format(name=name, given=describe(value)))


def params(tree: PyTree) -> None:
    """At least one leaf that can be differentiated."""
    leaves = jax.tree.leaves(tree)
    if not any(is_inexact(leaf) for leaf in leaves):
        raise TypeError(NO_FLOAT_PARAMS.format(leaves=[describe(leaf) for leaf in leaves]))


def value(x: Any, complex_too: bool = False) -> Array:
    """F of one draw, as an array of floats, or of complex numbers where these will do."""
    if not jax.tree_util.all_leaves([x]) or isinstance(x, str):
        raise TypeError(BAD_VALUE.format(given=describe(x)))
    array = jnp.asarray(x)
    inexact = jnp.inexact if complex_too else jnp.floating
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (inexact, jnp.integer, jnp.bool_)):
        raise TypeError(BAD_VALUE.format(given=describe(array)))
    return to_float(array)


def log_prob(dist: Any, x: Any) -> Array:
    """The log-probability of one draw: a float scalar."""
    array = jnp.asarray(x)
    if array.shape != ():
        raise ValueError(LOG_PROB_SHAPE.format(dist=dist.name, shape=array.shape))
    return real_log_prob(dist, array)


def real_log_prob(dist: Any, array: Array) -> Array:
    """A log-probability, or those of several elements: real floats."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(LOG_PROB_DTYPE.format(dist=dist.name, dtype=array.dtype))
    return array


def name_of(capabilities: Capability) -> str:
    """Capabilities in words."""
    return ", ".join(words for flag, words in CAPABILITY_WORDS.items() if flag in capabilities) or "nothing"


def capabilities(estimator: str, dist: Any, needs: tuple[Capability, ...], instead: str) -> None:
    """Each need is a set of alternatives, one of which the distribution must have."""
    for need in needs:
        if not need & dist.capabilities:
            wanted = name_of(need).replace(", ", " or ")
            given = name_of(dist.capabilities)
            raise TypeError(
                MISSING_CAPABILITY.format(
                    estimator=estimator, wanted=wanted, dist=dist.name, given=given, instead=instead
                )
            )


def options(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """No misspelt option."""
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise TypeError(UNKNOWN_OPTION.format(name=name, given=", ".join(unknown), options=", ".join(known)))


def takes_params(f: Callable[..., Any]) -> bool:
    """Whether a function wants two arguments: a draw and the parameters."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # a builtin may not say
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters) == 2


def of_params(name: str, f: Any) -> Callable[[PyTree], Callable[[PyTree], Any]]:
    """``params -> f of one draw``, for an f of a draw, or of a draw and the parameters."""
    if not callable(f):
        raise TypeError(NOT_CALLABLE.format(name=name, given=describe(f)))
    two, f = takes_params(f), noted(f, OF_A_DRAW)
    return (lambda params: lambda x: f(x, params)) if two else (lambda params: f)
