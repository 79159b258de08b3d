"""Where a program that is lifted is being traced: in the program itself, whose draws become choices, or in one of these draws.

A context of the thread, which the caches of ``jit`` see: a function that is traced in it is not the one that was traced before. It is
made when the library is imported, since making one is not for several threads.
"""

from __future__ import annotations

import jax

PROGRAM, DRAW = "program", "draw"

lifted = jax.make_user_context(None)
