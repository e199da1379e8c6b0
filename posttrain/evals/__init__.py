"""Grade a model's answers under one or more decodings.

- `intervals`: a mean and its 95 % interval, with several samples of a question counted as one cluster
- `metrics`: what is measured over a group of answers
- `evaluate`: one decoding, from rows to metrics and sample records
- `stage`: a recipe, from its checks to `eval.json`
"""
