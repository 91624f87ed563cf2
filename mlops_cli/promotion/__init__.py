"""Promotion of versions to registry stages, rollback, and replay of logged requests."""
