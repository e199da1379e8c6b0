"""Rewards: plain Python objects that grade attempts at a prompt; see README.md and `rewards.contract`."""

from rewards.contract import Attempt, Case, GroupCase, GroupReward, Reward, Verdict, make_attempt

__all__ = ["Attempt", "Case", "GroupCase", "GroupReward", "Reward", "Verdict", "make_attempt"]
