"""Data mixers: plain Python objects that decide which row is drawn next; see README.md and `data_mixers.contract`."""

from data_mixers.contract import Draw, Mixer, Source
from data_mixers.plan import MixPlan, SourcePlan, plan_of
from data_mixers.stream import Stream

__all__ = ["Draw", "MixPlan", "Mixer", "Source", "SourcePlan", "Stream", "plan_of"]
