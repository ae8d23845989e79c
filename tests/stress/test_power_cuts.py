"""Power cuts: nothing that was acknowledged is lost, and what was never waited for is noticed by the harness."""

import random
from pathlib import Path

import pytest

from . import power_cuts
from .power_cuts import GROUP, KINDS, Kind, Recording, compiler, record, run
from .power_disk import Disk, Event

needs_compiler = pytest.mark.skipif(compiler() is None, reason="recording needs Linux and a C compiler (cc)")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return record([Kind("single", 1), Kind("apart", GROUP)], 30, tmp_path_factory.mktemp("power"))


@needs_compiler
def test_nothing_acknowledged_is_lost(recordings: list[Recording], tmp_path: Path) -> None:
    figures = run(recordings, 30, 1, tmp_path)
    assert figures.sound, figures.lines()
    assert figures.cuts == 30
    assert figures.changed > 15
    assert figures.answers > 50
    assert figures.mended == 0


@needs_compiler
@pytest.mark.parametrize("sabotage", [name for name in power_cuts.SABOTAGE if name != "nothing"])
def test_control_what_is_not_waited_for_is_lost(recordings: list[Recording], tmp_path: Path, sabotage: str) -> None:
    figures = run(recordings, 16, 1, tmp_path, sabotage)
    assert figures.lost > 0, figures.lines()


@needs_compiler
def test_what_a_group_may_lose(recordings: list[Recording]) -> None:
    """Single steps are all required; of a group, all but its last steps, and all that anything else followed."""
    single, grouped = recordings
    assert [single.required(n) for n in range(20)] == list(range(20))
    kinds = {entry.call: entry.record.kind for entry in grouped.entries}
    for acknowledged in range(1, max(kinds) + 1):
        required = grouped.required(acknowledged)
        assert acknowledged - GROUP < required <= acknowledged
        assert all(kinds[call] == "act" for call in range(required + 1, acknowledged + 1))
    assert any(grouped.required(n) < n for n in kinds)


@needs_compiler
@pytest.mark.long
def test_a_thousand_power_cuts(tmp_path: Path) -> None:
    figures = run(record(KINDS, 60, tmp_path), 1000, 1, tmp_path)
    assert figures.sound, figures.lines()


OLD, NEW = b"a" * 1000, b"b" * 1500


def left(events: list[Event], seed: int, tmp_path: Path) -> dict[str, bytes]:
    disk = Disk("/disk")
    for event in events:
        disk.play(event)
    target = tmp_path / str(seed)
    disk.lose_power(random.Random(seed), target)
    return {str(file.relative_to(target)): file.read_bytes() for file in target.rglob("*") if file.is_file()}


def event(what: str, file: int = -1, number: int = 0, first: bytes = b"", second: bytes = b"") -> Event:
    return Event(what, file, number, first, second)


WRITTEN = [event("O", 3, 0, b"/disk/file"), event("W", 3, 0, b"", OLD)]
WAITED = [event("S", 3), event("O", 4, 0, b"/disk"), event("S", 4)]


def test_the_disk_keeps_what_was_waited_for(tmp_path: Path) -> None:
    assert all(left([*WRITTEN, *WAITED], seed, tmp_path) == {"file": OLD} for seed in range(20))


def test_the_disk_loses_tears_and_keeps_what_was_not(tmp_path: Path) -> None:
    over = [*WRITTEN, *WAITED, event("W", 3, 0, b"", NEW)]
    found = {left(over, seed, tmp_path)["file"] for seed in range(200)}
    assert {OLD, NEW} < found
    for data in found:
        # Sectors of 512 bytes at least are old or new as a whole; behind the old end there may be anything.
        assert data[:512] in (OLD[:512], NEW[:512])
        assert data[512:1000] in (OLD[512:1000], NEW[512:1000])


def test_the_disk_forgets_names(tmp_path: Path) -> None:
    moved = [*WRITTEN, *WAITED, event("R", -1, 0, b"/disk/file", b"/disk/other")]
    found = {tuple(left(moved, seed, tmp_path)) for seed in range(50)}
    assert found == {("file",), ("other",)}
    inner = [event("M", -1, 0, b"/disk/inner"), event("O", 3, 0, b"/disk/inner/file"), event("W", 3, 0, b"", OLD)]
    inner += [event("S", 3), event("O", 4, 0, b"/disk/inner"), event("S", 4)]
    found = {tuple(left(inner, 100 + seed, tmp_path)) for seed in range(50)}
    assert found == {(), ("inner/file",)}
