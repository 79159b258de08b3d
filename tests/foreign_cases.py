"""Distributions of other libraries by one parameter: those whose support it moves, and those whose support stays."""

import warnings

import jax.numpy as jnp

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distrax as dx
    import numpyro.distributions as nd
    import tensorflow_probability.substrates.jax as tfp

tfd, tfb, T = tfp.distributions, tfp.bijectors, nd.transforms
HALVES = jnp.array([0.5, 0.5])


def pair(h):
    return jnp.stack([h, jnp.full_like(h, 2.0)])


COMPOUND = {
    "tfp MixtureSameFamily": lambda h, ends: tfb.Scale(h)(
        tfd.MixtureSameFamily(tfd.Categorical(probs=HALVES), (tfd.Uniform if ends else tfd.Normal)(jnp.zeros(2), jnp.ones(2)))
    ),
    "tfp Mixture": lambda h, ends: tfb.Scale(h)(
        tfd.Mixture(tfd.Categorical(probs=HALVES), [tfd.Beta(1.0, 1.0) if ends else tfd.Normal(1.0, 1.0), tfd.Normal(0.0, 1.0)])
    ),
    "tfp Sample of a mixture": lambda h, ends: tfd.TransformedDistribution(
        tfd.Sample(tfd.MixtureSameFamily(
            tfd.Categorical(probs=HALVES), (tfd.Uniform if ends else tfd.Normal)(jnp.zeros(2), jnp.ones(2))), 2),
        tfb.Scale(h),
    ),
    "distrax Independent": lambda h, ends: dx.Transformed(
        dx.Independent((dx.Uniform if ends else dx.Normal)(jnp.zeros(2), jnp.ones(2)), 1), dx.Block(dx.ScalarAffine(0.0, h), 1)
    ),
    "distrax MixtureSameFamily": lambda h, ends: dx.Transformed(
        dx.MixtureSameFamily(dx.Categorical(probs=HALVES), (dx.Uniform if ends else dx.Normal)(jnp.zeros(2), jnp.ones(2))),
        dx.ScalarAffine(0.0, h),
    ),
    "distrax MixtureOfTwo": lambda h, ends: dx.Transformed(
        dx.MixtureOfTwo(0.5, dx.Normal(0.0, 1.0), (dx.Uniform if ends else dx.Normal)(0.0, 1.0)), dx.ScalarAffine(0.0, h)
    ),
    "numpyro MixtureGeneral": lambda h, ends: nd.TransformedDistribution(
        nd.MixtureGeneral(
            nd.Categorical(probs=HALVES), [nd.Normal(0.0, 1.0), (nd.Uniform if ends else nd.Normal)(0.0, 1.0)],
            support=nd.constraints.real,
        ),
        nd.transforms.AffineTransform(0.0, h),
    ),
}  # fmt: skip
"""Behind a transform: mixtures, and batches in one draw, of distributions that have ends or have none."""

