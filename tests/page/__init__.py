"""The dashboard's page in Chromium, over the real program, a real broker and played agents."""
