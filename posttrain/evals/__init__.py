"""Grade a model's answers to benchmarks under one or more decodings, and tell two such evaluations apart.

- `benchmark`, `benchmarks`, `suite`: what is asked and which rewards grade it
- `evaluate`, `answers`: from questions to graded answers, and how `samples.jsonl` keeps them
- `metrics`, `loops`: what is measured over a group of answers
- `intervals`, `repeated_samples`, `paired`: pure statistics, with the samples of a question counted as one cluster
- `results`, `budgets`, `tables`: what `eval.json` and the terminal say
- `stage`: a recipe, from its checks to `eval.json`; `compare`: two runs, question by question
"""
