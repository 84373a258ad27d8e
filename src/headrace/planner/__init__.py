"""Optimal fleets for known work: bounds to compare with, found by linear programming. Nothing here decides live."""
