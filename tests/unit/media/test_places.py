from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.media.places import (
    Datum,
    Place,
    datum_of,
    from_datum,
    geo_uri,
    in_china,
    map_link,
    read_geo_uri,
    to_datum,
)

KNOWN = {
    # Place: WGS-84, GCJ-02, BD-09. Computed by two programs of others (coord-convert 0.2.1 and
    # geocoordinates 0.14.2), which agree on every digit.
    "Tiananmen, Beijing": (
        (39.908722, 116.397496),
        (39.910125, 116.403740),
        (39.916465, 116.410113),
    ),
    "Oriental Pearl, Shanghai": (
        (31.239703, 121.499718),
        (31.237689, 121.504151),
        (31.243338, 121.510760),
    ),
    "Canton Tower, Guangzhou": (
        (23.106574, 113.324508),
        (23.103972, 113.329929),
        (23.109678, 113.336485),
    ),
    "Tianfu Square, Chengdu": (
        (30.657419, 104.065735),
        (30.654997, 104.068242),
        (30.661027, 104.074739),
    ),
    "Ürümqi": ((43.825592, 87.616848), (43.826797, 87.619698), (43.832941, 87.626148)),
    "Potala, Lhasa": ((29.657625, 91.117017), (29.654920, 91.118578), (29.660805, 91.125130)),
    "Harbin": ((45.803775, 126.534967), (45.805757, 126.541007), (45.811371, 126.547626)),
    "Sanya": ((18.252847, 109.511909), (18.251142, 109.515993), (18.256924, 109.522541)),
    "Hong Kong": ((22.281895, 114.158199), (22.279176, 114.163194), (22.284954, 114.169720)),
    "Kashgar": ((39.470400, 75.989755), (39.470627, 75.992710), (39.476590, 75.999218)),
}
ABROAD = [
    (48.8584, 2.2945),
    (40.6892, -74.0445),
    (-33.8568, 151.2153),
    (25.0330, 121.5654),
    (37.5665, 126.978),
    (35.6586, 139.7454),
    (90.0, 0.0),
    (-90.0, 180.0),
    (0.0, 0.0),
]
LATITUDES, LONGITUDES = st.floats(-90, 90), st.floats(-180, 180)


def metres(one: Place, other: Place) -> float:
    north = (one.latitude - other.latitude) * 111_195
    east = (one.longitude - other.longitude) * 111_195 * math.cos(math.radians(one.latitude))
    return math.hypot(north, east)


@pytest.mark.parametrize("name", KNOWN)
def test_ten_known_points(name: str) -> None:
    wgs84, gcj02, bd09 = (Place(*point) for point in KNOWN[name])
    for datum, shown in ((Datum.GCJ02, gcj02), (Datum.BD09, bd09)):
        assert metres(to_datum(wgs84, datum), shown) < 0.1
        assert metres(from_datum(shown, datum), wgs84) < 0.2
        assert 100 < metres(shown, wgs84) < 2_000


@pytest.mark.parametrize("point", ABROAD)
@pytest.mark.parametrize("datum", Datum)
def test_nothing_is_shifted_abroad(point: tuple[float, float], datum: Datum) -> None:
    place = Place(*point)
    assert not in_china(place)
    assert to_datum(place, datum) == place
    assert from_datum(place, datum) == place


@example(29.5297, 82.9684, Datum.BD09)
@given(st.floats(18.1, 53.5), st.floats(73.6, 134.7), st.sampled_from(Datum))
def test_there_and_back_inside_china(latitude: float, longitude: float, datum: Datum) -> None:
    place = Place(latitude, longitude)
    near = (-0.01, 0, 0.01)  # degrees: a kilometre, also around the border's corners
    around = (Place(latitude + north, longitude + east) for north in near for east in near)
    if all(map(in_china, around)):
        assert metres(from_datum(to_datum(place, datum), datum), place) < 0.01


@given(LATITUDES, LONGITUDES, st.sampled_from(Datum))
def test_every_place_on_earth_has_its_place_on_every_map(
    latitude: float, longitude: float, datum: Datum
) -> None:
    place = Place(latitude, longitude)
    assert metres(to_datum(place, datum), place) < 2_000
    assert metres(from_datum(place, datum), place) < 2_000


@pytest.mark.parametrize(
    ("name", "datum"),
    [
        ("baidu", Datum.BD09),
        (" Baidu ", Datum.BD09),
        ("bd09ll", Datum.BD09),
        ("gaode", Datum.GCJ02),
        ("amap", Datum.GCJ02),
        ("qq", Datum.GCJ02),
        ("", Datum.GCJ02),
        ("WGS84", Datum.WGS84),
        ("gps", Datum.WGS84),
    ],
)
def test_maps_by_name(name: str, datum: Datum) -> None:
    assert datum_of(name) is datum


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("geo:51.5008,0.1247", Place(51.5008, 0.1247)),
        ("GEO:-33.9,151;u=35", Place(-33.9, 151)),
        ("geo:1,2,300;crs=wgs84;u=10", Place(1, 2)),
        (" geo:1,2 ", Place(1, 2)),
        ("geo:1,2;crs=nowhere", None),
        ("geo:91,2", None),
        ("geo:1,181", None),
        ("geo:1", None),
        ("geo:1e3,2", None),
        ("geo:nan,2", None),
        ("https://maps.example/1,2", None),
        ("", None),
    ],
)
def test_geo_addresses(uri: str, place: Place | None) -> None:
    assert read_geo_uri(uri) == place


@given(LATITUDES, LONGITUDES)
def test_a_geo_address_is_read_again(latitude: float, longitude: float) -> None:
    place = Place(latitude, longitude)
    found = read_geo_uri(geo_uri(place))
    assert found is not None
    assert metres(found, place) < 0.2


@given(st.text(max_size=60))
def test_any_address(uri: str) -> None:
    read_geo_uri(uri)
    read_geo_uri(f"geo:{uri}")


def test_map_links_are_short_and_show_the_place_where_that_map_has_it() -> None:
    tiananmen = Place(39.908722, 116.397496)
    assert map_link(tiananmen) == "https://uri.amap.com/marker?position=116.40374,39.91013"
    elsewhere = "https://www.openstreetmap.org/?mlat=52.52000&mlon=13.40500&zoom=17"
    assert map_link(Place(52.52, 13.405)) == elsewhere
