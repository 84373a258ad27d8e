"""Control: the loop in virtual time, its parts, and real processes where the thing is a process."""
