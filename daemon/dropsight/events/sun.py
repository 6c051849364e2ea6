"""When the sun rises and sets."""

import math

_DAY_SECONDS = 86_400.0
# Of the sun's upper edge on the horizon, with the refraction of the air.
_ZENITH = math.radians(90.833)


def rise_and_set(latitude: float, longitude: float, noon: float) -> tuple[float, float]:
    """Return both in seconds since 1970, of the day whose noon by the clock is this; within about a minute.

    NOAA, "General Solar Position Calculations": equation of time and declination by the fractional year g,
    cos(h) = cos(zenith) / (cos(lat) cos(decl)) - tan(lat) tan(decl). Where the sun stays below the horizon it
    rises and sets at noon, where it stays above, half a day before and after.
    """
    g = 2 * math.pi * ((noon / _DAY_SECONDS / 365.2425) % 1.0)
    equation_minutes = 229.18 * (
        0.000075
        + 0.001868 * math.cos(g)
        - 0.032077 * math.sin(g)
        - 0.014615 * math.cos(2 * g)
        - 0.040849 * math.sin(2 * g)
    )
    declination = (
        0.006918
        - 0.399912 * math.cos(g)
        + 0.070257 * math.sin(g)
        - 0.006758 * math.cos(2 * g)
        + 0.000907 * math.sin(2 * g)
        - 0.002697 * math.cos(3 * g)
        + 0.00148 * math.sin(3 * g)
    )
    lat = math.radians(max(min(latitude, 89.99), -89.99))
    cosine = math.cos(_ZENITH) / (math.cos(lat) * math.cos(declination)) - math.tan(lat) * math.tan(
        declination
    )
    half_day = math.acos(max(min(cosine, 1.0), -1.0)) / (2 * math.pi) * _DAY_SECONDS
    transit = (720.0 - 4.0 * longitude - equation_minutes) * 60.0
    transit += round((noon - transit) / _DAY_SECONDS) * _DAY_SECONDS
    return transit - half_day, transit + half_day
