"""Experiments: one YAML file each, checked by the typed schema beside them."""
