"""Rooms, heads and sounds: physics in NumPy and Numba, arrays in and arrays out, no Gymnasium."""
