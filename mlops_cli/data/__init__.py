"""Values and tables before they mean anything: column types and names, moments, files on disk.

Pure functions but for ``atomic_files``, ``parquet``, ``private_files``, ``unpacking`` and
``untrusted``, which are the package's ways to files.
"""
