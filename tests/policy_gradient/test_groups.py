"""Advantages among the members of a group."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scorefn import policy_gradient as pg

group_advantages = jax.jit(pg.group_advantages, static_argnames=("group_axis", "baseline", "divide_by_std"))

RETURNS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def test_the_formulas():
    got = np.asarray(group_advantages(RETURNS, group_axis=1))
    for i in range(3):
        for j in range(5):
            others = np.delete(RETURNS[i], j)
            np.testing.assert_allclose(got[i, j], RETURNS[i, j] - others.mean(), rtol=1e-4, atol=1e-6)
    centred = RETURNS - RETURNS.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(group_advantages(RETURNS, group_axis=1, baseline="mean"), centred, atol=1e-6)
    for how, ddof in (({}, 1), ({"ddof": 0}, 0), ({"ddof": jnp.int32(1)}, 1)):
        got = group_advantages(RETURNS, group_axis=1, baseline="mean", divide_by_std=True, **how)
        std = RETURNS.std(axis=1, keepdims=True, ddof=ddof)
        np.testing.assert_allclose(got, centred / std, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", [{}, {"baseline": "mean"}, {"divide_by_std": True}])
def test_permuting_a_group_permutes_its_advantages_and_other_groups_do_not_matter(how):
    order = np.array([3, 1, 4, 0, 2])
    got = group_advantages(RETURNS, group_axis=1, **how)
    np.testing.assert_allclose(
        group_advantages(RETURNS[:, order], group_axis=1, **how), got[:, order], rtol=1e-5, atol=1e-6
    )
    other = RETURNS.copy()
    other[1:] += 50.0
    np.testing.assert_array_equal(group_advantages(other, group_axis=1, **how)[0], got[0])
    np.testing.assert_allclose(group_advantages(RETURNS.T, group_axis=0, **how).T, got, rtol=1e-5, atol=1e-6)
    assert not np.allclose(group_advantages(RETURNS, group_axis=0, **how), got)  # the axis decides


@pytest.mark.parametrize("how", [{}, {"baseline": "mean"}, {"divide_by_std": True}])
def test_members_that_are_not_there_change_nothing(how):
    padded = np.concatenate([RETURNS, np.full((3, 2), np.nan, np.float32)], axis=1)
    mask = np.concatenate([np.ones((3, 5), bool), np.zeros((3, 2), bool)], axis=1)
    got = group_advantages(padded, group_axis=1, mask=mask, **how)
    np.testing.assert_allclose(got[:, :5], group_advantages(RETURNS, group_axis=1, **how), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[:, 5:], 0.0)
    alone = group_advantages(padded, group_axis=1, mask=mask & (np.arange(7) == 0), **how)
    np.testing.assert_array_equal(alone, 0.0)


@pytest.mark.parametrize("value", [0.1, 1e4 / 3, -7e7 / 9, 0.0])
@pytest.mark.parametrize("size", [3, 7, 8, 64])
def test_rounding_is_not_magnified_where_all_are_the_same(value, size):
    same = np.full((1, size), value, np.float32)
    got = group_advantages(same, group_axis=1, baseline="mean", divide_by_std=True)
    np.testing.assert_array_equal(got, 0.0)


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
def test_no_advantage_over_a_deviation_is_beyond_the_root_of_the_size(baseline):
    """Not with an odd one out either: a deviation without the member itself would be 0 there, and the advantage as large as one likes."""
    for size in (2, 3, 8, 64):
        returns = np.zeros((2, size), np.float32)
        returns[0, 0], returns[1, : size // 2] = 1.0, 1e6
        got = group_advantages(returns, group_axis=1, baseline=baseline, divide_by_std=True)
        assert np.max(np.abs(got)) < np.sqrt(size) + 1e-4


def test_an_offset_does_no_harm():
    got = group_advantages(RETURNS + np.float32(4096), group_axis=1, divide_by_std=True)
    exact = group_advantages((RETURNS + np.float32(4096)).astype(np.float64) - 4096, group_axis=1, divide_by_std=True)
    np.testing.assert_allclose(got, exact, rtol=2e-3, atol=1e-3)
    assert np.max(np.abs(got)) < 5


def test_it_is_never_differentiated():
    grad = jax.jit(jax.grad(lambda r: jnp.sum(pg.group_advantages(r, group_axis=1) ** 2)))(RETURNS)
    np.testing.assert_array_equal(grad, 0.0)


@pytest.mark.parametrize(
    "how, error, words",
    [
        ({"group_axis": 2}, ValueError, "not an axis"),
        ({"group_axis": 1, "baseline": "median"}, ValueError, "leave_one_out"),
        ({"group_axis": 1, "mask": np.ones((3, 4), bool)}, TypeError, "mask has shape"),
        ({"group_axis": 1, "mask": np.ones((3, 5))}, TypeError, "booleans"),
    ],
)
def test_what_is_refused_and_how(how, error, words):
    with pytest.raises(error, match=words):
        group_advantages(RETURNS, **how)
    with pytest.raises(ValueError, match="two answers at least"):
        group_advantages(RETURNS[:, :1], group_axis=1)
    with pytest.raises(ValueError, match="ddof=-1; it is 1"):
        pg.group_advantages(RETURNS, group_axis=1, ddof=-1)
    with pytest.raises(TypeError):
        pg.group_advantages(RETURNS)
