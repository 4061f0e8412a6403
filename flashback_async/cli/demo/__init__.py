"""`flashback demo`: this package and the guide's algorithm, on a local Flashback that misbehaves."""
