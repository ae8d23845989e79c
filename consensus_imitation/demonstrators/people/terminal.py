"""A person at a terminal, who sees why she is asked, may take back a slip, and may say that she does not know."""

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from consensus_imitation.core._escaping import visible_lines
from consensus_imitation.demonstrators._base import Demonstrator
from consensus_imitation.demonstrators.people.keys import Actions, actions_of
from consensus_imitation.demonstrators.people.views import view
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.errors import DemonstratorTimeoutError

#: One person, one keyboard: environments that ask at the same time take turns.
_KEYBOARD = threading.RLock()
#: So many members are listed; of more, those of the largest weight.
_MEMBERS = 8

_HELP = """\
  KEY or NAME  choose an action; Enter gives it, u takes it back, another key changes it
  KEY!         choose and give it at once
  i            I don't know: nobody answers, and Patience says what happens then
  why          what every member would do, and who objects
  show         the situation once more
  stop         end here; with a journal, the question waits, and resuming asks it again
  ?            this help"""


class Terminal(Demonstrator):
    """One person for one environment; made by `terminal`.

    Args:
        env: what is looked at; it is never stepped.
        actions: names and keys.
        confirm: whether an answer has to be given by Enter after it is chosen.
        title: of the environment, if there are several; "" otherwise.
        read: returns the next line with its end, "" if there are no more.
        write: shows text.
    """

    is_person = True

    def __init__(
        self,
        env: Any,
        actions: Actions,
        confirm: bool = True,
        title: str = "",
        read: Callable[[], str] | None = None,
        write: Callable[[str], Any] | None = None,
    ) -> None:
        self._env, self.actions, self._confirm, self._title = env, actions, confirm, title
        self._read = _read if read is None else read
        self._write = _write if write is None else write
        self._question: Question | None = None
        self._knows_help = False

    def consider(self, question: Question) -> None:
        """Keep why it is asked, to show it."""
        self._question = question

    def __call__(self, observation: Any) -> int:
        """Show the situation, and return the person's action.

        Raises:
            DemonstratorTimeoutError: if she does not know.
            KeyboardInterrupt: if she stops, or there is nobody to read from.
        """
        with _KEYBOARD:
            question, self._question = self._question, None
            self._show(observation, question)
            return self._answer(observation, question)

    def _answer(self, observation: Any, question: Question | None) -> int:
        chosen: int | None = None
        while True:
            text = self._line("> " if chosen is None else f"{self.actions.names[chosen]}: Enter gives it, u undoes > ")
            if text == "" and chosen is not None:
                return chosen
            at_once, text = text.endswith("!") and len(text) > 1, text.removesuffix("!") if len(text) > 1 else text
            action = self.actions.find(text)
            if action is not None:
                if question is not None and question.allowed is not None and not question.allowed[action]:
                    self._say(f"{self.actions.names[action]} cannot be done here: choose another")
                elif at_once or not self._confirm:
                    return action
                else:
                    chosen = action
            elif text in ("u", "undo"):
                self._say(
                    "taken back" if chosen is not None else "nothing to take back: an answer that was given counts"
                )
                chosen = None
            elif text in ("i", "unknown"):
                raise DemonstratorTimeoutError(
                    'the person said "I don\'t know": call again to ask again, or let Patience name a SafeAction'
                )
            elif text in ("stop", "quit", "exit"):
                raise KeyboardInterrupt("the person stopped")
            elif text == "?":
                self._say(f"{self._keys()}\n{_HELP}")
            elif text == "why":
                self._say("nothing is known of why" if question is None else "\n".join(self._reasons(question)))
            elif text == "show":
                self._show(observation, question)
            else:
                said = f"{text!r} is no action" if text else "an empty line is no answer"
                self._say(f"{said}: {self._keys().strip()}   (? for help)")

    def _show(self, observation: Any, question: Question | None) -> None:
        seen = view(self._env, observation)
        where = f"{self._title}: " if self._title else ""
        lines = ["", f"--- {where}you are asked ---"]
        if question is not None:
            lines[-1] = (
                f"--- {where}query {question.query}, step {question.step}: you are asked "
                f"(asked on {100 * question.query_rate:.1f}% of the steps so far) ---"
            )
        if seen.mission:
            lines.append(f"mission: {seen.mission}")
        lines.append(seen.text.rstrip("\n"))
        if question is not None:
            lines += [f"why: {reason}" for reason in question.why]
            lines += [f"alarm: {alarm}" for alarm in question.alarms]
            lines += self._opinions(question, _MEMBERS)
        lines.append(self._keys() if self._knows_help else f"{self._keys()}   (? for help)")
        self._knows_help = True
        self._say("\n".join(lines))

    def _opinions(self, question: Question, most: int) -> list[str]:
        """A line for each member: what it would do, and whether it objects."""
        order = sorted(range(len(question.weights)), key=lambda n: (not question.selected[n], -question.weights[n]))
        lines: list[str] = []
        for n in order[:most]:
            likeliest = question.favourite(n)
            would = "says nothing"
            if likeliest is not None:
                would = f"{self.actions.names[likeliest]} ({100 * question.probs[n, likeliest]:.0f}%)"
            said = "" if question.selected[n] else ", has no say"
            objects = f", objects ({100 * question.dissent[n]:.0f}%)" if question.dissent[n] > 0.0005 else ""
            lines.append(f"  member {n}, weight {question.weights[n]:.2f}: {would}{said}{objects}")
        if len(order) > most:
            lines.append(f"  and {len(order) - most} more (why lists all)")
        return lines

    def _reasons(self, question: Question) -> list[str]:
        agreed = ", ".join(
            f"{name} {100 * prob:.0f}%" for name, prob in zip(self.actions.names, question.min_probs, strict=True)
        )
        return [
            *question.why,
            *self._opinions(question, len(question.weights)),
            f"what all of them grant: {agreed}; asked with the rest, {100 * question.query_prob:.1f}%",
        ]

    def _keys(self) -> str:
        pairs = zip(self.actions.keys, self.actions.names, strict=True)
        return "  " + "  ".join(f"{key} {name}" for key, name in pairs)

    def _line(self, prompt: str) -> str:
        self._write(prompt)
        line = self._read()
        if line == "":
            raise KeyboardInterrupt("there is nobody to answer: standard input has ended")
        return line.strip().casefold()

    def _say(self, text: str) -> None:
        self._write(visible_lines(text) + "\n")


