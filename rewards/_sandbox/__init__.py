"""Run an answer's code where it can do no harm, and hand back plain values; it imports nothing of ours.

- `sandbox`: one sandbox and the conversation with it (`protocol`: what is said, `limits`: what it may use up)
- `process`: its process, from its start to the last of what it leaves (`folder`: its files)
- `failure`: how it ends other than well
- `bubblewrap`, `landlock`, `seccomp`, `world`: what keeps it in
- `runner`, `confine`: what runs inside
- `tiers`: which kind of isolation this machine can give, found by trying to break out of it
"""
