"""What makes an imitator with actions of any kind one: `SamplingImitator`."""

from consensus_imitation.imitator import _sampling_again, _sampling_records
from consensus_imitation.imitator._live import Kind
from consensus_imitation.imitator._sampling_acting import SamplingActing

SAMPLED = Kind(acting=SamplingActing, notation=_sampling_records, again=_sampling_again)
