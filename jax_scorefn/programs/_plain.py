"""Draws of a lifted program that no derivative reaches: their parameters depend on no argument, and they stay plain draws.

Such a draw has no score, so it may stand where no choice may: an environment's own resets in a ``while_loop``.
"""

from __future__ import annotations

from jax_scorefn.programs._ir import Block, is_inexact
from jax_scorefn.programs._taint import Losses, Taint


def plain_draws(block: Block) -> None:
    """Mark these draws, in the block and in its bodies, as no choices."""
    lifted = [op for op in block.choices() if op.params["lifted"]]
    if not lifted:
        return
    losses = Losses(block, [Taint(moves=int(is_inexact(v))) for v in block.ins], results=[])
    losses.constants |= {id(x): Taint(moves=1) for x in block.closed_over()}
    losses.reaching()
    for op in lifted:
        if not losses(op.ins[0]).moves:  # its log-probability
            op.kind = "plain draw"
