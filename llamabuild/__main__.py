"""`python -m llamabuild`."""

from llamabuild.cli import main

main()
