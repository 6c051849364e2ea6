"""Hours in which nobody is told."""

from datetime import datetime, time, timedelta


def quiet_until(hours: str | None, now: datetime) -> datetime | None:
    """Return when quiet hours such as "22:00-07:00" end, None outside them; `now` is the local time."""
    if hours is None:
        return None
    begin, end = (time.fromisoformat(each) for each in hours.split("-"))
    at = now.time()
    is_quiet = begin <= at < end if begin < end else at >= begin or at < end
    if not is_quiet:
        return None
    day = now.date() if at < end else now.date() + timedelta(days=1)
    return datetime.combine(day, end)
