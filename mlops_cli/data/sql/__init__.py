"""Expressions of ``params.yaml``: their grammar, the allowed functions, what they may cost.

An expression is checked by this package before Polars sees it: only row-by-row functions, and
none that grows its input without limit.
"""
