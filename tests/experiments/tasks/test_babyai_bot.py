"""The bot is told of every executed action; what happens if it is not; how it recovers from what others did."""

from typing import Any

import numpy as np
import pytest
from minigrid.core.world_object import Ball, Box
from minigrid.utils.baby_ai_bot import BabyAIBot
from scipy import stats

from consensus_imitation.demonstrators import as_demonstrator
from consensus_imitation.demonstrators.bots.babyai import BabyAIDemonstrator
from consensus_imitation.experiments import tasks

PICKUP, DROP, TOGGLE, DONE = 3, 4, 5, 6


def solved(name: str, interference: float, told: bool, episodes: int, seed: int = 0) -> int:
    """Episodes solved while somebody else's random actions replace a share of the bot's."""
    task = tasks.make(name)
    env = task.make_env()
    bot = task.make_demonstrator(env)
    rng = np.random.default_rng(seed)
    count = 0
    for own in tasks.episode_seeds(seed, episodes):
        observation, _ = env.reset(seed=own)
        bot.reset()
        tracker = task.track()
        while tracker.outcome is None:
            answer = action = bot(observation)
            if rng.random() < interference:
                action = int(rng.integers(7))
            bot.observe(action if told else answer, "imitator")
            observation, reward, terminated, truncated, _ = env.step(action)
            tracker = tracker.after(reward, terminated, truncated)
        count += tracker.outcome.success
    return count


def test_told_of_interference_it_copes_and_not_told_it_fails() -> None:
    episodes = 40
    told, ignorant = (solved("putnextlocal", 0.5, told=told, episodes=episodes) for told in (True, False))
    assert told >= 0.8 * episodes
    table = [[told, episodes - told], [ignorant, episodes - ignorant]]
    assert stats.fisher_exact(table, alternative="greater").pvalue < 1e-3


@pytest.mark.parametrize("name", ["gotoredballgrey", "gotolocal", "pickuploc", "unlocklocal"])
def test_it_finishes_what_others_disturb(name: str) -> None:
    # Measured: all of 60 at this share of interference.
    assert solved(name, 0.3, told=True, episodes=25) >= 23


def test_it_replans_exactly_once_per_step_asked_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Spy(BabyAIBot):
        def replan(self, action_taken: Any = None) -> Any:
            told.append(action_taken)
            return super().replan(action_taken)

    monkeypatch.setattr("minigrid.utils.baby_ai_bot.BabyAIBot", Spy)
    env = tasks.make("gotoobj").make_env()
    observation, _ = env.reset(seed=3)
    bot = BabyAIDemonstrator(env)
    for asked, action in ((2, 0), (0, 1), (1, 0), (0, 0), (0, 1)):
        for _ in range(asked):
            bot(observation)
            bot.probs(observation)
        bot.observe(action, "imitator")
        observation, *_ = env.step(action)
    bot(observation)
    assert told == [None, 0, 1, 0, 0, 1]


@pytest.mark.parametrize("reset_first", [True, False])
def test_a_new_episode_is_noticed(reset_first: bool) -> None:
    env = tasks.make("gotolocal").make_env()
    bot = BabyAIDemonstrator(env)
    env.reset(seed=0)
    bot.observe(0, "imitator")
    env.step(0)
    if reset_first:
        bot.reset()
    observation, _ = env.reset(seed=1)
    fresh = BabyAIDemonstrator(env)
    for _ in range(3):
        answer = bot(observation)
        assert answer == fresh(observation)
        for one in (bot, fresh):
            one.observe(answer, "demonstrator")
        observation, *_ = env.step(answer)


def test_a_step_that_it_was_not_told_of_is_an_error() -> None:
    env = tasks.make("gotoobj").make_env()
    observation, _ = env.reset(seed=0)
    bot = BabyAIDemonstrator(env)
    bot(observation)
    env.step(0)
    with pytest.raises(RuntimeError, match=r"observe\(action, who\)"):
        bot(observation)
    with pytest.raises(RuntimeError, match=r"observe\(action, who\)"):
        bot.observe(0, "imitator")


def test_after_a_box_was_opened_it_goes_on() -> None:
    env = tasks.make("gotoredball").make_env()
    for seed in range(30):
        observation, _ = env.reset(seed=seed)
        level = env.unwrapped
        x, y = (int(part) for part in level.front_pos)
        if level.grid.get(x, y) is None:
            break
    level.put_obj(Box("green"), x, y)
    observation = level.gen_obs()
    raw = BabyAIBot(env)
    raw.replan(None)
    bot = BabyAIDemonstrator(env)
    bot.observe(TOGGLE, "imitator")
    observation, *_ = env.step(TOGGLE)
    with pytest.raises(Exception, match="A box was opened"):
        raw.replan(TOGGLE)
    terminated = truncated = False
    while not (terminated or truncated):
        answer = bot(observation)
        bot.observe(answer, "demonstrator")
        observation, reward, terminated, truncated, _ = env.step(answer)
    assert reward > 0


def test_lost_while_carrying_something_it_puts_that_down_first() -> None:
    env = tasks.make("pickuploc").make_env()
    observation, _ = env.reset(seed=0)
    level = env.unwrapped
    bot = BabyAIDemonstrator(env)
    bot(observation)
    bot.observe(DONE, "imitator")
    env.step(DONE)
    level.carrying = Ball("grey")
    level.grid.set(*level.front_pos, Ball("grey"))  # no room in front

    class Lost:
        def replan(self, _: Any) -> int:
            raise AssertionError

    bot._bot = Lost()
    answers: list[int] = []
    while level.carrying is not None:
        answers.append(bot(observation))
        bot.observe(answers[-1], "demonstrator")
        observation, *_ = env.step(answers[-1])
    assert answers[-1] == DROP
    assert set(answers[:-1]) == {0}  # left, until there is room
    assert bot(observation) != DONE


def test_where_no_bot_has_a_plan_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    env = tasks.make("gotoobj").make_env()
    observation, _ = env.reset(seed=0)
    bot = BabyAIDemonstrator(env)
    with monkeypatch.context() as broken:
        broken.setattr(BabyAIBot, "replan", lambda *_: (_ for _ in ()).throw(IndexError))
        assert bot(observation) == DONE
        bot.observe(DONE, "demonstrator")
        observation, *_ = env.step(DONE)
    assert bot(observation) != DONE


def test_it_is_a_demonstrator_for_babyai_only() -> None:
    env = tasks.make("gotoobj").make_env()
    bot = BabyAIDemonstrator(env)
    assert as_demonstrator(bot) is bot
    with pytest.raises(ValueError, match="not a BabyAI level"):
        BabyAIDemonstrator(tasks.make("cartpole").make_env())
    with pytest.raises(ValueError, match="epsilon must lie in"):
        BabyAIDemonstrator(env, epsilon=-1)
