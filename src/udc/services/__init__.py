"""Background services and the supervisor that keeps them running."""
