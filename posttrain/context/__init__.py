"""Context extension: a ladder of lengths, each left only when a needle is found at every length and depth.

- `plan`: what a length stage trains and asks, known before a model is loaded
- `documents`, `questions`: what is trained and what the gate asks, made here and exact in tokens
- `gate`: what the answers say of each cell, and whether the stage may be left
- `gate_log`: `gate.jsonl`, the gate's history
- `watch`: the gate between two steps of a trainer, and the loss on short rows
- `stage`: from the recipe to a model at every length
"""
