"""The stateful shell around the core: what users call."""

from consensus_imitation.imitator._card import Card
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._shell import ConsensusImitator
from consensus_imitation.imitator.decision import Decision, Query
from consensus_imitation.imitator.policy import Policy
from consensus_imitation.imitator.sampling import SamplingImitator

__all__ = ["Card", "ConsensusImitator", "Decision", "Policy", "Query", "SamplingDecision", "SamplingImitator"]
