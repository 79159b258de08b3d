"""The picture on the README's first screen: the noise of a gradient, by the number of random choices in the program.

Rows of a random walk of ten steps, whose cost is the mean squared position. It is scored in three ways, with the mean of the other
runs as the baseline of each. ``python docs/pictures/credit.py`` measures, prints, and writes credit-light.svg and credit-dark.svg.
"""

import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jax_scorefn as sf

STEPS, RUNS, REPEATS, ROWS = 10, 16, 2000, (1, 3, 10, 30, 100)
LABELS = {
    "whole": "loss by hand: total cost × log-probability",
    "by row": "loss by hand, row by row",
    "here": "sf.expectation(program)",
}
INK = {"light": "#24292f", "dark": "#e6edf3"}
COLOURS = {"whole": "#d6496b", "by row": "#e8871e", "here": "#1f83c9"}


def walk(logit, key):
    def step(x, k):
        x = x + 2.0 * sf.sample(k, sf.Bernoulli(logits=logit - x)) - 1.0
        return x, x**2

    return jax.lax.scan(step, 0.0, jax.random.split(key, STEPS))[1]


def program(num_rows):
    return lambda logit, key: jax.vmap(walk, (None, 0))(logit, jax.random.split(key, num_rows)).mean()


def by_hand(num_rows, row_by_row):
    """The loss that is usually written: what was drawn, and its log-probability, run by run."""

    def walk(logit, key):
        def step(x, k):
            up = jax.random.bernoulli(k, jax.nn.sigmoid(logit - x))
            log_prob = jax.nn.log_sigmoid(jnp.where(up, logit - x, x - logit))
            x = jax.lax.stop_gradient(x + 2.0 * up - 1.0)
            return x, (x**2, log_prob)

        costs, log_probs = jax.lax.scan(step, 0.0, jax.random.split(key, STEPS))[1]
        return costs.mean(), log_probs.sum()

    def loss(logit, key):
        keys = jax.random.split(key, (RUNS, num_rows))
        costs, log_probs = jax.vmap(jax.vmap(walk, (None, 0)), (None, 0))(logit, keys)
        if not row_by_row:
            costs, log_probs = costs.mean(axis=1, keepdims=True), log_probs.sum(axis=1, keepdims=True)
        others = (costs.sum(axis=0) - costs) / (RUNS - 1)
        return ((costs - others) * log_probs).mean()

    return loss


def measure(loss):
    """The standard deviation of a gradient, in parts of its mean."""
    grads = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(0.5, jax.random.split(jax.random.key(0), REPEATS))
    return float(grads.std() / abs(grads.mean()))


def main():
    noise = {name: [] for name in LABELS}
    for num_rows in ROWS:
        noise["whole"].append(measure(by_hand(num_rows, False)))
        noise["by row"].append(measure(by_hand(num_rows, True)))
        noise["here"].append(measure(sf.expectation(program(num_rows), num_samples=RUNS)))
        print(num_rows * STEPS, {name: f"{values[-1]:.3f}" for name, values in noise.items()}, flush=True)
    for name in ("whole", "by row"):
        ratio = (noise[name][-1] / noise["here"][-1]) ** 2
        print(f"variance {name} / here, {ROWS[-1] * STEPS} choices: {ratio:.1f}")
    for mode, ink in INK.items():
        draw(mode, ink, noise)


def draw(mode, ink, noise):
    style = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink)
    style |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}
    style |= {"svg.hashsalt": "credit", "svg.fonttype": "none"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(7.2, 3.0), layout="constrained")
        choices = [num_rows * STEPS for num_rows in ROWS]
        for name, values in noise.items():
            axes.loglog(choices, values, color=COLOURS[name], marker="o", markersize=4)
            axes.annotate(
                LABELS[name],
                (choices[-1], values[-1]),
                (8, 0),
                textcoords="offset points",
                va="center",
                color=COLOURS[name],
            )
        axes.set(xlabel="random choices in the program", ylabel="noise of a gradient\nin parts of it")
        axes.set_xticks(choices, [f"{n:,}" for n in choices], minor=False)
        axes.set_yticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"], minor=False)
        axes.minorticks_off()
        axes.set_title(f"{RUNS} runs for each gradient; less is better", loc="left", fontsize=10)
        axes.set_xlim(choices[0] * 0.9, choices[-1] * 1.1)
        figure.savefig(
            pathlib.Path(__file__).with_name(f"credit-{mode}.svg"), transparent=True, metadata={"Date": None}
        )
        plt.close(figure)


if __name__ == "__main__":
    main()
