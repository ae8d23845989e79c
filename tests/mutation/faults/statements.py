"""Deliberate faults in what is promised, and the draw."""

from .fault import Fault

DRAW = ("tests/core/test_draw.py",)
STUDIED = ("tests/core/test_studied.py",)
RARE = ("tests/core/certificates/test_rare_events.py",)
PROMISES = ("tests/core/test_promises.py",)

FAULTS: list[Fault] = [
    Fault(
        "quorum-without-a-veto",
        "core/certificate",
        "return learner.selection.tolerated_members if math.isfinite(veto_factor(learner.aggregation)) else 0",
        "return learner.selection.tolerated_members",
        PROMISES,
    ),
    Fault(
        "rounds-veto-as-one-draw",
        "core/aggregation/rules",
        "            return float(self.rounds)\n",
        "            return 1.0\n",
        PROMISES,
    ),
    Fault(
        "a-derived-rule-promises-as-much-as-the-minimum",
        "core/certificate",
        "if type(rule) is not Minimum:",
        "if not isinstance(rule, Minimum):",
        PROMISES,
    ),
    Fault(
        "an-episode-is-promised-as-if-it-began-by-itself",
        "core/certificate",
        "P(demonstrator that takes ",
        "P(demonstrator that ",
        ("tests/core/test_statement.py",),
    ),
    Fault(
        "top-of-all-may-leave-out",
        "core/selection",
        "return 0.0 if k >= _check_num_members(num_members) else min(",
        "return 0.0 if k > _check_num_members(num_members) else min(",
        ("tests/core/test_selection.py",),
    ),
    Fault(
        "ties-are-not-counted",
        "core/bounds",
        "largest = others.size if ties else min(",
        "largest = min(",
        ("tests/core/certificates/test_certificate.py",),
    ),
    Fault(
        "the-second-word-is-not-used",
        "core/draw",
        "jnp.stack([first >> 16, first & 0xFFFF, second >> 16])",
        "jnp.stack([first >> 16, first & 0xFFFF, second & 0])",
        (*DRAW, *RARE),
    ),
    Fault(
        "a-number-of-one-granule",
        "core/draw",
        "jnp.stack([first >> 16, first & 0xFFFF, second >> 16])",
        "jnp.stack([first >> 16, first & 0xFE00, second & 0])",
        RARE,
    ),
    Fault(
        "sums-of-few-entries-leave-some-out",
        "core/draw",
        "        step *= 2\n",
        "        step *= 4\n",
        DRAW,
    ),
    Fault(
        "what-rounding-lost-goes-to-whoever-comes-first",
        "core/draw",
        "places >= likeliest, rest",
        "places >= 0, rest",
        DRAW,
    ),
    Fault(
        "a-recording-may-come-again",
        "core/_studied",
        "again = again or digest in known",
        "again = again and digest in known",
        STUDIED,
    ),
    Fault(
        "what-was-studied-is-forgotten",
        "imitator/_warm_start",
        "state = state.replace(recordings=jnp.asarray(recordings))",
        "recordings = jnp.asarray(recordings)",
        STUDIED,
    ),
    Fault(
        "what-is-void-is-printed-all-the-same",
        "core/certificate",
        "if self.void else promised",
        "if self.void else []\n        lines += promised",
        ("tests/core/test_statement.py",),
    ),
]
