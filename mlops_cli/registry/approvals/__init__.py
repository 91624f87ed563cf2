"""Approvals of versions: signatures, and the rules of each registry stage."""
