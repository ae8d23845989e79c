"""Small journals to work on."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core._packing import digest, pack
from consensus_imitation.journal.record import COLUMNS, Entry, Record
from consensus_imitation.journal.store import Store

N, A = 3, 2
META: dict[str, Any] = {"num_members": N, "num_actions": A, "num_envs": None, "prior": [0.5, 0.25, 0.25]}


def observation(i: int) -> bytes:
    return pack({"position": np.array([i, 2.5], np.float32), "text": f"step {i}"})


def step(i: int, kind: Any = "act", **more: Any) -> Record:
    rng = np.random.default_rng(i)
    said: dict[str, Any] = {
        "step": i,
        "observation": digest(observation(i)),
        "log_probs": np.log(rng.dirichlet(np.ones(A), N)).astype(np.float32),
        "selected": rng.random(N) < 0.5,
        "min_probs": rng.random(A).astype(np.float32) / 2,
        "query_prob": float(np.float32(rng.random())),
        "draw": rng.random(),
        "who": "imitator",
        "action": int(rng.integers(A)),
        "before": rng.normal(size=(2, N)).astype(np.float32),
        "after": rng.normal(size=(2, N)).astype(np.float32),
        "alarms": ("member 1: odd", "ß") if i % 3 == 0 else (),
        "time": 1.5e9 + i,
    }  # fmt: skip
    return Record(kind=kind, **{**said, **more})


def fill(store: Store, calls: int = 6) -> None:
    """An opening, then steps; every third is a query with its answer; the last call is of two records."""
    store.append([Record(kind="open", note="versions")])
    for i in range(calls):
        if i % 3 == 2:
            store.append([step(i, "ask", query=i // 3, who=None, action=None)], observation(i))
            store.append([step(i, "answer", query=i // 3, who="demonstrator", latency=0.25)])
        else:
            store.append([step(i)], observation(i))
    store.append([step(calls, env=0), step(calls + 1, env=1)], observation(calls))


def tiny(path: Path) -> Path:
    """A journal of few bytes, most of which mean something: pages of 512 bytes, and records without predictions."""
    store = Store.create(path, {"num_members": N, "num_actions": A})
    none: dict[str, Any] = dict.fromkeys(("log_probs", "selected", "before", "after"))
    store.append([Record(kind="open", note="versions")])
    store.append([step(1, **none)], observation(1))
    store.append([step(2, "ask", query=0, **none)], observation(2))
    store.append([step(2, "answer", query=0, **none)])
    store.append([step(3, env=0, **none), step(4, env=1, **none)], observation(3))
    store.close()
    resize(path)
    return path


def resize(path: Path) -> None:
    """Put a journal into pages of 512 bytes."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")
    connection.close()


def small(path: Path, calls: int = 6, meta: dict[str, Any] = META) -> Path:
    """A journal."""
    store = Store.create(path, meta)
    fill(store, calls)
    store.close()
    return path


def told(entry: Entry) -> tuple[Any, ...]:
    """All that an entry says, to be compared."""
    values = [getattr(entry.record, name) for name in COLUMNS]
    plain = [
        (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value for value in values
    ]
    return (entry.seq, entry.call, entry.size, entry.kept, *plain, entry.chain)
