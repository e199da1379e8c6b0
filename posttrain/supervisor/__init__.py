"""`posttrain run`: a stage in a process tree of its own, watched, and started again where that can help.

- `supervise`: what is started again, and what is not
- `watch`: one attempt: heartbeats, the signals that are passed on, how it ended
- `process_tree`: the processes of an attempt: all of them found, asked, looked at and ended
"""
