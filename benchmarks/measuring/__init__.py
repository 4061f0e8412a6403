"""How clients are measured: each in a process of its own, in interleaved rounds."""
