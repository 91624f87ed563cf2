"""Batch prediction of whole files, resumable after an interruption, and explanations of rows."""
