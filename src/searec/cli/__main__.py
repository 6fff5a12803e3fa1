"""Run the command line by `python -m searec.cli`."""

from searec.cli import main

main()
