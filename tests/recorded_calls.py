"""Some 700 calls of the library whose answers are on record: what a change of its structure must leave as it is.

``python tests/recorded_calls.py`` writes ``tests/recorded.json`` anew, for a change that is meant to show in it. An answer is the
number of its floats, their weighted sum, the first ones and the dtypes; a refusal is its type and its words.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import policy_calls
import program_cases
from cases import CASES, LOG_TARGET, REQUIRED, loss_of, params_of

import jax_scorefn as sf
from jax_scorefn import policy_gradient as pg

FILE = pathlib.Path(__file__).with_name("recorded.json")
S = 8
DELTA = sf.control_variates.delta
OPTIONS: dict[str, dict[str, Any]] = {
    "no baseline": {"baseline": None}, "batch mean": {"baseline": sf.baselines.batch_mean},
    "optimal constant": {"baseline": sf.baselines.optimal_constant}, "self-critical": {"baseline": sf.baselines.self_critical},
    "delta": {"control_variate": DELTA()},
    "delta 1": {"control_variate": DELTA(order=1)}, "fitted": {"control_variate": DELTA(order=1, coefficient="fitted")},
    "fitted per parameter": {"control_variate": DELTA(order=1, coefficient="fitted_per_parameter")},
    "antithetic": {"scheme": sf.schemes.antithetic}, "stratified": {"scheme": sf.schemes.stratified(4)},
    "sobol": {"scheme": sf.schemes.sobol(4)}, "in chunks": {"chunk_size": 3},
    "proposal": {"proposal": "0.9"}, "at most 1.1": {"proposal": "0.9", "max_weight": 1.1},
}  # fmt: skip
"""Of the score function."""
OWN: dict[str, list[dict[str, Any]]] = {
    "pathwise": [{"scheme": sf.schemes.antithetic}, {"chunk_size": 3}], "vargrad": [{"scheme": sf.schemes.stratified(4)}],
    "exact": [{"num_nodes": 12}], "arms": [{"num_samples": 12}], "disarm": [{"chunk_size": 3}],
    "unordered_set": [{"set_size": 4}], "sum_and_sample": [{"num_summed": 3}, {"num_samples": 2}],
    "measure_valued": [{"coordinates": 1}, {"chunk_size": 3}], "coupled": [{"chunk_size": 3}], "iwae": [{"gradient": g} for g in ("score", "vimco", "pathwise", "doubly_reparameterized")],
    "gumbel_softmax": [{"temperature": 0.5}], "straight_through": [{"chunk_size": 3}],
    "rao_blackwell": [{"chunk_size": 3}], "double_control_variate": [{"chunk_size": 3}],
}  # fmt: skip
"""Options of the other estimators; what one refuses is on record too."""

Call = Callable[[], Any]


def f(x: Any) -> jax.Array:
    return sum(jnp.sum(jnp.sin(jnp.asarray(leaf).astype(float) + 0.3) ** 2) for leaf in jax.tree.leaves(x))  # pyright: ignore[reportReturnType]


def options_of(estimator: str, **more: Any) -> dict[str, Any]:
    given = {} if estimator == "exact" else {"num_samples": S}
    return {**given, **({"num_particles": 2} if estimator == "iwae" else {}), **more}


def value_and_grad(name: str, estimator: str, **options: Any) -> Any:
    loss = loss_of(name, estimator, **options_of(estimator, **options))
    return jax.jit(jax.value_and_grad(loss))(params_of(name, jnp.float32), jax.random.key(7))


def info_of(name: str, estimator: str) -> Any:
    case = CASES[name]
    options = {
        **dict(case.exact_options if estimator == "exact" else ()),
        **REQUIRED.get(estimator, {}),
        **options_of(estimator),
    }
    twin = getattr(sf, f"{estimator}_grad")
    return jax.jit(lambda p, key: twin(f, case.drawn(estimator, key), p, key, has_aux=True, **options))(
        params_of(name, jnp.float32), jax.random.key(7)
    )


def transformed(name: str, estimator: str) -> Any:
    """Eager (of a bound under jit: its f may not be log q at the parameters themselves), and mapped over keys."""
    loss, params = loss_of(name, estimator, **options_of(estimator)), params_of(name, jnp.float32)
    keys = jax.random.split(jax.random.key(3), 2)
    return (jax.jit(loss) if estimator in LOG_TARGET else loss)(params, keys[0]), jax.jit(
        jax.vmap(jax.grad(loss), (None, 0))
    )(params, keys)


def hessian(name: str, estimator: str) -> Any:
    loss = loss_of(name, estimator, **options_of(estimator))
    return jax.jit(jax.hessian(loss))(params_of(name, jnp.float32), jax.random.key(7))


def with_option(name: str, option: str) -> Any:
    options = dict(OPTIONS[option])
    if "proposal" in options:
        options["proposal"] = CASES[name].family.at(jax.tree.map(lambda leaf: 0.9 * leaf, params_of(name, jnp.float32)))
    return value_and_grad(name, "score_function", **options)


def draw(name: str) -> Any:
    dist = CASES[name].family.at(params_of(name, jnp.float32))
    x = jax.jit(jax.vmap(dist.sample))(jax.random.split(jax.random.key(5), 3))
    known = {
        word: getattr(dist, word)() for word, flag in (("mean", "MOMENTS"), ("mode", "MODE"))
        if sf.Capability[flag] in dist.capabilities
    }  # fmt: skip
    return x, jax.vmap(dist.log_prob)(x), known


def program(name: str) -> Any:
    body, num_bits = program_cases.CASES[name]
    run = sf.expectation(lambda p, key: body(p, jnp.ones(num_bits), key), num_samples=4, lost="ignore")
    return jax.jit(jax.value_and_grad(run))(jnp.array(program_cases.P, jnp.float32), jax.random.key(2))


def rollout(estimator: str, baseline: Any) -> Any:
    """A program of drawn bits and one more drawn choice, whose estimator is named."""

    def cost(p, key):
        keys = jax.random.split(key, 4)
        x = sf.sample(keys[0], sf.Normal(loc=p[0], scale=1.0)) if estimator == "pathwise" else 0.5
        a = sf.sample(
            keys[1], sf.Bernoulli(logits=p[1] + x), estimator="score" if estimator == "pathwise" else estimator
        )
        b = sf.sample(keys[2], sf.Categorical(logits=jnp.stack([p[0] * a, p[1], p[2]])))
        return (a + p[0]) ** 2 + jnp.sin(b.astype(float) * x) * p[2]

    run = sf.expectation(cost, num_samples=4, baseline=baseline)
    return jax.jit(jax.value_and_grad(run))(jnp.array(program_cases.P, jnp.float32), jax.random.key(2))


def policy(name: str) -> Any:
    row = {word: jnp.asarray(x) for word, x in policy_calls.random_row(3, 9).items()}
    return policy_calls.CALLS[name](row)


COIN = sf.family(lambda p: sf.Bernoulli(logits=p))
NORMAL = sf.family(lambda p: sf.Normal(loc=p, scale=1.0))
REFUSED: dict[str, Call] = {
    "a bare function": lambda: sf.score_function(f, lambda p: sf.Normal(loc=p, scale=1.0), 0.3, jax.random.key(0)),
    "no function": lambda: sf.score_function(3.0, COIN, 0.3, jax.random.key(0)),
    "no key": lambda: sf.score_function(f, COIN, 0.3, None),
    "many keys": lambda: sf.pathwise(f, NORMAL, 0.3, jax.random.split(jax.random.key(0), 2)),
    "no floats": lambda: sf.score_function(f, COIN, 3, jax.random.key(0)),
    "half a draw": lambda: sf.score_function(f, COIN, 0.3, jax.random.key(0), num_samples=2.5),
    "no draws": lambda: sf.disarm(f, COIN, 0.3, jax.random.key(0), num_samples=0),
    "an odd pair": lambda: sf.disarm(f, COIN, 0.3, jax.random.key(0), num_samples=3),
    "an unknown option": lambda: sf.disarm(f, COIN, 0.3, jax.random.key(0), baselines=None),
    "one for the others": lambda: sf.score_function(
        f, COIN, 0.3, jax.random.key(0), num_samples=1, baseline=sf.baselines.leave_one_out
    ),
    "a vector for the gradient": lambda: sf.score_function_grad(lambda x: jnp.stack([x, x]), COIN, 0.3, jax.random.key(0)),
    "a weight of nothing": lambda: sf.score_function(f, COIN, 0.3, jax.random.key(0), max_weight=2.0),
    "a black box differentiated": lambda: sf.pathwise_grad(
        sf.black_box(lambda x: np.float32(np.sum(x))), NORMAL, 0.3, jax.random.key(0)
    ),
    "other draws": lambda: sf.score_function(
        f, COIN, 0.3, jax.random.key(0), proposal=sf.Bernoulli(logits=jnp.zeros(2))
    ),
    "no distribution": lambda: sf.score_function(f, COIN, 0.3, jax.random.key(0), proposal=3.0),
    "no mode": lambda: sf.score_function(
        f, sf.family(log_prob=lambda p, x: -((x - p) ** 2), sampler=lambda key, p: p + jax.random.normal(key)),
        0.3, jax.random.key(0), baseline=sf.baselines.self_critical,
    ),
    "too many points": lambda: sf.exact(f, COIN, jnp.zeros(30)),
    "no end": lambda: sf.exact(f, sf.family(lambda p: sf.Poisson(rate=p)), 2.0),
    "a bad scale": lambda: sf.Normal(loc=0.0, scale=-1.0).log_prob(jnp.zeros(())),
    "a bad mask": lambda: pg.gae(jnp.ones(3), jnp.ones(3), jnp.ones(3), mask=jnp.ones(3)),
    "sampled outside": lambda: jax.grad(lambda p: sf.sample(jax.random.key(0), sf.Bernoulli(logits=p)))(0.3),
    "an estimator of nothing": lambda: sf.sample(jax.random.key(0), sf.Bernoulli(logits=0.3), estimator="luck"),
    "no path": lambda: sf.sample(jax.random.key(0), sf.Bernoulli(logits=0.3), estimator="pathwise"),
    "moving ends": lambda: sf.score_function_grad(
        f, sf.family(lambda p: sf.Uniform(low=0.0, high=p)), 2.0, jax.random.key(0)
    ),
}  # fmt: skip


def calls() -> Iterator[tuple[str, Call]]:
    """Name -> call, in an order that puts neighbours into one part of the test."""
    for name in CASES:
        if sf.Capability.SAMPLE in CASES[name].family.at(params_of(name, jnp.float32)).capabilities:
            yield f"draw: {name}", lambda name=name: draw(name)
        for estimator in sf.ESTIMATORS:
            yield f"{estimator}: {name}", lambda name=name, e=estimator: value_and_grad(name, e)
    for name in ("Normal", "Bernoulli", "Joint"):
        for option in OPTIONS:
            yield f"{option}: {name}", lambda name=name, option=option: with_option(name, option)
    for estimator, record in sf.ESTIMATORS.items():
        name = (
            "Bernoulli"
            if not record.missing(CASES["Bernoulli"].family.at(params_of("Bernoulli", jnp.float32)))
            else "Normal"
        )
        if estimator not in LOG_TARGET:
            yield f"{estimator}: reported", lambda name=name, e=estimator: info_of(name, e)
        yield f"{estimator}: transformed", lambda name=name, e=estimator: transformed(name, e)
        yield f"{estimator}: twice", lambda name=name, e=estimator: hessian(name, e)
        for i, options in enumerate(OWN.get(estimator, [])):
            yield f"{estimator}: option {i}", lambda name=name, e=estimator, o=options: value_and_grad(name, e, **o)
    for name in program_cases.CASES:
        yield f"program: {name}", lambda name=name: program(name)
    for estimator in ("score", "pathwise", "enumerate"):
        for baseline in ("auto", None, sf.baselines.batch_mean):
            word = getattr(baseline, "name", baseline)
            yield f"site: {estimator}, {word}", lambda e=estimator, b=baseline: rollout(e, b)
    for name in policy_calls.CALLS:
        yield f"policy: {name}", lambda name=name: policy(name)
    for name, call in REFUSED.items():
        yield f"refused: {name}", call


def answer(call: Call) -> dict[str, Any]:
    """What a call gives, in a few numbers, or what it raises."""
    try:
        leaves = jax.tree.leaves(jax.device_get(call()))
    except Exception as error:  # every kind is on record
        return {"raises": type(error).__name__, "says": re.sub("0x[0-9a-f]+", "0x", str(error))}
    numbers = np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in leaves])
    weighted = float(np.sum(np.cos(np.arange(numbers.size)) * numbers))
    rounded = [float(f"{x:.6g}") for x in (weighted, float(np.max(np.abs(numbers), initial=0.0)), *numbers[:6])]
    return {"floats": numbers.size, "dtypes": "".join(np.dtype(leaf.dtype).char for leaf in leaves), "numbers": rounded}


def differ(found: dict[str, Any], wanted: dict[str, Any], rtol: float = 2e-4) -> bool:
    """Whether two answers are other ones: rounding is no difference, in the scale of the largest number."""
    if "raises" in wanted or "raises" in found:
        return found != wanted
    scale = wanted["numbers"][1]
    close = np.allclose(found["numbers"], wanted["numbers"], rtol=rtol, atol=rtol * scale, equal_nan=True)
    return not close or any(found[word] != wanted[word] for word in ("floats", "dtypes"))


if __name__ == "__main__":
    old = json.loads(FILE.read_text()) if FILE.exists() else {}
    with jax.debug_key_reuse(False), jax.numpy_dtype_promotion("standard"):
        record = {name: answer(call) for name, call in calls()}
    changed = {name for name, found in record.items() if name not in old or differ(found, old[name])}
    FILE.write_text(
        json.dumps({name: record[name] if name in changed else old[name] for name in record}, indent=0) + "\n"
    )
    print(len(record), "calls", sum("raises" in a for a in record.values()), "refused; new or other:", *sorted(changed))