def terminal(env: Any, keys: Any = None, names: Sequence[str] | None = None, *, confirm: bool = True) -> Any:
    """Return a person at this terminal as a demonstrator.

    She is shown the situation as text, the mission, the actions by key and name, why she is asked, what each member
    would do, and who objects. A line that is no answer is asked for again. An answer is chosen first and given by a
    second Enter, so that a slip can be taken back. "I don't know" is silence (`DemonstratorTimeoutError`), with which
    `Patience` deals. "stop" ends the run as Ctrl-C does; with a journal, the question is there when it is resumed.

    The library's progress bars make way while she is asked. A ``Patience(timeout=...)`` asks in a thread, which goes on
    to read the line that comes after the time is over; that line answers nothing.

    Args:
        env: a Gymnasium environment, of which the picture is read, and the names and keys of actions (see
            `people.keys.actions_of`); or a list of B, for an imitator with ``num_envs=B``.
        keys: ``{key: action}``, as Gymnasium's ``keys_to_action``, or one key for each action.
        names: of the actions.
        confirm: False to take an answer at its first Enter.

    Returns:
        A demonstrator, or a list of B, of which one asks at a time.

    Raises:
        ConfigurationError: if the actions are not numbered, or keys or names do not fit them.

    Example:
        >>> import gymnasium
        >>> from consensus_imitation import demonstrators
        >>> person = demonstrators.terminal(gymnasium.make("FrozenLake-v1"))
        >>> person.actions.keys
        ('a', 's', 'd', 'w')
    """
    if isinstance(env, list | tuple):
        several: Any = env
        return [
            Terminal(one, actions_of(one, keys, names), confirm, f"environment {b}") for b, one in enumerate(several)
        ]
    return Terminal(env, actions_of(env, keys, names), confirm)


def _read() -> str:
    return sys.stdin.readline()


def _write(text: str) -> None:
    stream = sys.stdout
    # A terminal of another encoding cannot show everything.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
