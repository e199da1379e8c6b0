"""`posttrain plan RECIPE`: what a stage will take of memory, time and money, from formulas, before anything is run.

`devices` and `options` are what it runs on and what is assumed; `shapes` finds the model's sizes and `data` the lengths
of texts, where they are at hand; `work`, with `training` and `sampling`, reads the recipe; `costing` does the
arithmetic; `changes` tries what would make it fit; `page` prints.
"""
