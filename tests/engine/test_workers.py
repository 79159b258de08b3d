"""A black box over the workers of an executor: the numbers of the serial run in their order, and a word on draws that do not come back."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import covering

import jax_scorefn as sf

pytestmark = pytest.mark.usefixtures("unchecked_keys")  # both sides have the same draws
WALK = sf.family(lambda logits: sf.Bernoulli(logits=logits))
LOGITS, KEY = jnp.linspace(-1.0, 1.0, 6), jax.random.key(0)


def highest(x):
    return float(np.max(np.cumsum(2.0 * x - 1.0)))


def highest_of_all(x):
    return np.max(np.cumsum(2.0 * x - 1.0, axis=1), axis=1)


def gradient(f, num_samples=40, **options):
    run = lambda p, k: sf.score_function_grad(f, WALK, p, k, num_samples=num_samples, **options)
    return jax.jit(run)(LOGITS, KEY)


class Late(Executor):
    """Keeps what it is given, and does it from the last to the first once so much is there; its futures tell nothing of themselves."""

    def __init__(self, wanted):
        self.kept, self.wanted = [], wanted

    def submit(self, fn, /, *args):
        self.kept.append((future := Future(), fn, args))
        if len(self.kept) == self.wanted:
            for kept, f, given in reversed(self.kept):
                kept.set_result(f(*given))
        return future


@pytest.mark.parametrize("batch_size", covering([None, 1, 7, 1000], {None: "default", 7: "some"}.get))
@pytest.mark.parametrize("vectorized", [False, True])
def test_threads_give_the_numbers_of_the_serial_run(vectorized, batch_size):
    f = highest_of_all if vectorized else highest
    with ThreadPoolExecutor(3) as pool:
        box = sf.black_box(f, vectorized=vectorized, executor=pool, batch_size=batch_size)
        for options in ({}, {"chunk_size": 16}):
            alone = gradient(sf.black_box(f, vectorized=vectorized), **options)
            np.testing.assert_array_equal(gradient(box, **options), alone)
        both = jax.vmap(box)(jnp.stack([jnp.zeros((5, 6)), jnp.ones((5, 6))]).reshape(10, 6))
    np.testing.assert_array_equal(both, [-1.0] * 5 + [6.0] * 5)


def test_draws_come_back_in_their_order_whoever_is_first():
    seen = []

    def note(x):
        seen.append(tuple(x))
        return highest(x)

    np.testing.assert_array_equal(gradient(sf.black_box(note, executor=Late(40))), gradient(sf.black_box(highest)))
    assert len(seen) == 40


def test_several_numbers_of_a_draw_and_trees_of_draws():
    pair = sf.family(lambda p: sf.Joint({"x": sf.Normal(loc=p, scale=jnp.ones(2)), "n": sf.Poisson(rate=3.0)}))
    f = lambda z: np.stack([z["x"].sum() * z["n"], z["n"]])
    total = lambda box: lambda p, k: sf.score_function(lambda z: jnp.sum(box(z)), pair, p, k, num_samples=9)
    with ThreadPoolExecutor(2) as pool:
        boxes = sf.black_box(f, result_shape=(2,)), sf.black_box(f, result_shape=(2,), executor=pool, batch_size=2)
        alone, parted = (jax.jit(jax.grad(total(box)))(jnp.zeros(2), KEY) for box in boxes)
    np.testing.assert_array_equal(alone, parted)


def test_what_raises_is_told_with_its_draw_and_where():
    def picky(x):
        if x[0] == 1 and x[1] == 1:
            raise ArithmeticError("a draw like that")
        return 0.0

    draws = jnp.zeros((12, 6)).at[7].set(1.0)
    with ThreadPoolExecutor(2) as pool, pytest.raises(Exception, match=r"draws 6 to 7 of 12") as told:
        jax.vmap(sf.black_box(picky, executor=pool, batch_size=2))(draws)
    assert "ArithmeticError: a draw like that" in str(told.value) and "in picky" in str(told.value)


@pytest.mark.parametrize("tells", [True, False])
def test_a_draw_that_does_not_come_back_in_time_is_named(tells):
    enough = threading.Event()

    def slow(x):
        if x[0] == 1:
            enough.wait()
        return 0.0

    draws = jnp.zeros((9, 6)).at[4].set(1.0)
    pool = ThreadPoolExecutor(2) if tells else Silent()
    try:
        start = time.perf_counter()
        with pytest.raises(Exception, match=r"nothing came back for 0.3 seconds, and draws 4 of 9"):
            jax.vmap(sf.black_box(slow, executor=pool, timeout=0.3))(draws)
        assert time.perf_counter() - start < 20
    finally:
        enough.set()
        pool.shutdown(wait=True)


class Silent(Executor):
    """A thread for each draw, whose future is pending until it is done, as those of a cluster are."""

    def __init__(self):
        self.threads = []

    def submit(self, fn, /, *args):
        future = Future()

        def run():
            result = fn(*args)
            if not future.cancelled():
                future.set_result(result)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        for thread in self.threads:
            thread.join()


def dies(x):
    if x[0] == 1:
        os._exit(3)
    return highest(x)


@pytest.mark.slow
def test_processes():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for f, vectorized in ((highest, False), (highest_of_all, True)):
            alone = gradient(sf.black_box(f, vectorized=vectorized))
            parted = gradient(sf.black_box(f, vectorized=vectorized, executor=pool, batch_size=5))
            np.testing.assert_array_equal(alone, parted)
        with pytest.raises(Exception, match="lost: a worker died") as told:
            jax.vmap(sf.black_box(dies, executor=pool))(jnp.zeros((6, 6)).at[3].set(1.0))
        assert "of 6" in str(told.value) and "3" in str(told.value).split(" of 6")[0]


@pytest.mark.slow
def test_loky():
    loky = pytest.importorskip("loky")
    with loky.ProcessPoolExecutor(2) as pool:  # pickles what has no name in a module
        box = sf.black_box(lambda x: highest(x), executor=pool, batch_size=10)
        np.testing.assert_array_equal(gradient(box), gradient(sf.black_box(highest)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        box = sf.black_box(lambda x: highest(x), executor=client.get_executor(pure=False), batch_size=10, timeout=60)
        np.testing.assert_array_equal(gradient(box), gradient(sf.black_box(highest)))


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"executor": 3}, TypeError, "which has submit"),
        ({"batch_size": 3}, ValueError, "give executor="),
        ({"timeout": 3.0}, ValueError, "give executor="),
        ({"executor": Late(1), "batch_size": 0}, ValueError, "batch_size"),
        ({"executor": Late(1), "timeout": 0}, ValueError, "above 0"),
        ({"executor": Late(1), "timeout": "soon"}, ValueError, "above 0"),
        ({"executor": Late(1), "timeout": True}, ValueError, "above 0"),
        ({"executor": Late(1), "timeout": float("inf")}, ValueError, "None .for ever"),
        ({"executor": Late(1), "timeout": 1e30}, ValueError, "a clock can wait for"),
    ],
)
def test_bad_options_are_told(options, error, word):
    with pytest.raises(error, match=word):
        sf.black_box(highest, **options)
