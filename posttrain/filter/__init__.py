"""The filter before RL: how often the model is right at each prompt, and which prompts it can still learn from."""
