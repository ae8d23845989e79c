"""A variant of the imitator by a short name."""

import re
from dataclasses import dataclass

from consensus_imitation.core.reweighting import Reweighting
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK

_PART = re.compile(r"(top|alpha|temper|forget|share|caution|smooth)([0-9][0-9.e-]*)")


@dataclass(frozen=True)
class Variant:
    """Selection, reweighting and caution.

    Attributes:
        selection: which members have a say; None for the imitator's default.
        reweighting: None for the imitator's default.
        caution: of the members' `Training`; None for its default.
        smoothing: of labels, of the members' `Training`; None for its default.
    """

    selection: SelectionRule | None = None
    reweighting: Reweighting | None = None
    caution: float | None = None
    smoothing: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Parse a short name: ``default``, or parts joined by ``/``.

        A part is a selection rule (``top2``, ``alpha0.01``, ``top2+alpha0.01``), a number of the `Reweighting` or
        ``bayes``, the caution, or the label smoothing (``smooth0.02``).

        Raises:
            ValueError: if the text is not clear, or a number is out of range.

        Example:
            >>> from consensus_imitation.experiments.collapse.variant import Variant
            >>> variant = Variant.parse("top2+alpha0.01/share0.1/caution20")
            >>> variant.selection.tolerated_members, variant.reweighting.share, variant.caution
            (1, 0.1, 20.0)
        """
        rules: list[SelectionRule] = []
        numbers: dict[str, float] = {}
        bayes = False
        for part in text.split("/"):
            if part in ("default", "bayes"):
                bayes |= part == "bayes"
                continue
            for piece in part.split("+"):
                found = _PART.fullmatch(piece)
                number = _number(found[2]) if found else None
                if found is None or number is None:
                    raise ValueError(
                        f"there is no part {piece!r} in a variant: write, for example, default, "
                        "top2+alpha0.01/share0.01 or top3/temper0.1/caution0"
                    )
                if found[1] in numbers or (found[1] in ("top", "alpha")) != (part.startswith(("top", "alpha"))):
                    raise ValueError(f"{text!r} is ambiguous: one selection rule, and each number once")
                numbers[found[1]] = number
                if found[1] == "top":
                    if number != int(number):
                        raise ValueError(f"k must be an integer, got {found[2]} in {text!r}")
                    rules.append(TopK(int(number)))
                elif found[1] == "alpha":
                    rules.append(AlphaThreshold(number))
        remedies = {name: numbers[name] for name in ("temper", "forget", "share") if name in numbers}
        if bayes and remedies:
            raise ValueError(f"{text!r} is ambiguous: bayes is no remedy")
        reweighting = Reweighting(**remedies) if remedies or bayes else None
        if reweighting is not None:
            reweighting.check()
        selection = rules[0] if len(rules) == 1 else rules[0] | rules[1] if rules else None  # type: ignore[operator]
        return cls(selection, reweighting, numbers.get("caution"), numbers.get("smooth"))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
