"""Prints where the guest is now, for each migration that failed."""

import asyncio
import os

from bridge.client import Client, Message


async def main() -> None:
    """Runs for ever, and reconnects. Failures while it is down are delivered later, each once."""
    client = Client(
        os.environ.get("BROKER", "mqtt://127.0.0.1:1883"), id="failed-migrations", what=["migrations"]
    )
    async for message in client.messages():
        if isinstance(message, Message) and message.address.name == "failed":
            data = message.data
            print(f"{data.domain.name} is {data.guest.state} on {data.guest.host}: {data.reason}", flush=True)


asyncio.run(main())
