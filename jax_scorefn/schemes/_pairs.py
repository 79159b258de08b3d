"""Independent draws, and antithetic pairs: u and 1 - u     (Hammersley and Morton 1956)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jax_scorefn._groups import whole_groups
from jax_scorefn._trees import along_draws
from jax_scorefn.schemes._base import Rows, Scheme, below_one
from jax_scorefn.typing import Array, Key

iid = Scheme("iid", lambda _: 1, lambda source, key, num_samples: source.rows(key, num_samples), "Independent draws.")


def _pairs(source: Any, key: Key, num_samples: int) -> Rows:
    rows = source.rows(key, num_samples // 2)

    def make(index: Array) -> list[Array]:
        def one(u: Array) -> Array:
            mirrored = jnp.minimum(1 - u, below_one(u.dtype))
            return jnp.where(along_draws(index % 2 == 1, u), mirrored, u)

        return [one(u) for u in rows(index // 2)]

    return make


antithetic = Scheme(
    "antithetic", whole_groups("antithetic", 2), _pairs, "Draws 2j and 2j + 1 are made of u and 1 - u (hammersley1956)."
)
