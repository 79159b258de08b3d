"""J. Steps until a Beta posterior is found (the SVI tutorial of Pyro, Part III).

prior Beta(10, 10), six ones and four zeros: posterior Beta(16, 14). q starts at Beta(15, 15), one draw by score, Adam 5e-4 with betas
(.93, .999), until both numbers are within .8; with a moving average of .9 as the baseline, and without

f = log q - log p has a derivative of its own, which is noise around 0; Pyro leaves it out, and so does the third row.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jax_scorefn as sf
from benchmarks.peers import environments
from benchmarks.settings import Settings
from benchmarks.studies.papers._base import SIGMAS, Outcome, Paper

MOST, SEEDS = 10_000, 200
BETA = sf.family(lambda log_ab: sf.Beta(a=jnp.exp(log_ab[0]), b=jnp.exp(log_ab[1])))
WANTED = jnp.array([16.0, 14.0])


METHODS = (
    "moving average",
    "no baseline",
    "moving average, f stopped",
    "moving average, corrected for its start",
    "leave-one-out, 2 draws",
)
"""The first is the tutorial's average, which begins at 0 and is not corrected for that."""


def steps(key: Any, method: str) -> Any:
    """How many updates it takes."""
    stopped = jax.lax.stop_gradient if method == METHODS[2] else lambda p: p
    adam, ema = optax.adam(5e-4, b1=0.93, b2=0.999), sf.baselines.ema(0.9)

    def update(state: Any) -> Any:
        params, moments, average, from_zero, count = state
        log_joint = lambda z: 15 * jnp.log(z) + 13 * jnp.log1p(-z) - jax.scipy.special.betaln(10.0, 10.0)
        f = lambda p: lambda z: BETA.at(stopped(p)).log_prob(z) - log_joint(z)
        begun_at_zero = lambda values: jnp.broadcast_to(from_zero, values.shape)
        baselines: Any = [begun_at_zero, None, begun_at_zero, ema.attach(average), sf.baselines.leave_one_out]
        chosen = baselines[METHODS.index(method)]
        own, draws = jax.random.fold_in(key, count), 2 if method == METHODS[4] else 1
        loss = lambda p: sf.score_function(f(p), BETA, p, own, num_samples=draws, baseline=chosen, has_aux=True)
        grads, info = jax.grad(loss, has_aux=True)(params)
        updates, moments = adam.update(grads, moments)
        from_zero = 0.9 * from_zero + 0.1 * jnp.mean(info.values)
        return optax.apply_updates(params, updates), moments, ema.update(average, info), from_zero, count + 1

    def going(state: Any) -> Any:
        params, *_, count = state
        return (jnp.max(jnp.abs(jnp.exp(params) - WANTED)) >= 0.8) & (count < MOST)

    start = jnp.log(jnp.array([15.0, 15.0]))
    return jax.lax.while_loop(going, update, (start, adam.init(start), ema.init(), jnp.float32(0.0), jnp.int32(0)))[-1]


def in_pyro(settings: Settings) -> list[Any]:
    """Its own steps with the average and without, where there is time and its environment has been made."""
    python = environments.python_of(settings.peers, "pyro")
    if not settings.full or not python.exists():
        return []
    script = str(environments.HERE / "run_beta_steps.py")
    done = subprocess.run([str(python), "-W", "ignore", script], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def quantiles(counts: Any) -> dict[str, tuple[float, float]]:
    """Each with its standard error, from the order of the counts."""
    counts = np.sort(counts)
    width = round(0.98 * len(counts) ** 0.5)
    low, high = (
        counts[len(counts) // 2 - width],
        counts[len(counts) // 2 + width - 1],
    )  # an interval of 95 % for the median
    error = float(high - low) / 4
    return {
        "median": (float(np.median(counts)), error),
        "5 %": (float(np.quantile(counts, 0.05)), error),
        "95 %": (float(np.quantile(counts, 0.95)), float(counts[-1] - np.quantile(counts, 0.9)) / 2),
    }


def measure(settings: Settings) -> Outcome:
    """Quantiles over seeds."""
    outcome, found = Outcome(), {}
    for name in METHODS:
        keys = jax.random.split(settings.key("J", name), SEEDS)
        found[name] = np.asarray(jax.jit(jax.vmap(lambda key, name=name: steps(key, name)))(keys))
    outcome.numbers = {name: quantiles(counts) for name, counts in found.items()}
    halved = np.median(found["moving average"]) < 0.5 * np.median(found["no baseline"])
    outcome.claim("a baseline takes less than half of the steps", halved)
    for name, like, counts in zip(
        ("moving average", "no baseline"), (METHODS[2], METHODS[1]), in_pyro(settings), strict=False
    ):
        own = outcome.numbers[f"Pyro itself, {name}, {len(counts)} seeds"] = quantiles(counts)
        far = abs(own["median"][0] - outcome.numbers[like]["median"][0])
        outcome.claim(f"Pyro's median with {name} is that of “{like}”", far < SIGMAS * own["median"][1])
    return outcome


PAPER = Paper(
    letter="J",
    title="Steps until a posterior is found",
    source="Pyro, SVI tutorial, Part III",
    about=(
        "Updates until both parameters are within .8 of the posterior's. The tutorial prints 1,932 with a decaying average and "
        "4,908 without, one run each of an old version, which is neither met nor missed here; the wanted numbers are its recipe in "
        "numpy, 200 seeds. With --full, and where `python -m benchmarks peers --only pyro` has made its environment, Pyro itself runs "
        "on 20 seeds."
    ),
    measure=measure,
    wanted={
        "moving average": {"median": "208", "5 %": "140", "95 %": "311"},
        "no baseline": {"median": "620", "5 %": "174", "95 %": "1965"},
    },
    within={"": 0.1},
)
