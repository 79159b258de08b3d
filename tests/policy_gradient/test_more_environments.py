"""jumanji and brax behind the two functions of a rollout, where they are installed; and wrappers that begin episodes by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_scorefn as sf
import jax_scorefn.policy_gradient as pg

pytestmark = [pytest.mark.usefixtures("foreign"), pytest.mark.filterwarnings("ignore")]


def test_a_maze_of_jumanji_is_walked_by_legal_moves():
    jumanji = pytest.importorskip("jumanji")
    environment = pg.from_jumanji(jumanji.make("Snake-v1"))

    def policy(p, o):
        return sf.Categorical(logits=pg.legal_logits(jnp.full(o.action_mask.shape, p), o.action_mask))

    steps = jax.jit(jax.vmap(lambda k: pg.rollout(policy, *environment, 0.0, k, 60)))(
        jax.random.split(jax.random.key(0), 16)
    )
    legal = np.take_along_axis(
        np.asarray(steps.observations.action_mask), np.asarray(steps.actions)[..., None], axis=-1
    )
    assert np.all(legal) and not np.any(steps.terminated & steps.truncated)
    blind = lambda p, o: sf.Categorical(logits=jnp.full(4, p))
    steps = jax.jit(jax.vmap(lambda k: pg.rollout(blind, *environment, 0.0, k, 60)))(
        jax.random.split(jax.random.key(1), 16)
    )
    ended = np.asarray(steps.terminated)
    assert np.any(ended) and np.all(np.asarray(steps.episode_lengths)[ended] > 0)
    from jumanji.wrappers import AutoResetWrapper

    with pytest.raises(ValueError, match="AutoResetWrapper begins a new episode by itself"):
        pg.from_jumanji(AutoResetWrapper(jumanji.make("Snake-v1")))


@pytest.mark.float32  # theirs mixes int32 and int64
def test_a_time_limit_of_jumanji_is_what_it_says_it_is():
    jumanji = pytest.importorskip("jumanji")
    from jumanji.environments import Maze

    environment = pg.from_jumanji(Maze(time_limit=5))
    policy = lambda p, o: sf.Categorical(logits=pg.legal_logits(jnp.full(4, p), o.action_mask))
    steps = jax.jit(lambda k: pg.rollout(policy, *environment, 0.0, k, 20))(jax.random.key(1))
    assert np.all(np.asarray(steps.episode_lengths)[np.asarray(steps.terminated | steps.truncated)] <= 5)
    assert jumanji.__version__


def test_a_body_of_brax_falls_and_is_cut_off():
    envs = pytest.importorskip("brax.envs")
    env = envs.get_environment("inverted_pendulum", backend="generalized")
    environment = pg.from_brax(env, episode_length=30)
    policy = lambda p, o: sf.Normal(loc=jnp.zeros(1) + p * o[1], scale=0.3)
    run = jax.jit(lambda k: pg.rollout(policy, *environment, 0.0, k, 64))
    steps = run(jax.random.key(0))
    lengths = np.asarray(steps.episode_lengths)
    assert lengths.max() <= 30 and np.any(steps.terminated | steps.truncated)
    assert np.all(np.asarray(steps.truncated)[lengths == 30] | np.asarray(steps.terminated)[lengths == 30])
    from brax.envs.wrappers.training import AutoResetWrapper, EpisodeWrapper

    with pytest.raises(ValueError, match="AutoResetWrapper begins a new episode by itself"):
        pg.from_brax(AutoResetWrapper(EpisodeWrapper(env, 10, 1)))
    cut = pg.from_brax(EpisodeWrapper(env, 10, 1))
    steps = jax.jit(lambda k: pg.rollout(policy, *cut, 0.0, k, 25))(jax.random.key(2))
    assert np.asarray(steps.episode_lengths).max() <= 10 and np.any(steps.truncated)
    with pytest.raises(ValueError, match="episode_length"):
        pg.from_brax(env, episode_length=0)


class AutoResetWrapper:
    """What a wrapper of that name looks like from outside."""

    def __init__(self, env):
        self._env = env


class Other(AutoResetWrapper):
    pass


def test_wrappers_that_begin_episodes_by_themselves_are_refused_however_deep():
    for make in (pg.from_jumanji, pg.from_brax):
        with pytest.raises(ValueError, match="Pass the environment inside of it"):
            make(Other(AutoResetWrapper(None)))
        make(Other(Other(object())))
