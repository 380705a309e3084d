"""Runs programs for published messages: each message once, in its domain's order."""
