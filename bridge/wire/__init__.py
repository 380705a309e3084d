"""What goes over MQTT: topics, the CloudEvents envelope, the messages' models, libvirt's vocabulary.

The standard library and pydantic only; agent, correlator and watchers all speak through here.
"""
