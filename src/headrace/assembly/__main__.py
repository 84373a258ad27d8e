"""`python -m headrace.assembly ROLE`: one process."""

import sys

from headrace.assembly import main

if __name__ == "__main__":
    sys.exit(main())
