"""Whether two tables come from one distribution: per column, jointly, from mergeable counts.

Counts in bins of the reference are kept, not rows; tests take account of rows that come
in clusters (``effective_sample_size``).
"""
