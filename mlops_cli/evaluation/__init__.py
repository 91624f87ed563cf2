"""Evaluation of a fitted model on test rows: metrics, slices, fairness, explanations."""
