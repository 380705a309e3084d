"""Tests: `unit` needs nothing, `integration` servers, `acceptance` whole processes, `lab` real hosts."""
