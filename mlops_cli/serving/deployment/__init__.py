"""Deployment of a version: builds a Bento, its container image, and manifests for running it."""
