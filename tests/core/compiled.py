"""The learner's functions, compiled once for all tests: run eagerly, JAX compiles every operation on its own."""

import jax

from consensus_imitation import Learner

init = jax.jit(Learner.init, static_argnames="num_streams")
decide = jax.jit(Learner.decide)
observe = jax.jit(Learner.observe)
decide_batch = jax.jit(Learner.decide_batch)
observe_batch = jax.jit(Learner.observe_batch)
