"""SQL expressions of ``params.yaml``: grammar, allowed functions, limits of their cost.

The package checks an expression before Polars sees it. Only row-by-row functions are allowed, and
none that makes its input longer without limit.
"""