MOVING = {
    "numpyro Uniform": lambda h: nd.Uniform(0.0, h),
    "numpyro Uniform low": lambda h: nd.Uniform(h, 3.0),
    "numpyro LogUniform": lambda h: nd.LogUniform(h, 3.0),
    "numpyro Pareto": lambda h: nd.Pareto(h, 3.0),
    "numpyro Levy": lambda h: nd.Levy(h, 0.5),
    "numpyro LeftTruncated": lambda h: nd.TruncatedNormal(0.3, 1.0, low=h),
    "numpyro RightTruncated": lambda h: nd.TruncatedNormal(0.3, 1.0, high=h),
    "numpyro TwoSidedTruncated": lambda h: nd.TruncatedCauchy(0.3, 1.0, low=-1.0, high=h),
    "numpyro TruncatedGamma": lambda h: nd.TruncatedGamma(2.0, 1.0, low=h, high=3.0),
    "numpyro LowerTruncatedPowerLaw": lambda h: nd.LowerTruncatedPowerLaw(-2.5, h),
    "numpyro DoublyTruncatedPowerLaw": lambda h: nd.DoublyTruncatedPowerLaw(-1.5, h, 3.0),
    "numpyro Delta": lambda h: nd.Delta(h),
    "numpyro Delta density": lambda h: nd.Delta(0.0, h),
    "numpyro Independent": lambda h: nd.Uniform(jnp.zeros(2), pair(h)).to_event(1),
    "numpyro Expanded": lambda h: nd.Uniform(0.0, h).expand([2]).to_event(1),
    "numpyro Masked by True": lambda h: nd.Uniform(0.0, h).mask(True),
    "numpyro scaled uniform": lambda h: nd.TransformedDistribution(nd.Uniform(0.0, 1.0), T.AffineTransform(0.0, h)),
    "numpyro shifted exponential": lambda h: nd.TransformedDistribution(
        nd.Exponential(1.0), T.AffineTransform(h, 1.0)
    ),
    "numpyro exp of uniform": lambda h: nd.TransformedDistribution(nd.Uniform(0.0, h), T.ExpTransform()),
    "numpyro squashed": lambda h: nd.TransformedDistribution(
        nd.Logistic(0.0, 1.0), [T.SigmoidTransform(), T.AffineTransform(0.0, h)]
    ),
    "numpyro MixtureGeneral": lambda h: nd.MixtureGeneral(
        nd.Categorical(probs=HALVES), [nd.Normal(0.0, 1.0), nd.Uniform(0.0, h)], support=nd.constraints.real
    ),
    "numpyro GaussianCopula": lambda h: nd.GaussianCopula(
        nd.Uniform(jnp.zeros(2), pair(h)), correlation_matrix=jnp.eye(2)
    ),
    "tfp Uniform": lambda h: tfd.Uniform(0.0, h),
    "tfp TruncatedNormal": lambda h: tfd.TruncatedNormal(0.3, 1.0, h, 3.0),
    "tfp TruncatedCauchy": lambda h: tfd.TruncatedCauchy(0.3, 1.0, -1.0, h),
    "tfp Triangular": lambda h: tfd.Triangular(0.0, h, 0.3),
    "tfp PERT": lambda h: tfd.PERT(0.0, 0.3, h),
    "tfp Pareto": lambda h: tfd.Pareto(3.0, h),
    "tfp GeneralizedPareto": lambda h: tfd.GeneralizedPareto(h, 1.0, 0.2),
    "tfp GeneralizedExtremeValue": lambda h: tfd.GeneralizedExtremeValue(h, 1.0, 0.2),
    "tfp HalfCauchy": lambda h: tfd.HalfCauchy(h, 1.0),
    "tfp HalfStudentT": lambda h: tfd.HalfStudentT(4.0, h, 1.0),
    "tfp Deterministic": lambda h: tfd.Deterministic(h),
    "tfp VectorDeterministic": lambda h: tfd.VectorDeterministic(pair(h)),
    "tfp FiniteDiscrete": lambda h: tfd.FiniteDiscrete(pair(h), probs=HALVES),
    "tfp Empirical": lambda h: tfd.Empirical(pair(h)),
    "tfp Independent": lambda h: tfd.Independent(tfd.Uniform(jnp.zeros(2), pair(h)), 1),
    "tfp Sample": lambda h: tfd.Sample(tfd.Uniform(0.0, h), 3),
    "tfp BatchBroadcast": lambda h: tfd.Independent(tfd.BatchBroadcast(tfd.Uniform(0.0, h), [2]), 1),
    "tfp BatchReshape": lambda h: tfd.Independent(
        tfd.BatchReshape(tfd.Uniform(jnp.zeros(2), pair(h)), [2, 1]), 2
    ),
    "tfp BatchConcat": lambda h: tfd.Independent(
        tfd.BatchConcat([tfd.Uniform(jnp.zeros(2), pair(h)), tfd.Uniform(jnp.zeros(2), 1.0)], axis=0), 1
    ),
    "tfp Blockwise": lambda h: tfd.Blockwise([tfd.Uniform(0.0, h), tfd.Normal(0.0, 1.0)]),
    "tfp Inflated": lambda h: tfd.Inflated(tfd.Normal(0.0, 1.0), inflated_loc_probs=0.3, inflated_loc=h),
    "tfp scaled uniform": lambda h: tfb.Scale(h)(tfd.Uniform(0.0, 1.0)),
    "tfp shifted exponential": lambda h: tfb.Shift(h)(tfd.Exponential(1.0)),
    "tfp Mixture": lambda h: tfd.Mixture(tfd.Categorical(probs=HALVES), [tfd.Normal(0.0, 1.0), tfd.Uniform(0.0, h)]),
    "tfp MixtureSameFamily": lambda h: tfd.MixtureSameFamily(
        tfd.Categorical(probs=HALVES), tfd.Uniform(jnp.zeros(2), pair(h))
    ),
    "tfp checked Uniform": lambda h: tfd.Uniform(h, 3.0, validate_args=True),
    "distrax Uniform": lambda h: dx.Uniform(0.0, h),
    "distrax CategoricalUniform": lambda h: dx.CategoricalUniform(low=0.0, high=h, logits=jnp.zeros(3)),
    "distrax Deterministic": lambda h: dx.Deterministic(h),
    "distrax Clipped": lambda h: dx.ClippedNormal(0.3, 1.0, -1.0, h),
    "distrax Independent": lambda h: dx.Independent(dx.Uniform(jnp.zeros(2), pair(h)), 1),
    "distrax scaled uniform": lambda h: dx.Transformed(dx.Uniform(0.0, 1.0), dx.ScalarAffine(0.0, h)),
    "distrax shifted gamma": lambda h: dx.Transformed(dx.Gamma(1.0, 1.0), dx.ScalarAffine(h, 1.0)),
    "distrax squashed": lambda h: dx.Transformed(dx.Logistic(0.0, 1.0), dx.Chain([dx.ScalarAffine(0.0, h), dx.Sigmoid()])),
    "distrax of tfp": lambda h: dx.Transformed(tfd.Uniform(0.0, 1.0), tfb.Scale(h)),
    "distrax MixtureSameFamily": lambda h: dx.MixtureSameFamily(
        dx.Categorical(probs=HALVES), dx.Uniform(jnp.zeros(2), pair(h))
    ),
    "distrax MixtureOfTwo": lambda h: dx.MixtureOfTwo(0.4, dx.Normal(0.0, 1.0), dx.Uniform(0.0, h)),
    **{f"{name} of uniforms, scaled": lambda h, name=name: COMPOUND[name](h, True) for name in COMPOUND},
}  # fmt: skip
"""Any h of about 0.7."""

