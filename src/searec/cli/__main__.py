"""Run the command line by `python -m searec.cli`."""

from searec.cli import main

if __name__ == "__main__":
    main()
