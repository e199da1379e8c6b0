"""The EXAONE 4.0 post-training recipe on TRL: unified SFT, AGAPO reinforcement learning, two-stage SimPER."""

__version__ = "0.1.0"
