"""Serving: the HTTP service, batch prediction over files, and packaging for deployment."""
