"""What `posttrain rewards new` copies: a reward and its test, working as they stand."""
