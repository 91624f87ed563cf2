"""What `mlops init` writes."""
