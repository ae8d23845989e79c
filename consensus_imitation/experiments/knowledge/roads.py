"""A fork with two roads and a path, a demonstrator who knows neither, and members of whom at least one does.

A member has two parts. Its *law* says how the demonstrator acts: that is all that an imitator reads. Its *forecast*
says how likely each way is to end well: nobody asks for it. The fact lies in the forecast. Whether the law uses it
differs.
"""

import numpy as np

from consensus_imitation.envs import Outcome, TabularEnv, compile_mdp

#: The right road is mined; the path is a short cut.
FACTS = MINE, SHORT_CUT = ("mine", "short cut")
#: Whose law uses the fact; in each, at least one member's forecast knows it.
USES = NOBODY, ONE, ALL = ("nobody's law", "one law", "every law")

NUM_MEMBERS = 8
#: P(left), P(right), P(path): what the demonstrator does, and every member that does not use the fact.
DEMONSTRATOR = (0.49, 0.49, 0.02)
#: What a member that uses the fact does.
USER = {MINE: (0.98, 0.0, 0.02), SHORT_CUT: (0.03, 0.03, 0.94)}
#: P(it ends well) of left, right and path: the fact.
ENDS_WELL = {MINE: (1.0, 0.8, 1.0), SHORT_CUT: (0.5, 0.5, 1.0)}
#: The same as one believes it who does not know: under this the demonstrator's habits make sense.
IGNORANT = {MINE: (0.95, 0.95, 0.95), SHORT_CUT: (0.5, 0.5, 0.3)}


def world(fact: str) -> TabularEnv:
    """Return the fork: one state, three ways, reward 1 for each that ends well; on the mined road the rest is harm.

    Args:
        fact: one of `FACTS`.
    """

    def ways(state: str, action: int) -> list[Outcome[str]]:
        well = ENDS_WELL[fact][action]
        badly = [Outcome(1 - well, state, 0.0, fact == MINE)] if well < 1 else []
        return [Outcome(well, state, 1.0), *badly]

    env, _ = compile_mdp("fork", 3, {"fork": 1.0}, ways, lambda _: False, horizon=None)
    return env


def laws(fact: str, use: str) -> np.ndarray:
    """Return how the members act, [N, 1, A]: the first equals the demonstrator, unless every law uses the fact."""
    users = {NOBODY: 0, ONE: 1, ALL: NUM_MEMBERS}[use]
    return np.array([DEMONSTRATOR] * (NUM_MEMBERS - users) + [USER[fact]] * users)[:, None]


def forecasts(fact: str, use: str) -> np.ndarray:
    """Return what the members expect of each way, [N, A]: only the last one knows, unless every law uses the fact."""
    knowers = NUM_MEMBERS if use == ALL else 1
    return np.array([IGNORANT[fact]] * (NUM_MEMBERS - knowers) + [ENDS_WELL[fact]] * knowers)
