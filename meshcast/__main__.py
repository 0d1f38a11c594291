"""`python -m meshcast`, the same as the command `meshcast`."""

from meshcast.main import run

if __name__ == "__main__":
    run()
