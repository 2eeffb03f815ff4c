"""Feature probes on frozen encoders. One file is one probe; each is an entry point of the group `ricebench.probes`."""
