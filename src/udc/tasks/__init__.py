"""Tasks given to this droplet: taken, worked on in the background, reported to the Orchestrator (section 5)."""
