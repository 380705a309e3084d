"""`libvirt-mqtt dashboard`: stores the history, and shows it and the live fleet in a browser.

A subscriber like any other: it reads what agents and correlators publish, and publishes nothing.
"""
