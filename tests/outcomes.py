"""Programs whose draws are given, so that every outcome can be summed: the exact mean of a surrogate's derivatives.

A program of the tests is ``program(params, bits, key)`` with a fixed number of bits, each drawn once by ``bit(bits[i], logit, key)``.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from traced_once import with_hessian

import jax_scorefn as sf
from jax_scorefn.distributions import _adapters
from jax_scorefn.programs import _evaluate
from jax_scorefn.programs._ir import build
from jax_scorefn.typing import Capability

KEY = np.array([7, 11], np.uint32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Given(sf.Distribution):
    """A distribution whose draw is given."""

    dist: object
    x: object
    capabilities = Capability.LOG_PROB | Capability.SAMPLE

    def sample_and_log_probs(self, key):
        del key
        like, _ = jax.eval_shape(self.dist.sample_and_log_probs, jax.random.key(0))
        x = jax.lax.stop_gradient(jnp.asarray(self.x, like.dtype).reshape(like.shape))
        return x, self.dist._log_prob(x)


def roll_scores(monkeypatch):
    """A broken twin: the score of an element of another library's batch goes to its neighbour."""
    whole = _adapters.ForeignBatch.sample_and_log_probs

    def rolled(self, key):
        x, log_probs = whole(self, key)
        return x, jnp.roll(log_probs, 1)

    monkeypatch.setattr(_adapters.ForeignBatch, "sample_and_log_probs", rolled)


def bit(x, logit, key=None, name=None):
    """A Bernoulli choice (or as many as logit has elements) with the outcome x."""
    del key
    return sf.sample(jax.random.wrap_key_data(jnp.asarray(KEY)), Given(sf.Bernoulli(logits=logit), x), name=name)


def all_bits(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n)))


def run(program, params, bits):
    """Cost and log-probability of an outcome (the sum over the choices; those of branches not taken are 0), by plain evaluation."""
    block = build(jax.make_jaxpr(program)(params, bits, jax.random.key(0)))
    sites = {op.serial for op in block.choices()}
    (cost,), emitted = _evaluate.run_block(block, [*jax.tree.leaves(params), bits, jax.random.key(0)])
    return cost, sum(jnp.sum(x) for k, x in emitted.items() if k in sites)


def log_prob(program, params, bits):
    return run(program, params, bits)[1]


def exact(program, num_bits):
    """``params -> E[cost]`` by enumeration."""

    def value(params):
        def one(bits):
            cost, log_prob = run(program, params, bits)
            return jnp.exp(log_prob) * cost

        return jnp.sum(jax.vmap(one)(all_bits(num_bits)), axis=0)

    return value


def derivative(order):
    """The derivative of an order; in words all of them up to it, in one compilation, one after the other."""
    several = {"value and gradient": jax.value_and_grad, "to second order": with_hessian}

    def take(function):
        if order in several:
            return lambda p: jnp.concatenate([jnp.ravel(part) for part in several[order](function)(p)])
        for _ in range(order):
            function = jax.jacrev(function) if order == 1 else jax.jacfwd(function)
        return function

    return take


def mean_derivative(program, params, num_bits, order, num_samples=1, **options):
    """Mean of a derivative of ``expectation(program)`` over all outcomes of all runs."""
    estimator = sf.expectation(_by_run(program, num_samples), num_samples=num_samples, **options)

    def one(bits):
        weight = jnp.exp(sum(log_prob(program, params, row) for row in bits))
        return weight * derivative(order)(lambda p: estimator(p, bits, jax.random.key(0)))(params)

    rows = all_bits(num_bits * num_samples).reshape(-1, num_samples, num_bits)
    return jnp.sum(jax.jit(jax.vmap(one))(rows), axis=0)


def gradients(program, params, num_bits, **options):
    """The mean of the gradient of one run over all outcomes, and the exact gradient, in one compilation."""
    estimator = sf.expectation(_by_run(program, 1), **options)

    def outcome(params, bits):
        cost, log_prob = run(program, params, bits)
        return jnp.exp(log_prob) * cost, jnp.exp(log_prob)

    @jax.jit
    def both(params, rows):
        # forwards, which is quicker to trace: every outcome in every direction
        directions = jnp.repeat(jnp.eye(params.size), len(rows), axis=0)
        slope = lambda bits, direction: jax.jvp(lambda p: outcome(p, bits), (params,), (direction,))
        (_, weights), (slopes, _) = jax.vmap(slope)(jnp.tile(rows, (params.size, 1)), directions)
        exact = jnp.sum(slopes.reshape(params.size, -1), axis=1)
        grads = jax.vmap(lambda bits: jax.grad(lambda p: estimator(p, bits[None], jax.random.key(0)))(params))(rows)
        return weights[: len(rows)] @ grads, exact

    return both(params, all_bits(num_bits))


def variance(program, params, num_bits, surrogate=None):
    """Summed variance of the gradient of one run, exact over all outcomes."""
    estimator = surrogate or sf.expectation(_by_run(program, 1))

    def one(bits):
        weight = jnp.exp(log_prob(program, params, bits))
        grad = jax.grad(lambda p: estimator(p, bits[None], jax.random.key(0)))(params)
        return weight, weight * grad, weight * grad**2

    weights, firsts, seconds = jax.jit(jax.vmap(one))(all_bits(num_bits))
    assert abs(jnp.sum(weights) - 1) < 1e-9
    return float(jnp.sum(jnp.sum(seconds, axis=0) - jnp.sum(firsts, axis=0) ** 2))


def _by_run(program, num_samples):
    """The program on the row of bits that belongs to its run, known by its key."""
    if num_samples == 1:
        return lambda params, rows, key: program(params, rows[0], key)

    def chosen(params, rows, key):
        known = jax.random.key_data(
            jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(num_samples))
        )
        run = jnp.argmax(jnp.all(known == jax.random.key_data(key)[None], axis=1))
        return program(params, rows[run], key)

    return chosen
