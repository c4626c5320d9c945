"""Where photos were taken: coordinates to places, places to names, names to places; all offline.

`locate` tells the country, region and town of a coordinate, `label` writes them in English or Chinese,
`named` and `find` read names in either language, `area` and `contains` know what a place holds. The data is
one table (`data/places.npz`, from GeoNames and others, see NOTICE) that `build` makes; importing this reads
none of it.
"""

from sensorium.photos.places.geocode import Located, label, locate, place
from sensorium.photos.places.naming import Area, PlaceSpan, area, contains, find, named
from sensorium.photos.places.table import PLACES_VERSION, Place

__all__ = [
    "PLACES_VERSION",
    "Area",
    "Located",
    "Place",
    "PlaceSpan",
    "area",
    "contains",
    "find",
    "label",
    "locate",
    "named",
    "place",
]
