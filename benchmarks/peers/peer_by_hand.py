"""Plain JAX, as a person who knows the estimator writes it for one problem: one batched draw, leave-one-out, one backward pass."""

from __future__ import annotations

import jax

from benchmarks.peers.peer_ours import problems
from benchmarks.peers.serve import serve

if __name__ == "__main__":
    serve(f"JAX {jax.__version__} by hand", problems(by_hand=True))
