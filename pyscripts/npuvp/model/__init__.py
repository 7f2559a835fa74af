"""Models: published configurations, checkpoints, tokenizers and the tasks of the shipped models."""
