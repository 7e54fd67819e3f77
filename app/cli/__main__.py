"""`python -m app.cli`: the command line from a checkout."""

from app.cli.main import main

main()
