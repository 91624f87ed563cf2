"""The service: one ASGI application over registered models."""
