"""The digital twin: both brains in virtual time, on traces. This room may use numpy; import it late from commands."""
