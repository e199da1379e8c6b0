"""Data mixers: plain Python objects that decide which row is drawn next; see README.md and `data_mixers.contract`."""

from data_mixers.contract import Draw, Mixer, Source

__all__ = ["Draw", "Mixer", "Source"]
