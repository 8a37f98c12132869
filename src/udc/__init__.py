"""The framework for building droplets: services that speak the Universal Droplet Contract (UDC)."""
