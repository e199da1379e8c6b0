"""What reinforcement learning would take on other machines: rollouts and updates as events in simulated time.

- `lengths`: how long responses are, drawn or read from a run
- `decoding`: one batch on vLLM servers with continuous batching
- `pipeline`: batches and updates beside each other, as stale as is asked for
- `rollouts`: all three, and what came of it
- `measured`: what it takes, from a run that was made; `command`: `posttrain simulate`
"""
