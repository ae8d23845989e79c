"""The registered worlds as a fixture."""

from __future__ import annotations

import pytest

from consensus_imitation.envs import Gridworld, make, names


@pytest.fixture(scope="session", params=names())
def world(request: pytest.FixtureRequest) -> Gridworld:
    """Each registered world with its default options."""
    return make(request.param)
