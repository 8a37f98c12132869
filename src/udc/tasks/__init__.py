"""Tasks given to this droplet: taken, worked on in the background, and reported to the Orchestrator (contract section 5)."""
