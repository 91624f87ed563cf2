"""From validated tables to feature rows: joins, windows and expressions, as of a moment.

``program`` is the whole of it as one object, the same for a table and for a request.
"""
