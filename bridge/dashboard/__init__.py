"""`libvirt-mqtt dashboard`: keeps what happened, and shows it and the fleet in a browser.

A subscriber like any other: it reads what agents and correlators publish, and publishes nothing.
"""
