"""Rules on columns and tables: rows that break one go to quarantine, or end the pipeline."""
