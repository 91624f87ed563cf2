"""Trials of settings: search space, sampler, history, and how processes share one search."""
