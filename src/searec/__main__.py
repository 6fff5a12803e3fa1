"""`python -m searec`, also under `torchrun -m searec`."""

from searec.cli import main

if __name__ == "__main__":
    main()
