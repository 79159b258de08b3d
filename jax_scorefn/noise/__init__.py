"""Random numbers: the words of ``jax.random``, written out, and uniforms made of them. Not for users: see ``sf.schemes`` for those."""

from jax_scorefn.noise import samplers as samplers
from jax_scorefn.noise._materialize import materialize as materialize
from jax_scorefn.noise._threefry import (
    bits32 as bits32,
    bits64 as bits64,
    bits_in_a_row as bits_in_a_row,
    stock as stock,
)
from jax_scorefn.noise._uniforms import (
    Fine as Fine,
    note_use as note_use,
    share_below as share_below,
    threefry_words as threefry_words,
    uniform as uniform,
    uniform_of_bits as uniform_of_bits,
)
