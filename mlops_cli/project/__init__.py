"""All access to files, sources, bundles and DVC."""
