"""What makes an imitator with numbered actions one: `ConsensusImitator`."""

from consensus_imitation.imitator import _again, _records
from consensus_imitation.imitator._acting import Acting
from consensus_imitation.imitator._live import Kind

NUMBERED = Kind(acting=Acting, notation=_records, again=_again)
