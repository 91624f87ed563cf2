"""The way of a version to a stage: promote, roll back, replay of logged requests."""
