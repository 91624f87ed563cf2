"""Hyperparameter search: search space, sampler, trials, journal and worker processes."""
