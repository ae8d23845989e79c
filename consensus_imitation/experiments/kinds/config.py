"""The settings of the comparison of kinds of members."""

from dataclasses import dataclass

#: The kinds in the table. ``masks/64/0.1`` are masks on a network of that width that keep that share of connections.
KINDS = (
    *("mlp", "mlp-alike", "mlp-prior", "mlp-partition", "mlp-narrow", "mlp-wide", "masks/128/0.2"),
    *("tangent", "tangent-alike", "tangent-prior", "tangent-last"),
)
#: Those with losses that compare members, and what they are measured against, for a table of their own.
COMPARED = (
    *("mlp", "mlp-narrow", "mlp-decorrelated", "mlp-narrow-decorrelated", "mlp-apart", "mlp-asks", "mlp-explains"),
    "mlp-local",
)
#: Where masks stand: widths and shares.
CURVE = tuple(f"masks/{width}/{kept}" for width in (32, 64, 128) for kept in (0.05, 0.1, 0.2, 0.5))


@dataclass(frozen=True)
class KindsConfig:
    """What to compare.

    Attributes:
        task: ``digits`` (scikit-learn's, the extra digits), or a task whose observations are a vector or a view, such
            as gotoredballgrey.
        kinds: names, see `run.make_members`.
        curve: more of them, for which one seed is enough; none to leave them out.
        num_members: N, at least 2.
        num_answers: answers that the members learn from, one after another, at least 100.
        num_seeds: runs of each kind, with other members and answers in another order.
        seed: of everything random.

    Raises:
        ValueError: for a name that is not known or comes twice, or sizes out of range.
    """

    task: str = "digits"
    kinds: tuple[str, ...] = KINDS
    curve: tuple[str, ...] = CURVE
    num_members: int = 4
    num_answers: int = 1200
    num_seeds: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.experiments.kinds.run import make_members

        if not self.kinds or any(len(set(names)) != len(names) for names in (self.kinds, self.curve)):
            raise ValueError(f"name each kind once, and at least one; got {', '.join(self.kinds)}")
        for name in (*self.kinds, *self.curve):
            make_members(name, 4, 4, 2)
        if self.num_members < 2 or self.num_answers < 100 or self.num_seeds < 1 or self.seed < 0:
            raise ValueError("num_members must be at least 2, num_answers 100, num_seeds 1 and seed 0")
