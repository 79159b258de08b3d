# %% [markdown]
# # A density without its constant
#
# How do the lengths of sepal and petal of an iris go together? An energy says which pairs are likely, $p(x) = e^{-E(x)} / Z$: here a
# bowl with nine bumps, whose heights $\theta$ are to be learned. The likelihood needs $\log Z(\theta)$, an integral that nobody has
# once x is more than a few numbers, so there is nothing to call `jax.grad` on.
#
# The derivative of $\log Z$ is minus the mean of $\partial E / \partial \theta$ over draws of p, and a Markov chain makes such draws
# without Z. `sf.score_function` takes them as they are (`normalized=False`). What it returns can be differentiated once more, with
# the density of the draws, which gives the second derivative of $\log Z$: so the likelihood is climbed by Newton's method.
#
# As a script: `pip install "jax_scorefn[mcmc]" scikit-learn matplotlib`, then `python energy.py`.

# %%
import blackjax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from sklearn.datasets import load_iris

import jax_scorefn as sf

data = jnp.asarray(load_iris().data[:, [0, 2]])
data = (data - data.mean(axis=0)) / data.std(axis=0)
centers = jnp.stack(jnp.meshgrid(*[jnp.linspace(-1.5, 1.5, 3)] * 2), axis=-1).reshape(9, 2)


def energy(theta, x):
    return x @ x / 4 - theta @ jnp.exp(-((x - centers) ** 2).sum(axis=-1) / 0.72)


# %% [markdown]
# The chains are those of NUTS, 64 side by side. They begin at flowers, and in each step of Newton's method
# they go on from where they were.

# %%
CHAINS, DRAWS, WARM_UP = 64, 120, 40


def draw(theta, key, at):
    """(chains, draws, 2) of p."""
    kernel = blackjax.nuts(lambda x: -energy(theta, x), step_size=0.5, inverse_mass_matrix=jnp.ones(2))

    def step(states, key):
        states, _ = jax.vmap(kernel.step)(jax.random.split(key, CHAINS), states)
        return states, states.position

    return jax.lax.scan(step, jax.vmap(kernel.init)(at), jax.random.split(key, DRAWS))[1][WARM_UP:].swapaxes(0, 1)


def d_log_z(theta, xs):
    """The derivative of log Z at theta, from draws; its own derivative in theta is the second one."""
    model = sf.family(log_prob=lambda theta, x: -energy(theta, x), samples=xs, normalized=False)
    return sf.score_function(lambda x: -jax.grad(energy)(theta, x), model, theta, None)


RIDGE = 2e-3  # a little of it: bumps without flowers would grow without end


def slope(theta, d_log_z):
    """Of the negative log-likelihood of a flower, with the ridge."""
    return jax.vmap(jax.grad(energy), (None, 0))(theta, data).mean(axis=0) + d_log_z(theta) + RIDGE * theta


def newton(theta, d_log_z):
    of_theta = lambda theta: slope(theta, d_log_z)
    return theta - jnp.linalg.solve(jax.jacfwd(of_theta)(theta), of_theta(theta))


# %% [markdown]
# In two dimensions Z can be had by a sum over a grid, so the same steps are taken beside it without any noise, to the exact maximum.

# %%
ticks = jnp.linspace(-6.0, 6.0, 241)
grid = jnp.stack(jnp.meshgrid(ticks, ticks), axis=-1)


def log_z(theta):
    minus = -jax.vmap(energy, (None, 0))(theta, grid.reshape(-1, 2))
    return jax.nn.logsumexp(minus) + 2 * jnp.log(ticks[1] - ticks[0])


@jax.jit
def nll(theta):
    return jax.vmap(energy, (None, 0))(theta, data).mean() + log_z(theta) + RIDGE / 2 * theta @ theta


@jax.jit
def step(theta, key, at):
    xs = draw(theta, key, at)
    return newton(theta, lambda theta: d_log_z(theta, xs.reshape(-1, 2))), xs


exactly = jax.jit(lambda theta: newton(theta, jax.grad(log_z)))
thetas, exact = [jnp.zeros(9)], [jnp.zeros(9)]
at = jax.random.choice(jax.random.key(1), data, (CHAINS,), replace=False)
for i, key in enumerate(jax.random.split(jax.random.key(0), 9)):
    theta, xs = step(thetas[-1], key, at)
    print(f"after {i} steps: {nll(thetas[-1]):.3f} by draws, {nll(exact[-1]):.3f} by the sum")
    thetas, exact, at = [*thetas, theta], [*exact, exactly(exact[-1])], xs[:, -1]

each = jax.vmap(d_log_z, (None, 0))(thetas[-2], xs)  # of each chain by itself, since its draws depend on each other
for k in range(0, 9, 4):
    error = each[:, k].std() / CHAINS**0.5
    print(
        f"d log Z / d theta[{k}]: {each[:, k].mean():.4f} +- {error:.4f}, exactly {jax.grad(log_z)(thetas[-2])[k]:.4f}"
    )

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1, 1.2), layout="constrained")
density = lambda theta: jnp.exp(-jax.vmap(jax.vmap(energy, (None, 0)), (None, 0))(theta, grid) - log_z(theta))
left.plot(*data.T, ".", color="0.6", markersize=4)
for theta, color, style in [(exact[-1], "C1", "--"), (thetas[-1], "C0", "-")]:
    left.contour(
        ticks, ticks, density(theta), [0.02, 0.06, 0.12, 0.2, 0.3], colors=color, linestyles=style, linewidths=1
    )
left.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="length of the sepal", ylabel="length of the petal")
right.plot([nll(theta) for theta in thetas], label="by draws")
right.plot([nll(theta) for theta in exact], "--", label="by the sum")
right.set(xlabel="step of Newton's method", ylabel="negative log-likelihood of a flower")
right.legend()
plt.show()
