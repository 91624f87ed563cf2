"""Features of a request: the same program as for a table, from stored entries.

``request_program`` runs it for request rows; ``store`` keeps the entries that
``materialize`` writes.
"""
