"""`python -m dropsight`."""

from dropsight.cli import main

if __name__ == "__main__":
    main()
