"""`python -m dropsight`."""

from dropsight.entry import main

if __name__ == "__main__":
    main()
