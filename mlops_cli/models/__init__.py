"""Fitted models and their parts: encoder, label codec, calibration and the model bundle."""
