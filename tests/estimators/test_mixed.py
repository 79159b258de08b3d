"""Mixed derivatives, once in the parameters and once in what f closes over, are those of the gradient: f is linear in a number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import REQUIRED
from covering import few

import jax_scorefn as sf
from jax_scorefn import _surrogate
from jax_scorefn.estimators import _coupled

pytestmark = [pytest.mark.statistical, pytest.mark.usefixtures("unchecked_keys")]

BITS, NORMAL = sf.family(lambda t: sf.Bernoulli(logits=t)), sf.family(lambda t: sf.Normal(loc=t, scale=1.0))
THETA = jnp.array([0.3, -0.5, 0.8])
NAMES = sorted(name for name, record in sf.ESTIMATORS.items() if record.estimates == "E[f]" and not record.stops_f)


def differences(name):
    """Of both mixed derivatives and the gradient of what the number multiplies, for each of many keys: (keys, 2, 3)."""
    record = sf.ESTIMATORS[name]
    family = BITS if record.missing(NORMAL.at(THETA)) else NORMAL
    options = {} if name == "exact" else {"num_samples": 4, **REQUIRED.get(name, {})}

    def of_key(key):
        f = lambda number: lambda x: number * jnp.sum(jnp.sin(jnp.sum(x) + x)) + number**2
        value = lambda number, theta: record.function(f(number), family, theta, key, **options)
        plain = jax.grad(value, 1)(1.0, THETA)
        inner = jax.jacfwd(jax.grad(value, 1), 0)(1.0, THETA)
        outer = jax.grad(jax.grad(value, 0), 1)(1.0, THETA)
        return jnp.stack([inner - plain, outer - plain])

    return np.asarray(jax.jit(jax.vmap(of_key))(jax.random.split(jax.random.key(0), 2000)), float)


def agree(found):
    error = found.std(axis=0) / len(found) ** 0.5
    return np.all(np.abs(found.mean(axis=0)) <= 5 * error + 1e-5)


@pytest.mark.parametrize("name", few(NAMES, "coupled"))
def test_mixed_derivatives_are_those_of_the_gradient(name):
    assert agree(differences(name))


def test_differences_that_are_held_fixed_are_seen(monkeypatch):
    stopped = lambda rates, d: _surrogate.moved(rates, jax.lax.stop_gradient(d))
    monkeypatch.setattr(_coupled, "moved", stopped)
    assert not agree(differences("coupled"))
