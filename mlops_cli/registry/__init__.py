"""Versions of models as Git tags by GTO's conventions, with the bundles that they name.

The register stage decides by gates and writes bundle and card; a version can be
verified, rebuilt and compared from the repository alone.
"""