STAYING = {
    **{f"{name} of normals, scaled": lambda h, name=name: COMPOUND[name](h, False) for name in COMPOUND},
    "numpyro Normal": lambda h: nd.Normal(h, 1.0),
    "numpyro TruncatedNormal loc": lambda h: nd.TruncatedNormal(h, 1.0, low=-1.0, high=2.0),
    "numpyro TruncatedNormal scale": lambda h: nd.TruncatedNormal(0.3, h, low=-1.0),
    "numpyro TruncatedGamma concentration": lambda h: nd.TruncatedGamma(1.0 + h, 1.0, low=0.5, high=3.0),
    "numpyro Pareto alpha": lambda h: nd.Pareto(1.0, 2.0 + h),
    "numpyro Beta": lambda h: nd.Beta(1.0 + h, 2.0),
    "numpyro Exponential": lambda h: nd.Exponential(h),
    "numpyro scaled exponential": lambda h: nd.TransformedDistribution(nd.Exponential(1.0), T.AffineTransform(0.0, h)),
    "numpyro power of uniform": lambda h: nd.TransformedDistribution(nd.Uniform(0.0, 1.0), T.PowerTransform(h)),
    "numpyro moved normal": lambda h: nd.TransformedDistribution(nd.Normal(0.0, 1.0), T.AffineTransform(h, h)),
    "numpyro LogNormal": lambda h: nd.LogNormal(h, 1.0),
    "numpyro Kumaraswamy": lambda h: nd.Kumaraswamy(1.0 + h, 1.5),
    "numpyro mixture": lambda h: nd.MixtureSameFamily(nd.Categorical(logits=pair(h)), nd.Normal(jnp.zeros(2), pair(h))),
    "numpyro Masked by True": lambda h: nd.Normal(h, 1.0).mask(True),
    "numpyro Bernoulli": lambda h: nd.Bernoulli(logits=h),
    "numpyro VonMises": lambda h: nd.VonMises(h, 1.0),
    "tfp Normal": lambda h: tfd.Normal(h, 1.0),
    "tfp TruncatedNormal loc": lambda h: tfd.TruncatedNormal(h, 1.0, -1.0, 2.0),
    "tfp Pareto concentration": lambda h: tfd.Pareto(2.0 + h, 1.0),
    "tfp Gumbel": lambda h: tfd.Gumbel(h, 1.0),
    "tfp Weibull": lambda h: tfd.Weibull(1.0 + h, 1.0),
    "tfp Kumaraswamy": lambda h: tfd.Kumaraswamy(1.0 + h, 1.5),
    "tfp GeneralizedPareto shape": lambda h: tfd.GeneralizedPareto(0.0, 1.0, 0.2 * h),
    "tfp HalfCauchy scale": lambda h: tfd.HalfCauchy(0.0, h),
    "tfp scaled exponential": lambda h: tfb.Scale(h)(tfd.Exponential(1.0)),
    "tfp moved normal": lambda h: tfb.Chain([tfb.Shift(h), tfb.Scale(h)])(tfd.Normal(0.0, 1.0)),
    "tfp MultivariateNormal": lambda h: tfd.MultivariateNormalTriL(pair(h), jnp.array([[1.0, 0.0], [0.5, 1.0]])),
    "tfp BatchReshape": lambda h: tfd.Independent(tfd.BatchReshape(tfd.Normal(pair(h), 1.0), [2, 1]), 2),
    "tfp Dirichlet": lambda h: tfd.Dirichlet(pair(h)),
    "tfp Poisson": lambda h: tfd.Poisson(h),
    "distrax Normal": lambda h: dx.Normal(h, 1.0),
    "distrax Gumbel": lambda h: dx.Gumbel(h, 1.0),
    "distrax Beta": lambda h: dx.Beta(1.0 + h, 2.0),
    "distrax Clipped loc": lambda h: dx.ClippedNormal(h, 1.0, -1.0, 1.5),
    "distrax scaled gamma": lambda h: dx.Transformed(dx.Gamma(2.0, 1.0), dx.ScalarAffine(0.0, h)),
    "distrax moved normal": lambda h: dx.Transformed(dx.Normal(0.0, 1.0), dx.ScalarAffine(h, h)),
    "distrax Categorical": lambda h: dx.Categorical(logits=pair(h)),
}

