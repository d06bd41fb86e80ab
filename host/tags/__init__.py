"""Time tags on the host: files, records, correlations.

``files`` reads and writes recordings, ``decode`` turns a node's 64-bit records into columns,
``attempts`` tells in which attempt of the herald unit a tag was, ``correlate`` counts coincidences
and start-stop intervals, all in exact integers.
"""
