"""Adapters of the Substrate port: where processes live. Only assembly imports from here."""
