"""What to do: the slow brain `plan` and the fast brain `dispatch`. Pure and deterministic; time is an argument."""
