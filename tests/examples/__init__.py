"""Every example is started as its reader would start it, against a local Flashback whose nodes die."""
