"""Hyperparameter search and final fit of the model: the stages tune and train."""
