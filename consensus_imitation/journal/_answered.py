"""The queries of a run that the demonstrator answered, in the order of the answers."""

from collections.abc import Iterator

from consensus_imitation.journal.reader import Reader
from consensus_imitation.journal.record import SETTLING, Entry


def answered(reader: Reader) -> Iterator[tuple[Entry, int]]:
    """Yield the entry of each query that was answered by an action of the members', and that action.

    Left out are queries that were withdrawn, or for which the safe action was taken.

    Args:
        reader: of a run whose actions can be listed.
    """
    asked: dict[tuple[int | None, int | None], Entry] = {}
    for entry in reader.entries():
        record, about = entry.record, (entry.record.query, entry.record.env)
        if record.kind == "ask" and record.log_probs is not None:
            asked[about] = entry
        elif record.kind in SETTLING:
            posed, action = asked.pop(about, None), record.action
            if posed is None or record.kind != "answer" or not isinstance(action, int):
                continue
            if 0 <= action < (reader.shapes.num_actions or 0):
                yield posed, action
