"""What the Kubernetes driver is made of: the API server, a mirror of it, and the pure parts beside."""
