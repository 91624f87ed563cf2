"""Reads the sources in ``params.yaml`` into Parquet tables, as of the data clock."""
