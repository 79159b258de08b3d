"""How a distribution may be called: by name, in the order that libraries share, and with what they call it elsewhere."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import pytest

import jax_scorefn as sf
from jax_scorefn.distributions import _constructors
from jax_scorefn.programs import _source

CLASSES = {
    name: thing
    for name, thing in vars(sf).items()
    if inspect.isclass(thing) and issubclass(thing, sf.Distribution) and dataclasses.is_dataclass(thing)
}
USUAL = {
    "Normal": ("loc", "scale"), "LogNormal": ("loc", "scale"), "Laplace": ("loc", "scale"), "Cauchy": ("loc", "scale"),
    "Logistic": ("loc", "scale"), "Gumbel": ("loc", "scale"), "TanhNormal": ("loc", "scale"), "StudentT": ("df", "loc", "scale"),
    "HalfNormal": ("scale",), "Exponential": ("rate",), "Poisson": ("rate",), "Gamma": ("concentration", "rate"), "Beta": ("a", "b"),
    "Uniform": ("low", "high"), "Dirichlet": ("concentration",), "VonMises": ("loc", "concentration"), "MultivariateNormal": ("loc",),
    "TruncatedNormal": ("loc", "scale", "low", "high"), "Binomial": ("total_count",), "Multinomial": ("total_count",),
    "NegativeBinomial": ("total_count",), "Mixture": ("components",), "Bernoulli": (), "Categorical": (), "OneHotCategorical": (),
    "Geometric": (), "Weibull": (), "BetaBinomial": (), "Autoregressive": ("step", "params", "carry", "length", "start"),
}  # fmt: skip


def test_each_has_the_positions_that_libraries_share():
    assert {name: tuple(_constructors.positions(cls)) for name, cls in CLASSES.items()} == USUAL


def test_a_call_by_position_is_the_call_by_name():
    assert repr(sf.StudentT(3.0, 0.5, 2.0)) == repr(sf.StudentT(df=3.0, loc=0.5, scale=2.0))
    assert repr(sf.Normal(0.5, scale=2.0)) == repr(sf.Normal(loc=0.5, scale=2.0))
    assert sf.Binomial(3, probs=0.5).total_count == 3
    assert str(inspect.signature(sf.StudentT)).startswith("(df: 'Positive', loc: 'Finite' = 0.0, scale")
    moved = jax.jit(lambda loc: sf.Normal(loc, jnp.ones(3)).log_prob(jnp.zeros(3)))(jnp.ones(3))
    assert moved == sf.Normal(loc=1.0, scale=1.0).log_prob(0.0) * 3
    assert dataclasses.replace(sf.Normal(0.0, 1.0), loc=2.0).loc == 2.0


WRONG = {
    "Normal takes loc and scale by position, and 3 were given": lambda: sf.Normal(0.0, 1.0, 2.0),
    r"Bernoulli takes its parameters by name, since .* first: Bernoulli\(logits=..., probs=...\)": lambda: sf.Bernoulli(
        0.3
    ),
    "Weibull takes its parameters by name": lambda: sf.Weibull(1.0, 2.0),
    "Binomial takes total_count by position, and 2 were given; its parameters are": lambda: sf.Binomial(3, 0.5),
    "Normal was given loc twice": lambda: sf.Normal(0.0, loc=1.0),
    "Normal needs scale; its parameters are loc, scale": lambda: sf.Normal(0.0),
    "Normal needs loc and scale": lambda: sf.Normal(),
    r"no parameter 'mean' \(it is called loc here\); its parameters are loc, scale": lambda: sf.Normal(
        mean=0.0, std=1.0
    ),
    "no parameter 'variance' .the square root": lambda: sf.Normal(loc=0.0, variance=1.0),
    "no parameter 'scale' .rate is 1 / scale": lambda: sf.Exponential(scale=1.0),
    "no parameter 'p' .it is called probs here": lambda: sf.Bernoulli(p=0.3),
    "no parameter 'alpha' .it is called concentration": lambda: sf.Gamma(alpha=1.0, beta=1.0),
    "no parameter 'alpha' .it is called a here": lambda: sf.Beta(alpha=1.0, beta=1.0),
    "no parameter 'num_trials' .it is called total_count": lambda: sf.Binomial(num_trials=3, probs=0.5),
    "no parameter 'foo'; its parameters are logits, probs": lambda: sf.Categorical(foo=1.0),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_call_says_what_would_be_right(message):
    with pytest.raises(TypeError, match=message):
        WRONG[message]()


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.float32
def test_a_moment_is_taken_for_a_parameter_only_where_it_is_one(name):
    """Loc is not the mean of a LogNormal, nor scale the standard deviation of a Laplace."""
    for moment in _constructors.MOMENTS:
        with pytest.raises(TypeError, match=f"no parameter '{moment}'") as caught:
            CLASSES[name](**{moment: 1.0})
        assert ("(" in str(caught.value)) == (name == "Normal")
    if name == "Normal":
        dist = sf.Normal(0.3, 2.0)
        assert dist.mean() == jnp.float32(0.3) and dist.covariance_times(jnp.ones(())) == 4.0


def test_a_logarithm_is_not_what_it_is_of():
    with pytest.raises(TypeError, match=r"'log_rate' \(rate is exp\(log_rate\)\)"):
        sf.Poisson(log_rate=0.0)


def test_what_a_lost_draw_is_told_to_become_can_be_made():
    for call in _source.SAMPLERS.values():
        name, _, given = call.rstrip(")").partition("(")
        fields = {field.name for field in dataclasses.fields(CLASSES[name])}
        assert {pair.partition("=")[0] for pair in given.split(", ")} <= fields
