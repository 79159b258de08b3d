"""The same seconds of learning for every method: the bound on held-out images against time, and against steps."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.settings import quick_jit
from benchmarks.studies.bits._path import trainer
from benchmarks.studies.bits._vae import Images, bound, start
from benchmarks.studies.bits.methods import VAE
from benchmarks.study import Record


def evaluator(data: Images, draws: int, weighted: bool, pieces: int = 10) -> Any:
    """``(params, key) -> bound of each held-out image``."""
    count = len(data.test) // pieces * pieces
    xs = jnp.asarray(data.test[:count]).reshape(pieces, -1, data.test.shape[1])

    def evaluate(params: Any, key: Any) -> Any:
        keys = jax.random.split(key, pieces)
        return jax.lax.map(lambda piece: bound(params, piece[0], piece[1], draws, weighted), (xs, keys)).reshape(-1)

    return quick_jit(evaluate)


def race(
    data: Images, *, latents: int, hidden: int, seconds: float, calls: int = 4, batch: int = 100, rate: float = 1e-3, turns: int = 15,
    stretch: int = 10, draws: int = 10, samples: int = 100,
) -> Record:  # fmt: skip
    """Every method from the same weights for the same time, compilation not counted.

    They run in turns, a little time each, so that whatever else the machine does meets all of them alike.
    """
    key_start, key_train, key_test, key_last = jax.random.split(jax.random.key(2), 4)
    params = start(data, latents, hidden, key_start)
    plain, tight = evaluator(data, draws, False), evaluator(data, samples, True)
    look = lambda state: float(np.mean(plain(state[0], key_test)))
    runs, states, spent = {}, {}, {}
    for name, method in VAE.items():
        begin, several = trainer(method, method.draws(calls), data, rate, batch, stretch)
        states[name] = begin(params, latents)
        runs[name] = jax.jit(several).lower(states[name], key_train).compile()
        jax.block_until_ready(runs[name](states[name], key_train))  # not the first run, which may be slower
        spent[name] = 0.0
    first = look(states["loo"])
    curves = {name: {"seconds": [0.0], "steps": [0], "bound": [first]} for name in VAE}
    for turn in range(1, turns + 1):
        for name, run in runs.items():
            count, state = curves[name]["steps"][-1], states[name]
            while spent[name] < turn * seconds / turns:
                begin = time.perf_counter()
                state = jax.block_until_ready(run(state, jax.random.fold_in(key_train, count)))
                spent[name] += time.perf_counter() - begin
                count += stretch
            states[name] = state
            for what, value in (("seconds", spent[name]), ("steps", count), ("bound", look(state))):
                curves[name][what].append(value)
    last = {}
    for name, state in states.items():
        rows = {"bound": np.asarray(plain(state[0], key_last)), "tight": np.asarray(tight(state[0], key_last))}
        last[name] = {what: (float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))) for what, x in rows.items()}
    about = {
        "data": data.name, "images": len(data.train), "held_out": len(data.test), "latents": latents, "hidden": hidden, "batch": batch,
        "calls": calls, "limit": seconds, "draws": draws, "samples": samples, "spent": {n: m.spent(calls) for n, m in VAE.items()},
    }  # fmt: skip
    pace = {n: 1e3 * c["seconds"][-1] / c["steps"][-1] for n, c in curves.items()}
    return {"found": about, "times": {"curves": curves, "last": last, "milliseconds": pace}}
