"""mlops: from raw tables to a monitored model service, with Git, DVC and files."""

__all__ = ["__version__"]

__version__ = "0.1.0"
