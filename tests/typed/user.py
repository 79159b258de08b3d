"""A user's file, for the type checker alone: where a line says ``# wrong`` it has to find a mistake, and nowhere else."""

import jax
import jax.numpy as jnp
import optax

import jax_scorefn as sf


@sf.family
def policy(params):
    return sf.Categorical(logits=params["logits"])


def reward(x):
    return jnp.square(x - 1.0)


params = {"logits": jnp.zeros(3)}
key = jax.random.key(0)

value = sf.score_function(reward, policy, params, key, num_samples=8, baseline=None)
value.mean()
value, info = sf.score_function(reward, policy, params, key, has_aux=True)
info.value_standard_error.mean()
grads = sf.score_function_grad(reward, policy, params, key)
grads["logits"].mean()
rows, info = sf.elbo_grad(reward, policy, params, key, per_draw=True, has_aux=True)
grads = sf.score_function_grad(reward, policy, params, key, per_draw=True)
sf.score_function(reward, policy, params, key, per_draw=True)  # wrong
grads, info = sf.rebar_grad(reward, policy, params, key, tuning=sf.RebarTuning(), has_aux=True)
grads["logits"].mean()
sf.exact(reward, policy, params, num_nodes=16)
sf.iwae(reward, policy, params, key, num_particles=4)

sf.score_function(reward, policy, params, key, num_sample=4)  # wrong
sf.score_function(policy, reward, params, key)  # wrong
sf.score_function_grad(reward, policy, params)  # wrong
sf.exact_grad(reward, policy, params, num_samples=4)  # wrong
print(sf.score_function(reward, policy, params, key).value_standard_error)  # wrong
sf.relax(reward, policy, params, key, tuning=None)  # wrong
sf.reinforce(reward, policy, params, key)  # wrong


def program(scale: float, key: jax.Array, name: str = "x") -> jax.Array:
    return scale * sf.sample(key, sf.Normal(loc=0.0, scale=1.0), name=name)


loss = sf.expectation(program, num_samples=4)
loss(1.0, key).mean()
loss(1.0, key, name="y")
sf.explain(program)(1.0, key)
sf.lift(program)(1.0, key)
sf.lost_gradients(program)(1.0, key)

loss(1.0)  # wrong
loss(1.0, key, nme="y")  # wrong
sf.lift(program)(1.0, key, nme="y")  # wrong
sf.explain(program)(1.0)  # wrong
sf.expectation(program, num_sample=4)  # wrong

sf.random.bernoulli(key, 0.3, (4,), estimator="exact").mean()
sf.random.categorical(key, jnp.zeros(3), estimator="exact").mean()
sf.random.poisson(key, 2.0, estimator="exact", max_value=40).mean()
sf.random.normal(key, (3,)).mean()
sf.random.bernoulli(key, 0.3, shap=(4,))  # wrong
sf.random.poisson(key)  # wrong
sf.random.bernoulli(key, 0.3, max_value=4)  # wrong
sf.random.wald(key, 2.0, estimator="exact")  # wrong
sf.random.gamma(key, 1.0, estimator="exact")  # wrong
sf.random.gausian(key)  # wrong

sf.Normal(0.0, 1.0).log_prob(jnp.zeros(())).mean()
sf.Normal(loc=0.0, scal=1.0)  # wrong
sf.Normal(0.0, 1.0, 2.0)  # wrong

fitted = sf.training.fit(lambda params, key: jnp.sum(params), jnp.zeros(3), optax.sgd(0.1), key, 10)
fitted.params.mean()
