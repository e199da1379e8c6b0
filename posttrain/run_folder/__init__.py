"""What `runs.py` is made of.

- `files`: writes that are whole or not there, and JSON lines that can lose their tail
- `manifest`: what is written down so that a run can be explained and repeated
- `reuse`: whether a folder that is already there may be used
- `checkpoints`: the folders that a trainer resumes from, whole or absent
- `seals`: how a checkpoint is known to be whole
- `going_on`: which checkpoint a resumed run goes on from
"""
