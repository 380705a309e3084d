"""What goes over MQTT: topics, the CloudEvents envelope, the messages' models, libvirt's vocabulary.

It imports the standard library and pydantic only; all programs share it.
"""
