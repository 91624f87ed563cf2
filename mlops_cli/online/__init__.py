"""Online features: the feature program of a version, computed for request rows.

``materialize`` writes entries to the online store (``store``). ``request_program`` looks them up
instead of reading whole tables, and computes the features.
"""
