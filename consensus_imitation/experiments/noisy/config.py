"""The settings of the experiment on demonstrators that are truly random."""

from dataclasses import dataclass

#: Where: a game (with the extra ``games``), or feature vectors that come at random.
WORLDS = ("leduc", "softmax")

#: How members are trained: with a temperature fitted to answers about repeated inputs, to all, or to none (plain); and
#: with eight minibatches a round or one.
VARIANTS = ("repeats", "temperature", "plain", "one-update", "one-update-temperature")


@dataclass(frozen=True)
class NoisyConfig:
    """The settings of the experiment.

    Attributes:
        world: leduc (Leduc hold'em in self-play, the demonstrator by CFR+) or softmax (24 vectors, a softmax policy).
        variants: how members are trained: repeats (the library's default), temperature (fitted to all answers), plain
            (without one), one-update (without one), one-update-temperature.
        num_seeds: runs of each variant.
        num_steps: T, decisions in a run.
        num_members: N.
        k: members that have a say.
        seed: of the first run; the seeds of the others follow it.

    Raises:
        ValueError: for an unknown world or variant, or numbers out of range.
    """

    world: str = "leduc"
    variants: tuple[str, ...] = VARIANTS
    num_seeds: int = 3
    num_steps: int = 4800
    num_members: int = 5
    k: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.world not in WORLDS:
            raise ValueError(f"world must be one of {', '.join(WORLDS)}; got {self.world!r}")
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown or not self.variants:
            raise ValueError(f"variants must be some of {', '.join(VARIANTS)}; got {self.variants}")
        for name in ("num_seeds", "num_steps", "num_members", "k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.k > self.num_members or self.seed < 0:
            raise ValueError("k must be at most num_members, and seed at least 0")
