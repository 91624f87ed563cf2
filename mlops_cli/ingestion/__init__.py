"""From the sources in ``params.yaml`` to Parquet tables as of the data clock."""
