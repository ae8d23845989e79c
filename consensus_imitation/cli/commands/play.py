"""The command ``consensus-imitation play``: a person at a page in the browser."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus_imitation.core._sources import check_source
from consensus_imitation.experiments.command import Command, Outcome, Results
from consensus_imitation.experiments.ledger import Stages


@dataclass(frozen=True)
class Play:
    """A person demonstrates at a page in the browser; the imitator learns, and asks less and less.

    Attributes:
        task: name of a task; the command tasks lists them.
        env: Gymnasium's id of an environment, if it is no task.
        num_envs: environments at the same time, as a queue.
        num_members: networks that imitate.
        num_steps: of each environment; without it, it goes on until Ctrl-C.
        answers: after which it ends; without it, it goes on until Ctrl-C.
        seed: of everything random.
        speed: steps that the imitator takes in a second.
        safe_action: number of the action to take when the person does not know; without it the question waits.
        source: your name, which the journal keeps with your answers.
        port: of the page; 0 for a free one.
        host: address of the page. Any but the loopback address lets others on the network try to get in, unencrypted.
        open: open a browser.
    """

    task: str | None = None
    env: str | None = None
    num_envs: int = 1
    num_members: int = 5
    num_steps: int | None = None
    answers: int | None = None
    seed: int = 0
    speed: float = 8.0
    safe_action: int | None = None
    source: str | None = None
    port: int = 0
    host: str = "127.0.0.1"
    open: bool = False

    def __post_init__(self) -> None:
        if (self.task is None) == (self.env is None):
            raise ValueError("name either --task or --env")
        check_source(self.source)
        if self.num_envs < 1 or self.num_members < 1 or not 0 < self.speed <= 1000:
            raise ValueError("--envs and --members must be at least 1, and --speed above 0")


def _run(settings: Play, results: Results, stages: Stages) -> Outcome:
    del stages
    from consensus_imitation import ConsensusImitator, Journal, Patience, SafeAction
    from consensus_imitation.demonstrators.people.keys import actions_of
    from consensus_imitation.demonstrators.people.web.page import Page
    from consensus_imitation.demonstrators.people.web.server import is_loopback
    from consensus_imitation.experiments.playing import OFFERS, play, told_about
    from consensus_imitation.experiments.printing import say

    out = results.out
    if results.overwrite:
        raise ValueError(f"a run with a person is not replaced: choose another --out than {out}, or remove it yourself")
    envs, ensemble = _made(settings)
    actions = actions_of(envs[0])
    title = settings.task or settings.env or ""
    told_about(
        out,
        {
            "title": title,
            "names": actions.names,
            "envs": settings.num_envs,
            "members": settings.num_members,
            "seed": settings.seed,
        },
    )
    patience = None if settings.safe_action is None else Patience(then=SafeAction(settings.safe_action))
    demonstrators = [_silent] * settings.num_envs if settings.num_envs > 1 else _silent
    if (out / "journal.sqlite").exists():
        imitator = ConsensusImitator.resume(out, ensemble, demonstrators, patience=patience)
    else:
        num_envs = settings.num_envs if settings.num_envs > 1 else None
        imitator = ConsensusImitator(
            ensemble, demonstrators, seed=settings.seed, num_envs=num_envs, patience=patience,
            journal=Journal(out, observations=True),
        )  # fmt: skip
    if not is_loopback(settings.host):
        say(
            f"warning: the page can be reached from the network at {settings.host}, without encryption: whoever reads "
            "along has its token",
            file=sys.stderr,
        )
    with imitator, _page(Page, envs, settings, out, title, imitator.run, OFFERS) as page:
        say(f"play: open {page.url}", flush=True)
        if settings.open:
            import webbrowser

            webbrowser.open(page.url)
        play(
            envs,
            imitator,
            page,
            seed=settings.seed,
            num_steps=settings.num_steps,
            max_answers=settings.answers,
            speed=settings.speed,
            safe_action=settings.safe_action is not None,
            source=settings.source,
        )
        return Outcome(
            lines=[
                f"{imitator.num_queries} answers in {imitator.num_steps} steps; the run is in {out}",
                f"a page of it: consensus-imitation journal report {out} --out report.html",
            ]
        )


def _page(make: Any, envs: Any, settings: Play, out: Path, title: str, run: str, offers: Any) -> Any:
    """The page, at the address of before if it is free, so that a window that is open finds it again."""
    from consensus_imitation.errors import ConfigurationError

    file = out / "page.json"
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    told = {
        "title": title,
        "run": run,
        "offers": offers,
        "host": settings.host,
        "token": known.get("token"),
        "ready": False,
    }
    try:
        page = make(envs, port=settings.port or known.get("port", 0), **told)
    except ConfigurationError:
        if settings.port or not known:
            raise
        page = make(envs, port=0, **told)
    # The token is for its owner alone.
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump({"token": page.server.token, "port": page.server.port}, opened)
    return page


def _made(settings: Play) -> tuple[list[Any], Any]:
    """The environments, and members that fit them."""
    if settings.task is not None:
        from consensus_imitation.experiments import tasks
        from consensus_imitation.experiments.members import members_for

        task = tasks.make(settings.task)
        envs = [task.make_env(render_mode="rgb_array") for _ in range(settings.num_envs)]
        return envs, members_for(task, envs[0], settings.num_members)(None)
    try:
        import gymnasium
    except ImportError as error:
        raise ImportError('environments need Gymnasium: pip install "consensus_imitation[gym]"') from error
    from consensus_imitation.experiments.places import networks

    try:
        envs = [gymnasium.make(settings.env or "", render_mode="rgb_array") for _ in range(settings.num_envs)]
    except gymnasium.error.Error as error:
        raise ValueError(f"{settings.env!r} cannot be made: {error}") from error
    return envs, networks(envs[0], settings.num_members)


def _silent(observation: Any) -> int:
    """Stand for a person who said that she does not know."""
    from consensus_imitation.errors import DemonstratorTimeoutError

    del observation
    raise DemonstratorTimeoutError("the person does not know")


COMMAND = Command(
    "a person demonstrates at a page in the browser",
    Play,
    _run,
    Results(Path("play")),
    "steps",
    pictures=False,
)
