"""Operations on random keys."""

from __future__ import annotations

from jax_scorefn.programs.rules._base import Map, Operation, rule, same


@rule("random_fold_in")
def fold_in(op: Operation) -> list[Map]:
    """Keys folded with numbers: element by element.

    Example: jax.random.fold_in(k, i), k: key (), i: int ()
    Maps: [{}, {}]
    """
    shape = op.results[0]
    return [same(range(len(shape))) if x == shape else {} for x in op.shapes]


@rule("random_split", "random_bits", "random_unwrap")
def of_keys(op: Operation) -> list[Map]:
    """Made of keys: their axes come first.

    Example: jax.vmap(lambda k: jax.random.bits(k, (3,)))(k), k: key (2,)
    Maps: [{0: 0}]
    """
    return [same(range(len(op.shapes[0])))]


@rule("random_wrap")
def wrapped(op: Operation) -> list[Map]:
    """Keys made of words: the last axis, the words of a key, goes.

    Example: jax.random.wrap_key_data(i), i: uint (3, 2)
    Maps: [{0: 0}]
    """
    return [same(range(len(op.results[0])))]


@rule("random_gamma")
def gamma(op: Operation) -> list[Map]:
    """Gamma variables: element by element of the concentration; the axes of the keys come first.

    Example: jax.vmap(jax.random.gamma)(k, x), k: key (2,), x: (2, 3)
    Maps: [{0: 0}, {0: 0, 1: 1}]
    """
    return [same(range(len(shape))) for shape in op.shapes]
