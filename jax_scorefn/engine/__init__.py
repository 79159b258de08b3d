"""The one place that makes the noise of each draw, maps over draws, chunks and shards."""

from jax_scorefn.engine._map import HOST_RESULT as HOST_RESULT
from jax_scorefn.engine._map import map_draws as map_draws
from jax_scorefn.engine._map import map_index as map_index
from jax_scorefn.engine._map import points as points
from jax_scorefn.engine._noise import Noise as Noise
from jax_scorefn.engine._noise import noise_and_key_of as noise_and_key_of
from jax_scorefn.engine._noise import noise_of as noise_of
from jax_scorefn.engine._noise import uniforms as uniforms
from jax_scorefn.engine._shard import rows_at as rows_at
