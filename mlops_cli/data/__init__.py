"""Column types and names, timestamps, SQL expressions, and files on disk.

All functions are pure, but for ``atomic_files``, ``parquet``, ``private_files``, ``unpacking`` and
``untrusted``, which access files.
"""
