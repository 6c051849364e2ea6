"""The version, where the package's metadata is read from, too: asking the metadata costs 25 ms a start."""

VERSION = "0.1.0"
