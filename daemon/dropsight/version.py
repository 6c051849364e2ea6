"""The version, in one place."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("dropsight")
except PackageNotFoundError:  # run from its source, not installed
    VERSION = "0+source"
