"""Adapters of the Store and Journal ports: where records live. Only assembly imports from here."""
