"""`python -m auralnav`: the same as the `auralnav` command."""

from auralnav.cli import main

main()
