"""Times as records say them."""

from datetime import UTC, datetime, tzinfo

from dropsight.records.record import Result

FIRST_SECOND = datetime.min.replace(tzinfo=UTC).timestamp()
LAST_SECOND = float(int(datetime.max.replace(tzinfo=UTC).timestamp()) - 1)


def timestamp(seconds: float) -> str:
    """Write seconds since the epoch as ISO 8601 in UTC, with microseconds; years end at 1 and 9999."""
    return (
        datetime.fromtimestamp(min(max(seconds, FIRST_SECOND), LAST_SECOND), UTC).isoformat(
            timespec="microseconds"
        )[:-6]
        + "Z"
    )


def captured_at(record: Result) -> float:
    """When a photo was captured, in seconds since 1970; 0 where its record says no time that can be read."""
    for said in (record.image.captured, record.time):
        if (at := seconds_at(said)) is not None:
            return at
    return 0.0


def seconds_at(said: str) -> float | None:
    """Read ISO 8601 as seconds since 1970; None where it is none."""
    try:
        return datetime.fromisoformat(said).timestamp()
    except (ValueError, OverflowError):
        return None


def local_time(said: str, zone: tzinfo | None = None) -> datetime | None:
    """Read ISO 8601 as the time of a zone, the machine's by default.

    None where it is none, or beyond the calendar there: photos may say that they are of the year 1 or 9999.
    """
    try:
        return datetime.fromisoformat(said).astimezone(zone)
    except (ValueError, OverflowError):
        return None
