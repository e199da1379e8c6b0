"""For those who write rewards: `posttrain rewards list`, `new` and `check`.

- `listing`: the rewards of the package
- `scaffold`: a new reward with its test, from `template`
- `check`: a reward against rows (`probes`: what it is asked, `timed`: how long it takes)
"""
