"""Rewards: plain Python objects that grade one attempt at one prompt; see README.md and `rewards.contract`."""

from rewards.contract import Attempt, Case, Reward, Verdict, make_attempt

__all__ = ["Attempt", "Case", "Reward", "Verdict", "make_attempt"]
