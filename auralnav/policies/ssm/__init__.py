"""State-space layers and the other memories of an agent, behind one contract."""

from auralnav.policies.ssm.check import check_backends
from auralnav.policies.ssm.mamba import Mamba
from auralnav.policies.ssm.mamba2 import Mamba2
from auralnav.policies.ssm.state import SSMState

__all__ = ["Mamba", "Mamba2", "SSMState", "check_backends"]
