"""The version, where the package's metadata is read from, too: asking the metadata costs 25 ms a start."""

VERSION = "0.1.0"
# 1 November 2026, in seconds since 1970: no clock that is right says less.
RELEASED = 1_793_491_200
