"""Features: joins, windows and expressions over validated tables, as of the prediction time.

``program`` is all of it as one object, the same for a table and for a request.
"""
