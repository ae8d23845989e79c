"""Who an answer comes from, and to whose share of the answers it belongs (T7).

A source is a name or a number that the user gives: an annotator, a session, a file. It travels with its answer through
every entrance, into the journal and out of it again.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from consensus_imitation.errors import ConfigurationError

Source = str | int

#: In the place of a member's number: the answer counts for everybody; or its own number says for whom.
EVERYBODY, BY_SLOT = -1, -2

_LONGEST, _LARGEST = 200, 2**63


def check_source(source: Any) -> Source | None:
    """Return a source as Python's own string or integer; None if none is named.

    Raises:
        ConfigurationError: if it is neither, or negative, empty, or too long.
    """
    if source is None:
        return None
    if isinstance(source, str) and 0 < len(source) <= _LONGEST and source.isprintable():
        return str(source)
    if isinstance(source, int | np.integer) and not isinstance(source, bool | np.bool) and 0 <= source < _LARGEST:
        return int(source)
    raise ConfigurationError(
        f"a source must be a name of 1 to {_LONGEST} printable characters, or an integer of at least 0; got "
        f"{source!r:.200}"
    )


def check_sources(sources: Any, total: int) -> list[Source | None]:
    """Return a source for each of so many answers: ``sources`` is one for all of them, or a sequence of as many.

    Raises:
        ConfigurationError: if their number differs, or one is none.
    """
    if sources is None or isinstance(sources, str | int | np.integer):
        return [check_source(sources)] * total
    if not isinstance(sources, Sequence | np.ndarray) or np.ndim(np.empty(len(sources))) != 1:
        raise ConfigurationError(f"sources must be one source, or a sequence of them, got {type(sources).__name__}")
    if len(sources) != total:
        raise ConfigurationError(f"there are {total} answers and {len(sources)} sources")
    return [check_source(source) for source in sources]


def share_of(source: Source, key: bytes, num_members: int) -> int:
    """Return the number of the member that a source's answers belong to.

    A number is taken modulo N, so that a few sources can be given a member each. A name is hashed with a key
    (HMAC-SHA-256), so that nobody who does not know the key can choose a name for a certain member.

    Args:
        source: as `check_source` gives it.
        key: of the hash.
        num_members: N.

    Example:
        >>> from consensus_imitation.core._sources import share_of
        >>> share_of(7, b"key", 3), share_of("alice", b"key", 3) == share_of("alice", b"key", 3)
        (1, True)
    """
    if isinstance(source, int):
        return source % num_members
    return int.from_bytes(hmac.digest(key, source.encode(), hashlib.sha256)) % num_members


def as_word(source: Source) -> str:
    """Return a source as one word.

    Example:
        >>> from consensus_imitation.core._sources import as_word, from_word
        >>> as_word("night shift"), from_word(as_word("night shift")), from_word(as_word(7))
        ('"night%20shift"', 'night shift', 7)
    """
    return quote(json.dumps(source), safe='"')


def from_word(word: str) -> Source:
    """Undo `as_word`.

    Raises:
        ValueError: if it is no such word.
    """
    try:
        source = check_source(json.loads(unquote(word)))
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    if source is None:
        raise ValueError("a source that is none")
    return source
