"""A lab of real libvirt hosts on one machine: each in namespaces of its own, with its own libvirtd.

`Lab` brings them up and takes them away, `Guest` is what runs on them, `scenarios` holds every way in which
a migration goes, `Fleet` runs agents, a broker and a correlator beside them. Nothing of a lab is in the
machine's own network, and all its processes die with the process that made it.
"""
