"""Runs programs when something was published: each message once, in its domain's order."""
