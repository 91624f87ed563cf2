"""Metrics of a model: weighted, with bootstrap intervals, and as per-row losses.

A metric is a function of arrays; ``catalog`` lists the metrics of each task.
"""
