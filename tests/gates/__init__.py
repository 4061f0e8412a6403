"""The routing simulation of `benchmarks/`, in short: its gates, and what each stage of the pick is for."""
