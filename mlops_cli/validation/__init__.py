"""Data validation: rules on columns and tables; rows that break one go to quarantine or fail."""
