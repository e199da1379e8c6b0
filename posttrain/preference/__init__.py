"""Preference learning: pairs from the model's own responses, and SimPER on them (paper section 2.4.3)."""
