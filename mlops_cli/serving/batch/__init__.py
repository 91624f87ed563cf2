"""Predictions and explanations for whole files, in parts that can be resumed."""
