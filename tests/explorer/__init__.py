"""Every history of a migration within bounds, over the correlator's production path.

    python -m tests.explorer --every 7 -j 2        one in seven histories of the world, under each trouble
    python -m tests.explorer --stories one,none    only these stories: one, none, around, two, between
    python -m tests.explorer --trouble none        each history of the world without any trouble
    python -m tests.explorer --trouble dead        only troubles whose name holds this
    python -m tests.explorer --world post-copy     only histories of the world whose name or words hold this
    python -m tests.explorer --pairs-every 9001    and a slice of all pairs of troubles
    python -m tests.explorer --part 3/8            the fourth of eight parts that add up to all
    python -m tests.explorer --small               an example of each kind of fault, made small
    python -m tests.explorer --replay 120.7        one history by its index: all that was sent and told

An index holds for the same `--stories` and `--pairs-every`. `make explore` runs a fixed slice, `make soak` a
million.

`world.py`, `protocol.py` and `stories.py` say what happens on the hosts and what is true, `agent.py` what an
agent publishes of it, `observer.py` what comes of that under a trouble. `path.py`, which alone knows the
correlator, brings the bytes through it. `properties.py` holds what was published against the truth;
`shrink.py` makes a wrong history small.
"""
