"""The shells that await: control plane, discovery, pool, executor. `routing` decides, this does."""