TIED = {
    "numpyro Bernoulli": (lambda p: nd.Bernoulli(logits=p), 0.0, 1),
    "numpyro Bernoulli 0": (lambda p: nd.Bernoulli(logits=p), 0.0, 0),
    "numpyro Binomial": (lambda p: nd.Binomial(total_count=3, logits=p), 0.0, 1),
    "numpyro Bernoullis": (lambda p: nd.Bernoulli(logits=p).expand([3, 2]).to_event(2), 0.0, jnp.eye(3, 2)),
    "numpyro mixture of Bernoulli": (
        lambda p: nd.MixtureSameFamily(nd.Categorical(logits=jnp.zeros(2)), nd.Bernoulli(logits=p)), jnp.zeros(2), 1,
    ),
    "numpyro inflated Binomial": (
        lambda p: nd.ZeroInflatedDistribution(nd.Binomial(3, logits=p), gate_logits=p), 0.0, 0,
    ),
    "numpyro masked Bernoulli": (lambda p: nd.Bernoulli(logits=p).mask(True), 0.0, 1),
    "numpyro Categorical": (lambda p: nd.Categorical(logits=p), jnp.zeros(3), 1),
    "numpyro Multinomial": (lambda p: nd.Multinomial(3, logits=p), jnp.zeros(3), jnp.array([1, 2, 0])),
    "numpyro Geometric": (lambda p: nd.Geometric(logits=p), 0.0, 2),
    "numpyro NegativeBinomialLogits": (lambda p: nd.NegativeBinomialLogits(2.0, p), 0.0, 2),
    "numpyro NegativeBinomial2": (lambda p: nd.NegativeBinomial2(p, p), 1.0, 2),
    "numpyro OrderedLogistic": (lambda p: nd.OrderedLogistic(p, jnp.array([-1.0, 0.0, 1.0])), 0.0, 2),
    "numpyro gate": (lambda p: nd.ZeroInflatedDistribution(nd.Poisson(2.0), gate_logits=p), 0.0, 2),
    "numpyro mixture": (
        lambda p: nd.MixtureSameFamily(nd.Categorical(logits=p), nd.Normal(p, 1.0)), jnp.zeros(3), 0.3,
    ),
    "numpyro Logistic": (lambda p: nd.Logistic(p, 1.0), 0.0, 0.0),
    "numpyro SoftLaplace": (lambda p: nd.SoftLaplace(p, 1.0), 0.0, 0.0),
    "numpyro Gumbel": (lambda p: nd.Gumbel(p, 1.0), 0.0, 0.0),
    "numpyro StudentT": (lambda p: nd.StudentT(3.0, p, 1.0), 0.0, 0.0),
    "numpyro Cauchy": (lambda p: nd.Cauchy(p, 1.0), 0.0, 0.0),
    "numpyro VonMises": (lambda p: nd.VonMises(p, 1.0), 0.0, 0.0),
    "numpyro TruncatedNormal": (lambda p: nd.TruncatedNormal(p, 1.0, low=-1.0, high=1.0), 0.0, 0.0),
    "numpyro RelaxedBernoulli": (lambda p: nd.RelaxedBernoulli(jnp.array(0.5), logits=p), 0.0, 0.5),
    "numpyro BetaBinomial": (lambda p: nd.BetaBinomial(p, p, 3), 1.0, 1),
    "numpyro Beta": (lambda p: nd.Beta(p, p), 1.0, 0.5),
    "numpyro Gamma": (lambda p: nd.Gamma(p, p), 1.0, 1.0),
    "numpyro Dirichlet": (lambda p: nd.Dirichlet(p), jnp.ones(3), jnp.full(3, 1 / 3)),
    "numpyro DirichletMultinomial": (lambda p: nd.DirichletMultinomial(p, 3), jnp.ones(3), jnp.array([1, 2, 0])),
    "numpyro Weibull": (lambda p: nd.Weibull(p, p), 1.0, 1.0),
    "numpyro probs": (lambda p: nd.Bernoulli(probs=p), 0.5, 1),
    "numpyro Binomial probs": (lambda p: nd.Binomial(3, probs=p), 0.5, 3),
    "numpyro MultivariateStudentT": (lambda p: nd.MultivariateStudentT(3.0, p, jnp.eye(2)), jnp.zeros(2), jnp.zeros(2)),
    "tfp Bernoulli": (lambda p: tfd.Bernoulli(logits=p), 0.0, 1),
    "tfp Binomial": (lambda p: tfd.Binomial(3.0, logits=p), 0.0, 1.0),
    "tfp Categorical": (lambda p: tfd.Categorical(logits=p), jnp.zeros(3), 1),
    "tfp Multinomial": (lambda p: tfd.Multinomial(3.0, logits=p), jnp.zeros(3), jnp.array([1.0, 2.0, 0.0])),
    "tfp Geometric": (lambda p: tfd.Geometric(logits=p), 0.0, 2.0),
    "tfp NegativeBinomial": (lambda p: tfd.NegativeBinomial(2.0, logits=p), 0.0, 2.0),
    "tfp Poisson": (lambda p: tfd.Poisson(log_rate=p), 0.0, 0.0),
    "tfp OrderedLogistic": (lambda p: tfd.OrderedLogistic(jnp.array([-1.0, 0.0, 1.0]), p), 0.0, 2),
    "tfp Logistic": (lambda p: tfd.Logistic(p, 1.0), 0.0, 0.0),
    "tfp SinhArcsinh": (lambda p: tfd.SinhArcsinh(p, 1.0, p), 0.0, 0.0),
    "tfp StudentT": (lambda p: tfd.StudentT(3.0, p, 1.0), 0.0, 0.0),
    "tfp LogitNormal": (lambda p: tfd.LogitNormal(p, 1.0), 0.0, 0.5),
    "tfp RelaxedBernoulli": (lambda p: tfd.RelaxedBernoulli(0.5, logits=p), 0.0, 0.5),
    "tfp ContinuousBernoulli": (lambda p: tfd.ContinuousBernoulli(logits=p), 0.0, 0.3),
    "tfp Beta": (lambda p: tfd.Beta(p, p), 1.0, 0.5),
    "tfp Skellam": (lambda p: tfd.Skellam(p, p), 1.0, 1.0),
    "tfp Plackett-Luce": (lambda p: tfd.PlackettLuce(jnp.exp(p)), jnp.zeros(3), jnp.array([0, 2, 1])),
    "tfp mixture": (
        lambda p: tfd.MixtureSameFamily(tfd.Categorical(logits=p), tfd.Bernoulli(logits=p)), jnp.zeros(3), 1,
    ),
    "distrax Bernoulli": (lambda p: dx.Bernoulli(logits=p), 0.0, 1),
    "distrax Categorical": (lambda p: dx.Categorical(logits=p), jnp.zeros(3), 1),
    "distrax Multinomial": (lambda p: dx.Multinomial(logits=p, total_count=3), jnp.zeros(3), jnp.array([1, 2, 0])),
    "distrax Logistic": (lambda p: dx.Logistic(p, 1.0), 0.0, 0.0),
    "distrax Gumbel": (lambda p: dx.Gumbel(p, 1.0), 0.0, 0.0),
    "distrax VonMises": (lambda p: dx.VonMises(p, 1.0), 0.0, 0.0),
    "distrax Beta": (lambda p: dx.Beta(p, p), 1.0, 0.5),
}  # fmt: skip
"""A distribution, parameters at which the branches of its formula may meet, and a draw."""
