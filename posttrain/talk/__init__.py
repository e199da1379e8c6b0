"""Talk to a model: one prompt (`generate`), a conversation (`chat`), or a server for others (`serve`).

- `options`: the words of the command line
- `folder`: what a model folder says of itself
- `session`: a loaded model that replies in either mode
- `screen`: where thinking, answers and notes go
- `generate`, `chat`, `serve`: the commands
"""
