"""Which models are loaded: the decision, Serve's policy, and the status it is made from."""

from deployments.residency.policy import Residency

__all__ = ["Residency"]
