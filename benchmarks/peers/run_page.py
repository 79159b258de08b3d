"""A program of docs/coming-from.md, run by the interpreter of its environment: one JSON line, the moments of its gradients.

    peer/bin/python benchmarks/peers/run_page.py theirs pyro          or "ours", or "variant": theirs with one thing replaced

A program is the block of code behind ``<!-- theirs: pyro -->``. It makes ``params`` and a function: ``gradient(params, key)`` in JAX,
``gradient(params)`` in torch. What it imports is there; beside that this file takes NumPy alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
IMPORTS = "import jax\nimport jax.numpy as jnp\nimport jax_scorefn as sf\n"
"""What every block of ours begins with; the page says so once."""

PACKAGES = {
    "surrogate": ("jax",),
    "tfp": ("tfp-nightly", "jax"),
    "distrax": ("distrax", "jax"),
    "numpyro": ("numpyro", "jax"),
    "optax": ("optax", "jax"),
    "rlax": ("rlax", "jax"),
    "trl": ("torch",),
    "pyro": ("pyro-ppl", "torch"),
    "storchastic": ("storchastic", "torch"),
    "genjax": ("genjax", "jax"),
}
"""The programs of the page, and the packages whose versions are said with their numbers."""

VARIANTS = {
    "optax": (
        "`moving_avg_baseline`, first call",
        "score_function_jacobians(f, params, optax.multi_normal, key, num_samples=16)",
        "control_variates_jacobians(\n        f, optax.monte_carlo.moving_avg_baseline, "
        "optax.monte_carlo.score_function_jacobians, params, optax.multi_normal, key, 16, (0.0, 0)\n    )[0]",
    ),
    "rlax": ("`w_t` of ones", "0.9 ** jnp.arange(4)", "jnp.ones(4)"),
    "trl": ("GRPO's advantages", "rewards - baselines", "(rewards - rewards.mean()) / (rewards.std() + 1e-4)"),
    "storchastic": (
        "one run, `moving_average`, decay .5",
        "n_samples=8 if t == 0 else 1",
        'baseline_factory="moving_average", exponential_decay=0.5',
    ),
    "genjax": (
        "second derivatives",
        "seed(cost.grad_estimate)",
        "lambda key, p: jnp.diag(jax.jacobian(lambda p: seed(cost.grad_estimate)(key, p))(p))",
    ),
}
"""What else is measured of theirs: a label, and what in the program is replaced by what."""

KEYED, ONE_BY_ONE = 20_000, 4000
"""How many gradients are taken: of a program with a key, all together, and of one without, which takes a call for each."""


def program(text: str, side: str, name: str) -> str:
    """The block of code behind a mark; one of ours that is marked ", after theirs" goes on where theirs ends.

    The side "variant" is theirs with one thing replaced.
    """
    if side == "variant":
        _, old, new = VARIANTS[name]
        before, behind = program(text, "theirs", name).split(old)
        return before + new + behind
    found = re.findall(rf"<!-- {side}: {name}(, after theirs)? -->\n+```[^\n]*\n(.*?)```", text, flags=re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"The page has {len(found)} blocks marked {side}: {name}, and should have one.")
    ((after, code),) = found
    return (IMPORTS if side == "ours" else "") + (program(text, "theirs", name) if after else "") + code


def digest(code: str) -> str:
    """What tells whether numbers are those of this code."""
    return hashlib.sha256(code.encode()).hexdigest()[:12]


def gradients(code: str, count: int = KEYED, seed: int = 0) -> np.ndarray:
    """Gradients of a program at its own parameters, an array (runs, parameters)."""
    names: dict = {"__name__": "page"}
    exec(compile(code, "coming-from.md", "exec"), names)
    gradient, params = names["gradient"], names["params"]
    if "torch" in names:
        names["torch"].manual_seed(seed)
        return np.stack([gradient(params).detach().numpy().reshape(-1) for _ in range(ONE_BY_ONE)])
    import jax

    grads = jax.jit(jax.vmap(gradient, (None, 0)))(params, jax.random.split(jax.random.key(seed), count))
    return np.concatenate([np.asarray(leaf, float).reshape(count, -1) for leaf in jax.tree.leaves(grads)], axis=1)


def main(side: str, name: str) -> None:
    from serve import of_rows  # beside this file, which is run as a script

    packages = ("jax_scorefn", "jax") if side == "ours" else PACKAGES[name]
    system = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    code = program(PAGE.read_text(), side, name)
    print(json.dumps({"method": system, "problem": name, "code": digest(code)} | of_rows(gradients(code))))


if __name__ == "__main__":
    main(*sys.argv[1:])
