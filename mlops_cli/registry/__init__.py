"""Model registry: versions and stages as Git tags (GTO's conventions), with model bundles.

The register stage checks the gates and writes the bundle and the model card. A version can be
verified, rebuilt and compared from the repository alone.
"""
