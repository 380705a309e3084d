"""Publishes on `alerts/migration` for each migration that failed."""

import asyncio
import json
import os

import aiomqtt

HOST, PORT = os.environ.get("MQTT_HOST", "127.0.0.1"), int(os.environ.get("MQTT_PORT", "1883"))


async def main() -> None:
    """Runs until the broker goes away. It keeps what fails while this is down."""
    async with aiomqtt.Client(HOST, PORT, identifier="migration-alerts", clean_session=False) as client:
        await client.subscribe("libvirt/v1/domains/+/migration/failed", qos=1)
        async for message in client.messages:
            data = json.loads(message.payload)["data"]
            text = "{domain[name]} is {guest[state]} on {guest[host]}: {reason}".format(**data)
            await client.publish("alerts/migration", text, qos=1)


asyncio.run(main())
