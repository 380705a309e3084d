"""One broker session: connect, publish inside a window, receive, acknowledge."""
