"""What is laid over devices: every estimator of the registry on one distribution, and programs. Run as a file it is one process of several.

python on_devices.py PORT NUMBER_OF_PROCESSES THIS_ONE      prints the value and the gradient of each as a line of JSON
"""

import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import OPTIONS, PAIRS, loss_of, params_of
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jax_scorefn as sf

LOGITS = jnp.array([0.5, -1.0, 0.2])
RUNS = 13
"""Draws of a program: no multiple of the number of devices."""


def of_estimator(estimator: str) -> tuple[Callable[..., Any], Any]:
    """``(params, key, sharding) -> value`` and the parameters, on the last distribution of the registry that it takes."""
    name = [dist for dist, given in PAIRS if given == estimator][-1]
    how = {**OPTIONS[estimator], **({} if estimator == "exact" else {"num_samples": 12})}

    def value(params: Any, key: Any, sharding: Any) -> Any:
        return loss_of(name, estimator, **how, sharding=sharding)(params, key)

    return value, params_of(name, jnp.float32)


def chain(logits, key):
    """Three bits, each with a share of the cost, in a scan."""

    def step(total, at):
        logit, k = at
        total = total + sf.sample(k, sf.Bernoulli(logits=logit - 0.1 * total))
        return total, (total - 1.0) ** 2

    return jnp.mean(jax.lax.scan(step, 0.0 * logits[0], (logits, jax.random.split(key, 3)))[1])


def plate(logits, key):
    """A cost for each of three latents."""
    z = sf.sample(key, sf.Bernoulli(logits=logits))
    return jnp.mean((z - 0.4) ** 2 * jnp.arange(1.0, 4.0))


def compared(logits, key):
    """Choices by other values of theirs, which some lanes stand for."""
    z = sf.sample(key, sf.Bernoulli(logits=logits), estimator="coupled")
    return jnp.sum(z) ** 2


PROGRAMS = {
    "chain": (chain, {}), "plate": (plate, {}), "plate, mean of all": (plate, {"baseline": sf.baselines.batch_mean}),
    "plate in chunks": (plate, {"chunk_size": 4}), "compared": (compared, {}),
    "plate in chunks, mean of all": (plate, {"chunk_size": 4, "baseline": sf.baselines.batch_mean}),
    "predicted": (compared, {"coupled": sf.programs.Coupled(predict="taylor", alternatives=1)}),
}  # fmt: skip


def of_program(name: str) -> tuple[Callable[..., Any], Any]:
    """The same of a program."""
    program, how = PROGRAMS[name]
    return lambda p, key, sharding: sf.expectation(program, num_samples=RUNS, sharding=sharding, **how)(p, key), LOGITS


EVERYTHING = {name: functools.partial(of_estimator, name) for name in OPTIONS} | {
    name: functools.partial(of_program, name) for name in PROGRAMS
}


def found(name: str, sharding: Any = None, result: Any = None) -> list[list[float]]:
    """The value and the gradient, with the draws laid over devices."""
    value, params = EVERYTHING[name]()
    run = jax.jit(jax.value_and_grad(lambda p, k: value(p, k, sharding)), out_shardings=result)
    leaves = jax.tree.leaves(run(params, jax.random.key(3)))
    return [np.ravel(np.asarray(leaf.addressable_data(0), np.float64)).tolist() for leaf in leaves]


def over(devices: list[Any]) -> tuple[Any, Any]:
    """Shardings of the draws over all devices, and of a result that each has."""
    mesh = jax.make_mesh((len(devices),), ("draws",), axis_types=(AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec("draws")), NamedSharding(mesh, PartitionSpec())


def tell() -> None:
    """Print what each of them is, as a line of JSON, over all devices of all processes."""
    assert len(jax.devices()) > len(jax.local_devices())
    for name in EVERYTHING:
        print(json.dumps([name, found(name, *over(jax.devices()))]), flush=True)
