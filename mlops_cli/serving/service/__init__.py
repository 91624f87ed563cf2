"""The prediction service: one ASGI application over registered models."""
