"""The measures of a model: weighted, with bootstrap intervals, and per-row losses.

A metric is a function of arrays; ``catalog`` says which one is for which task.
"""
