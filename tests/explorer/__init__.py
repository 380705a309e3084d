"""Every history of a migration within bounds, over the correlator's production path.

    python -m tests.explorer                  a fixed slice, as in `make explore`
    python -m tests.explorer --all -j 2       everything (`make soak`)
    python -m tests.explorer --world live     only world histories whose name holds this
    python -m tests.explorer --trouble dead   only troubles whose name holds this
    python -m tests.explorer --part 3/8       every eighth history, from the fourth on: parts add up to all
    python -m tests.explorer --replay 120.7   one history by its index, with all that was sent and told

`world.py` says what happens on the hosts and what is true, `observer.py` what agents send of it under a
trouble, `path.py` brings the bytes through the correlator, `properties.py` holds what was published against
the truth, `shrink.py` makes a wrong history small.
"""
