"""The one place that makes the noise of each draw, maps over draws, chunks and shards."""

from jax_scorefn.engine._black_box import NOT_DIFFERENTIABLE as NOT_DIFFERENTIABLE, black_box as black_box
from jax_scorefn.engine._chunk import chunk_of_sums as chunk_of_sums
from jax_scorefn.engine._map import (
    map_draws as map_draws,
    map_index as map_index,
    points as points,
    sum_draws as sum_draws,
)
from jax_scorefn.engine._noise import (
    Noise as Noise,
    noise_and_key_of as noise_and_key_of,
    noise_of as noise_of,
    uniforms as uniforms,
)
from jax_scorefn.engine._shard import over_devices as over_devices, rows_of as rows_of
