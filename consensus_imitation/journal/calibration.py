"""How well the members' predictions matched the answers, read out of a journal."""

from pathlib import Path

import numpy as np

from consensus_imitation.core.calibration import Calibration, calibration
from consensus_imitation.journal._answered import answered
from consensus_imitation.journal.reader import reading


def member_calibration(path: Path) -> Calibration | None:
    """Return the calibration of each member of a run, of what it had predicted before each answer.

    What members withheld is left out. An answer for which some member gave no usable prediction is not counted.

    Args:
        path: of the journal, or of the run's directory; somebody may be writing it.

    Returns:
        Measures float64 [N]; None if the actions cannot be listed, or nothing was answered.

    Raises:
        JournalError: if there is no journal.
        JournalCorruptedError: if an entry is not what was written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> from consensus_imitation.journal.calibration import member_calibration
        >>> run_dir = Path(tempfile.mkdtemp()) / "run"
        >>> members = ensembles.tabular(np.array([[[0.75, 0.25]], [[0.0, 1.0]]]))  # [N, S, A]
        >>> with ConsensusImitator(members, lambda observation: 1, seed=0, journal=run_dir) as imitator:
        ...     decisions = [imitator.act(0) for _ in range(20)]
        >>> abs(member_calibration(run_dir).log_loss.round(2)).tolist()
        [1.39, 0.0]
    """
    with reading(path) as reader:
        if reader.shapes.num_actions is None:
            return None
        found = [(posed.record.log_probs, answer) for posed, answer in answered(reader)]
    usable = [(np.asarray(said, np.float64), answer) for said, answer in found if said is not None and _sound(said)]
    if not usable:
        return None
    log_probs = np.stack([said for said, _ in usable])
    log_probs -= np.log(np.exp(log_probs).sum(axis=-1, keepdims=True))
    return calibration(log_probs, np.array([answer for _, answer in usable]))


def _sound(log_probs: np.ndarray) -> bool:
    return bool(np.all(~np.isnan(log_probs)) and np.all(np.any(log_probs > -np.inf, axis=-1)))
