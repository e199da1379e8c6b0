"""A language model as a judge, behind any endpoint that speaks OpenAI's chat completions (`vllm serve` does).

- `judge`: the settings, and the way to a verdict: cache, tries, time
- `prompt`: what is asked, with the graded text behind a fence
- `endpoint`: one request
- `judgement`: the reply, read strictly
- `ledger`: what all processes share: verdicts, the number of requests, turns, whether the endpoint is down
- `slots`: how many may ask at once, in all processes
"""

from rewards._judge.judge import Judge, PreferenceJudge
from rewards._judge.judgement import Judgement

__all__ = ["Judge", "Judgement", "PreferenceJudge"]
