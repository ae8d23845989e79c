"""A fresh process: how long until it is imported, and until it has acted once."""

import subprocess
import sys
import time

import numpy as np

_FIRST_ACTION = """
import time
start = time.perf_counter()
from consensus_imitation.benchmarks import networks
imported = time.perf_counter()
networks.make_imitator(networks.make_params(agreeing=True)).act(networks.observations())
print(imported - start, time.perf_counter() - start)
"""


def time_first_action(repeats: int) -> tuple[float, float, float]:
    """Return the medians, in seconds, of the import, of the import and the first action, and of the whole process."""
    runs = []
    for _ in range(repeats):
        start = time.perf_counter()
        printed = subprocess.run([sys.executable, "-c", _FIRST_ACTION], check=True, capture_output=True, text=True)
        imported, acted = (float(word) for word in printed.stdout.split())
        runs.append((imported, acted, time.perf_counter() - start))
    imported, acted, whole = np.median(np.array(runs), axis=0)
    return float(imported), float(acted), float(whole)
