"""Data drift: compares two tables, per column and jointly, by mergeable counts.

Counts in bins of the reference are kept, not rows. The tests account for dependent rows
(``effective_sample_size``).
"""
