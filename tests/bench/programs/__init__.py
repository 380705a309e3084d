"""The programs that are held against each other, each a process of its own (`tests.bench.place.Child`)."""
