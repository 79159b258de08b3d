"""Rare bits: as often as their probability says, though a float32 uniform is a multiple of 2^-23."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
from jax_scorefn.noise import Fine, uniform, uniform_of_bits

ALL_WORDS = 2.0**32


def words_below(p):
    """How many of the 2^32 words make a fine uniform below p, by bisection: uniforms grow with their words."""
    low, high = 0, 2**32
    while low < high:
        middle = (low + high) // 2
        u = np.asarray(uniform_of_bits(jnp.uint32(middle), jnp.float32, fine=True))
        low, high = (middle + 1, high) if u < np.float32(p) else (low, middle)
    return low


@pytest.mark.parametrize("p", [1e-9, 1e-8, 1e-7, 1e-6, 1e-4, 3e-3, 0.3])
def test_the_distribution_of_a_comparison_with_a_fine_uniform(p):
    """Exact, over all words: off by a part of 2^-32 / p at most, and 2^-15. By 2^-23 it was 12 times too much at 1e-8."""
    drawn = words_below(p) / ALL_WORDS
    assert abs(drawn / float(np.float32(p)) - 1) <= max(2.0**-32 / p, 2.0**-15)
    assert p > 1e-7 or np.ceil(p * 2**23) / 2**23 > 1.1 * p


@pytest.mark.float32
def test_fine_uniforms_are_those_of_jax_random_but_for_more_digits():
    key = jax.random.key(0)
    fine = np.asarray(uniform(key, Fine((100_000,), jnp.float32)))
    plain = np.asarray(jax.random.uniform(jax.random.clone(key), (100_000,)))
    np.testing.assert_array_equal(fine[fine >= 2.0**-8], plain[plain >= 2.0**-8])
    assert np.all((fine >= plain) & (fine < plain + 2.0**-23)) and np.any(fine > plain)


@pytest.mark.parametrize("how", ["sample", "score_function"])
@pytest.mark.float32
def test_a_rare_one_is_decided_by_all_32_bits(how):
    """By the smallest word of two million: a one where it is below p 2^32, though its uniform of 23 bits is 0 either way."""
    key, size, num = jax.random.key(4), 1000, 2000
    word = int(np.min(jax.random.bits(jax.random.clone(key), (num, size))))
    assert 0 < word < 2**9

    @jax.jit
    def ones(p):
        dist = sf.Bernoulli(probs=jnp.full((num, size) if how == "sample" else size, p))
        if how == "sample":
            return jnp.sum(dist.sample(key))
        return num * sf.score_function(jnp.sum, sf.family(lambda _: dist), 0.0, key, num_samples=num, baseline=None)

    with jax.debug_key_reuse(False):
        counts = [float(ones(np.float32((word + half) / ALL_WORDS))) for half in (-0.5, 0.5)]
    np.testing.assert_allclose(counts, [0, 1], rtol=1e-6)
