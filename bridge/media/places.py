"""Map coordinates: conversion between WGS-84 (Matrix, GPS) and the shifted systems used in China.

Chinese law shifts maps by up to 700 m (GCJ-02: AMap, Tencent, Google's map of China), and Baidu
shifts once more (BD-09). The forward formulas are public; the inverse is found by iteration, since
the inverses in circulation are wrong by up to half a metre. (The libraries on PyPI need a geodata
stack or a binary for this page of arithmetic.)

Outside China nothing is shifted. The border is approximated by rectangles, with errors of tens of
kilometres. The round trip is exact except within a kilometre of that border.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum

import msgspec

# Krasovsky's ellipsoid: the semi-major axis in metres, and the first eccentricity squared.
_AXIS = 6_378_245.0
_ECCENTRICITY = 0.00669342162296594323
_BAIDU = math.pi * 3000.0 / 180.0
_ROUNDS = 6  # after five, the error is below a micrometre

# Degrees: south, west, north, east.
_AROUND_CHINA = ((17.0, 72.0, 55.0, 136.0),)
_CHINA = (
    (42.8899, 79.4462, 49.2204, 96.33),
    (39.3742, 109.6872, 54.1415, 135.0002),
    (29.5297, 73.1246, 42.8899, 124.143255),
    (26.7186, 82.9684, 29.5297, 97.0352),
    (20.414096, 97.0253, 29.5297, 124.367395),
    (17.871542, 107.975793, 20.414096, 111.744104),
)
_NOT_CHINA = (
    (21.785006, 119.921265, 25.398623, 122.497559),
    (20.0988, 101.8652, 22.284, 106.665),
    (20.4878, 106.4525, 21.5422, 108.051),
    (50.3257, 109.0323, 55.8175, 119.127),
    (49.5574, 127.4568, 55.8175, 137.0227),
    (42.5692, 131.2662, 44.8922, 137.0227),
)

_GEO = re.compile(
    r"geo:(?P<latitude>-?[0-9]{1,3}(?:\.[0-9]{1,20})?),(?P<longitude>-?[0-9]{1,3}(?:\.[0-9]{1,20})?)"
    r"(?:,-?[0-9.]{1,20})?(?P<parameters>(?:;[^;\s]*)*)",
    re.ASCII | re.IGNORECASE,
)


class Place(msgspec.Struct, frozen=True):
    """Degrees; north and east are positive."""

    latitude: float
    longitude: float

    @property
    def on_earth(self) -> bool:
        """True if the coordinates are in range (the guide's own example has longitude 180.345)."""
        return -90 <= self.latitude <= 90 and -180 <= self.longitude <= 180


class Datum(StrEnum):
    WGS84 = "wgs84"
    GCJ02 = "gcj02"
    BD09 = "bd09"


def datum_of(map_name: str) -> Datum:
    """Return a map's coordinate system; GCJ-02 for an unknown name (`gaode`, `qq`, …)."""
    name = map_name.strip().casefold()
    if "baidu" in name or "bd09" in name:
        return Datum.BD09
    if name in {"gps", "osm", "openstreetmap"} or "wgs" in name:
        return Datum.WGS84
    return Datum.GCJ02


def in_china(place: Place) -> bool:
    """True if maps of China shift this place."""
    return _within(place, _CHINA) and not _within(place, _NOT_CHINA)


def to_datum(place: Place, datum: Datum) -> Place:
    """Convert a WGS-84 place to another coordinate system."""
    return _SHIFTS[datum](place) if datum in _SHIFTS and in_china(place) else place


def from_datum(place: Place, datum: Datum) -> Place:
    """Convert a place to WGS-84: the inverse of `to_datum`, by iteration, good to a millimetre.

    The shift hardly changes over its own length, so each guess is corrected by its own error.
    """
    if datum not in _SHIFTS or not _within(place, _AROUND_CHINA):
        return place
    guess = place
    for _ in range(_ROUNDS):
        shifted = _SHIFTS[datum](guess)
        north, east = place.latitude - shifted.latitude, place.longitude - shifted.longitude
        guess = Place(guess.latitude + north, guess.longitude + east)
    return guess if in_china(guess) else place


def geo_uri(place: Place) -> str:
    """Return a `geo:` URI (RFC 5870), precise to ten centimetres."""
    return f"geo:{place.latitude:.6f},{place.longitude:.6f}"


def read_geo_uri(uri: str) -> Place | None:
    """Parse a `geo:` URI; None if it is malformed, off the globe, or not in WGS-84."""
    match = _GEO.fullmatch(uri.strip()[:500])
    if match is None:
        return None
    systems = [part[4:] for part in match["parameters"].lower().split(";") if part[:4] == "crs="]
    place = Place(float(match["latitude"]), float(match["longitude"]))
    return place if place.on_earth and set(systems) <= {"wgs84"} else None


def map_link(place: Place) -> str:
    """Return a map URL for a WGS-84 place: AMap in China (the shortest URL), else OpenStreetMap."""
    if in_china(place):
        shown = to_datum(place, Datum.GCJ02)
        return f"https://uri.amap.com/marker?position={shown.longitude:.5f},{shown.latitude:.5f}"
    where = f"mlat={place.latitude:.5f}&mlon={place.longitude:.5f}"
    return f"https://www.openstreetmap.org/?{where}&zoom=17"


# --- the arithmetic -----------------------------------------------------------------------------


def _within(place: Place, boxes: tuple[tuple[float, float, float, float], ...]) -> bool:
    return any(
        south <= place.latitude <= north and west <= place.longitude <= east
        for south, west, north, east in boxes
    )


def _to_bd09(place: Place) -> Place:
    law = _to_gcj02(place)
    x, y = law.longitude, law.latitude
    radius = math.hypot(x, y) + 0.00002 * math.sin(y * _BAIDU)
    angle = math.atan2(y, x) + 0.000003 * math.cos(x * _BAIDU)
    return Place(radius * math.sin(angle) + 0.006, radius * math.cos(angle) + 0.0065)


def _to_gcj02(place: Place) -> Place:
    x, y = place.longitude - 105.0, place.latitude - 35.0
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x))
    north += _waves(x, (20.0, 6.0), (20.0, 2.0))
    north += _waves(y, (20.0, 1.0), (40.0, 1 / 3), (160.0, 1 / 12), (320.0, 1 / 30))
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x))
    east += _waves(x, (20.0, 6.0), (20.0, 2.0))
    east += _waves(x, (20.0, 1.0), (40.0, 1 / 3), (150.0, 1 / 12), (300.0, 1 / 30))
    latitude = math.radians(place.latitude)
    bend = 1 - _ECCENTRICITY * math.sin(latitude) ** 2
    north_radius = _AXIS * (1 - _ECCENTRICITY) / (bend * math.sqrt(bend))
    east_radius = _AXIS / math.sqrt(bend) * math.cos(latitude)
    return Place(
        place.latitude + math.degrees(north / north_radius),
        place.longitude + math.degrees(east / east_radius),
    )


def _waves(at: float, *waves: tuple[float, float]) -> float:
    """Return two thirds of the sum of sines with these (amplitude, frequency) pairs, in metres."""
    return sum(height * math.sin(math.pi * often * at) for height, often in waves) * 2.0 / 3.0


_SHIFTS: dict[Datum, Callable[[Place], Place]] = {Datum.GCJ02: _to_gcj02, Datum.BD09: _to_bd09}
