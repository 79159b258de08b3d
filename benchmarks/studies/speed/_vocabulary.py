"""Log-probabilities of a text's tokens from the last layer of a model with a large vocabulary: all logits at once, or in blocks.

l_t = log softmax(h_t W)[x_t],    T = 4,096 tokens,  K = 150,000 words,  D = 64;    gradient of their sum in h and W
"""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jax_scorefn.policy_gradient as pg
from benchmarks import timing
from benchmarks.shown import Cell, Column, Table, num
from benchmarks.study import Record

WAYS = ("all at once", "in blocks")


def memory(way: str) -> Record:
    """Peak resident memory of a child process over that of its arguments, in MiB, and the milliseconds of a call."""
    name = "benchmarks.studies.speed._vocabulary"
    told = timing.child(f"import {name} as vocabulary; vocabulary.of_child({way!r})")
    return {"found": {"value": told.pop("value")}, "times": told}


def of_child(way: str, length: int = 4096, words: int = 150_000, width: int = 64) -> None:
    """What runs in the child."""
    key_hidden, key_head, key_tokens = jax.random.split(jax.random.key(0), 3)
    hidden, head = jax.random.normal(key_hidden, (length, width)), jax.random.normal(key_head, (width, words)) / 8
    tokens, answer = jax.random.randint(key_tokens, (length,), 0, words), jnp.arange(length) > 0
    logs = {
        "all at once": lambda hidden, head: pg.token_log_probs(hidden @ head, tokens, answer),
        "in blocks": lambda hidden, head: pg.token_log_probs_of_head(hidden, head, tokens, answer),
    }[way]
    run = jax.jit(jax.value_and_grad(lambda both: jnp.sum(logs(*both))))
    jax.block_until_ready((hidden, head, jax.jit(lambda x: x @ x.T)(jnp.ones((8, 8)))))
    idle = timing.high_water_mark()
    value = float(jax.block_until_ready(run((hidden, head)))[0])
    taken = np.median([timing.seconds(run, (hidden, head)) for _ in range(3)])
    mib = (timing.high_water_mark() - idle) / 1024
    print(json.dumps({"mib": mib, "milliseconds": float(taken * 1e3), "value": value}))


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """Both, beside each other."""
    columns = (Column("logits"), Column("MiB", best=True), Column("ms"))
    cells = [(Cell(way), num(row["mib"]), num(row["milliseconds"])) for way, row in rows.items()]
    note = "Log-probabilities of 4,096 tokens out of 150,000 words from 64 numbers each, and their gradient. Measured as above."
    return Table("vocabulary", "Memory of the log-probabilities of tokens", columns, cells, note=note)
