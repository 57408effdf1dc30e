"""Separation of what is heard into its sources, and spatial cues of each. Importing this package is light."""
