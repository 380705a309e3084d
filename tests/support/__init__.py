"""What tests share: programs as processes, servers, stand-ins at a real socket, recordings."""
